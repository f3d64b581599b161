"""Micro-batching: requests that are there at the same time share one call of the model.

What waits is taken together as soon as the call before has ended, or, with a `wait`, when the first has waited so long
or `size` rows are there. A call that turns out short is made on the event loop, where it costs no change of threads;
longer ones in a thread, so that the loop stays free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter, thread_time
from typing import Any, Generic, NamedTuple, TypeVar

from trimtab.runtime.threads import Threads

Item = TypeVar("Item")
SHORT = 0.001
"""Seconds of CPU below which a call is made on the loop, and a tenth of the time that it may take there."""
_REMEMBERED = 5


class Cost(NamedTuple):
    """What a call took: CPU seconds of its thread, seconds by the clock, and how many rows it had.

    The first is the call's own, the second that of a machine that others use and of a lock that threads share; but a
    call that waits for something takes only the second.
    """

    cpu: float
    wall: float
    rows: int


def timed(call: Callable[[], Any], rows: int) -> tuple[Any, Cost]:
    """Call, and give the result with what it took."""
    began, spent = perf_counter(), thread_time()
    result = call()
    return result, Cost(thread_time() - spent, perf_counter() - began, rows)


class Batcher(Generic[Item]):
    """One model's queue. `call` gives one result for each item; it must have no say in what becomes of the others.

    `inline` says whether short calls may be made on the loop: not where a user's code could block. `costs` are those of
    calls that were made before. Belongs to one loop.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Any]],
        threads: Threads,
        *,
        size: int = 64,
        wait: float = 0.0,
        inline: bool = False,
        costs: Sequence[Cost] = (),
    ) -> None:
        self._call, self._threads, self._size, self._wait = call, threads, size, wait
        self._inline = inline
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Item, int, asyncio.Future[Any]]] = deque()
        self._rows = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._due = False
        self._seen: deque[Cost] = deque(costs, maxlen=_REMEMBERED)
        """Of the last calls."""
        self.calls = self.items = 0

    def submit(self, item: Item, rows: int) -> asyncio.Future[Any]:
        """Queue an item of so many rows; the future gets its result, or what its call raised."""
        future = self._loop.create_future()
        self._queue.append((item, rows, future))
        self._rows += rows
        if not self._busy:
            self._schedule()
        return future

    def is_short(self, rows: int) -> bool:
        """Guess whether a call of so many rows is short: by the quickest of the last, for others met with something."""
        if not self._seen:
            return False
        cpu = max(min(cost.cpu for cost in self._seen), rows * min(cost.cpu / cost.rows for cost in self._seen))
        return cpu < SHORT and min(cost.wall for cost in self._seen) < 10 * SHORT

    def _schedule(self) -> None:
        """See that the queue is looked at: at once where it is full or nobody is to wait, else when the wait is over."""
        now = self._wait <= 0 or self._rows >= self._size
        if self._timer is not None and (self._due or not now):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = now
        self._timer = self._loop.call_soon(self._flush) if now else self._loop.call_later(self._wait, self._flush)

    def _flush(self) -> None:
        self._timer, self._due = None, False
        taken = self._take()
        if not taken:
            return
        items, rows = [item for item, _, _ in taken], max(1, sum(rows for _, rows, _ in taken))
        if self._inline and self.is_short(rows):
            self._end(taken, *timed(lambda: self._run(items), rows))
            return
        self._busy = True
        call = self._threads.call(timed, lambda: self._run(items), rows)
        call.add_done_callback(lambda done: self._ended(taken, done))

    def _take(self) -> list[tuple[Item, int, asyncio.Future[Any]]]:
        """Take what fits into one call, at least one item; those whose caller has left are dropped."""
        taken: list[tuple[Item, int, asyncio.Future[Any]]] = []
        rows = 0
        while self._queue and (not taken or rows + self._queue[0][1] <= self._size):
            entry = self._queue.popleft()
            self._rows -= entry[1]
            if not entry[2].done():
                taken.append(entry)
                rows += entry[1]
        return taken

    def _run(self, items: Sequence[Item]) -> Sequence[Any]:
        """Call with all; when that fails, with each alone, so that a bad one fails nobody else."""
        try:
            results = self._call(items)
            if len(results) == len(items):
                return results
            failed: BaseException = RuntimeError(f"{len(results)} results for {len(items)} requests")
        except (Exception, SystemExit) as exc:  # a model that exits is a model that failed
            failed = exc
        return [failed] if len(items) == 1 else [self._run([item])[0] for item in items]

    def _ended(self, taken: Any, done: asyncio.Future[Any]) -> None:
        self._busy = False
        error = done.exception() if not done.cancelled() else asyncio.CancelledError()
        if error is not None:
            self._end(taken, [error] * len(taken), None)
        else:
            self._end(taken, *done.result())

    def _end(self, taken: Any, results: Sequence[Any], cost: Cost | None) -> None:
        self.calls += 1
        self.items += len(taken)
        if cost is not None:
            self._seen.append(cost)
        for (_, _, future), result in zip(taken, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._queue:
            self._schedule()
