"""Threads for handlers that block, made so that the ones that do not block hardly pay for them.

A pool that wakes a thread for every call spends more on waking than a short handler takes. Here one thread that is awake
works off all that waits, and what it finished goes back to the loop in one wake-up. Only when work has waited for a
while without any progress (the threads that are awake are blocked in handlers) more threads are woken: as many as there is work.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

logger = logging.getLogger("trimtab.threads")

PATIENCE = 0.002
"""Seconds that work may wait without progress before more threads are woken."""
MOST = 64
"""Threads of one process when its concurrency is not limited."""


class _Call:
    __slots__ = ("arguments", "context", "ended", "error", "function", "future", "on_end", "result")

    def __init__(self, future: asyncio.Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.future, self.function, self.arguments = future, function, arguments
        self.context = copy_context()
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = False
        self.on_end: list[Callable[[], object]] = []


class Threads:
    """The threads of one loop. `call` belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int = MOST) -> None:
        self._loop, self._most = loop, most
        self._waiting: deque[_Call] = deque()
        self._done: deque[_Call] = deque()
        self._lock = threading.Lock()
        self._asleep: list[threading.Semaphore] = []
        self._awake = 0
        self._threads = 0
        self._finished = 0
        self._seen = 0
        self._flushing = False
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    def call(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Call in a thread, in a copy of the caller's context.

        A cancelled future stops a call that has not begun, but not a thread; what it raises then is logged.
        """
        future = self._loop.create_future()
        call = _Call(future, function, arguments)
        future.call = call  # type: ignore[attr-defined]
        self._waiting.append(call)
        with self._lock:
            if not self._awake:
                self._wake()
        if self._watch is None:
            self._seen = self._finished
            self._watch = self._loop.call_later(PATIENCE, self._look)
        return future

    @staticmethod
    def after(future: asyncio.Future[Any], then: Callable[[], object]) -> None:
        """Call `then` in the loop when the thread is done with a call, cancelled or not; at once if it is."""
        call: _Call = future.call  # type: ignore[attr-defined]
        if call.ended:
            then()
        else:
            call.on_end.append(then)

    def close(self) -> None:
        """Let the threads end when they have nothing to do."""
        self._closed = True
        with self._lock:
            while self._asleep:
                self._wake()
        if self._watch is not None:
            self._watch.cancel()

    def _look(self) -> None:
        """Wake more threads when nothing moves, one more when it moves too slowly."""
        self._watch = None
        if not self._waiting:
            return
        stuck = self._finished == self._seen
        self._seen = self._finished
        with self._lock:
            for _ in range(len(self._waiting) if stuck else 1):
                if not self._wake():
                    break
        self._watch = self._loop.call_later(PATIENCE, self._look)

    def _wake(self) -> bool:
        """Wake a thread or start one; the lock is held."""
        if self._asleep:
            self._awake += 1
            self._asleep.pop().release()  # the one that slept last is warmest
            return True
        if self._threads >= self._most:
            return False
        self._awake += 1
        self._threads += 1
        threading.Thread(target=self._work, name=f"trimtab-{self._threads}", daemon=True).start()
        return True

    def _work(self) -> None:
        mine = threading.Semaphore(0)
        while True:
            try:
                call = self._waiting.popleft()
            except IndexError:
                with self._lock:
                    if self._waiting:
                        continue
                    self._awake -= 1
                    if self._closed:
                        self._threads -= 1
                        return
                    self._asleep.append(mine)
                mine.acquire()
                continue
            if not call.future.cancelled():
                try:
                    call.result = call.context.run(call.function, *call.arguments)
                except BaseException as exc:
                    call.error = exc
            self._done.append(call)
            del call  # asleep, this thread must not keep the last request alive
            if not self._flushing:
                self._flushing = True
                try:
                    self._loop.call_soon_threadsafe(self._flush)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _flush(self) -> None:
        self._flushing = False
        done = self._done
        while done:
            call = done.popleft()
            self._finished += 1
            call.ended = True
            if not call.future.done():
                self._settle(call)
            elif call.error is not None:
                call.context.run(logger.error, "a call that was given up raised %r", call.error, exc_info=call.error)
            for then in call.on_end:
                then()
            # The future holds the call, a traceback whatever its frames hold: no cycles are left to the collector.
            del call.error, call.future, call.on_end

    @staticmethod
    def _settle(call: _Call) -> None:
        if call.error is None:
            call.future.set_result(call.result)
        elif isinstance(call.error, StopIteration):
            call.future.set_exception(RuntimeError("the handler raised StopIteration"))
        else:
            call.future.set_exception(call.error)
