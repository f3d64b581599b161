"""Delivery: takes events from the lines when their functions have free slots, sends them, and writes down the outcome.

Nothing polls while there is nothing to do: a pass over a function happens when an event arrives for it, when a slot of
it becomes free, when a page has been read and when a retry is due.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable

from trimtab.errors import StoreError
from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.runtime.retry import retry_after
from trimtab.triggers.abc import Slots
from trimtab.triggers.broker.attempt import Answer, attempt
from trimtab.triggers.broker.clock import Clock
from trimtab.triggers.broker.deadsink import forward
from trimtab.triggers.broker.entries import Arrival, Delivery, Entry
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.queue import Queue
from trimtab.triggers.broker.retry import Again, decide
from trimtab.triggers.broker.settle import Ending
from trimtab.triggers.broker.stats import Counters

logger = logging.getLogger(__name__)

Reenter = Callable[[Line, Delivery, Envelope], Awaitable[list[Entry]]]

UNSETTLED = 1024
"""Deliveries in flight or not yet written down at most, over all functions: the bound on what a restart repeats."""
PATIENCE = 0.25
"""Seconds after which a function without a free slot is asked again, should nobody say that one became free."""
STORE_PAUSE = 1.0
"""Seconds between tries to write down an outcome while the disk is full."""


class Dispatcher:
    """Delivers what is on the lines. `reenter` matches the event that a function answered with."""

    def __init__(
        self, queue: Queue, client: Client, slots: Slots, clock: Clock, counters: Counters, reenter: Reenter
    ) -> None:
        self.in_flight: Counter[str] = Counter()
        """Requests that have been sent and not answered, by function."""
        self.news = asyncio.Event()
        """Set, and replaced by another, when events have arrived."""
        self._queue, self._client, self._slots, self._clock = queue, client, slots, clock
        self._counters, self._reenter = counters, reenter
        self._lines: dict[int, Line] = {}
        self._functions: dict[str, deque[Line]] = {}
        self._changed: set[str] = set()
        self._scheduled = self._closing = self._unwritten = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = math.inf

    def use(self, lines: Iterable[Line]) -> None:
        """Replace the lines."""
        self._lines = {line.n: line for line in lines}
        self._functions = {}
        for line in self._lines.values():
            self._functions.setdefault(line.subscription.function, deque()).append(line)
        self.look()

    def arrived(self, arrivals: Iterable[Arrival]) -> None:
        """Take note of events that are in the file now."""
        for arrival in arrivals:
            self._counters.note(arrival)
            for n in arrival.subscriptions:
                if line := self._lines.get(n):
                    line.offer(arrival)
                    self.look(line.subscription.function)
            for n in arrival.dead:
                if line := self._lines.get(n):
                    line.dead += 1
        self.news.set()
        self.news = asyncio.Event()

    def look(self, function: str | None = None) -> None:
        """Look soon whether something can be sent to a function (None: to any)."""
        self._changed.update(self._functions if function is None else (function,))
        if not self._scheduled and not self._closing:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pass)

    async def close(self, grace: float) -> None:
        """Send nothing more; wait `grace` seconds for what is in flight, then leave it to the next start."""
        self._closing = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _pass(self) -> None:
        self._scheduled = False
        changed, self._changed = self._changed, set()
        if self._closing:
            return
        now = self._clock.now()
        for function in changed:
            lines = self._functions.get(function, deque())
            stuck = self._send(function, lines)
            self._fill(lines, now)
            soonest = min((line.next_due for line in lines if line.sleeps(now)), default=math.inf)
            self._wake_at(min(soonest, now + PATIENCE if stuck else math.inf))

    def _send(self, function: str, lines: deque[Line]) -> bool:
        """Send what slots allow, the lines by turns; say whether something is left that could not be sent."""
        if not any(line.ready for line in lines):
            return False
        url = self._slots.url(function)
        free = 0 if url is None else min(self._slots.free(function), UNSETTLED - len(self._tasks))
        while url is not None and free > 0 and (line := _next(lines)):
            if delivery := line.take():
                self.in_flight[function] += 1
                self._start(self._deliver(line, delivery, url))
                free -= 1
        return any(line.ready for line in lines)

    def _fill(self, lines: Iterable[Line], now: float) -> None:
        for line in lines:
            if line.hungry(now):
                self._start(self._load(line, line.begin_load(), now))

    async def _load(self, line: Line, after: int, now: float) -> None:
        try:
            line.end_load(await self._queue.page(line, after, now))
        except StoreError:
            logger.exception("the deliveries of %s could not be read", line.subscription.id)
            await self._clock.sleep(STORE_PAUSE)
            line.end_load(None)
        self.look(line.subscription.function)

    async def _deliver(self, line: Line, delivery: Delivery, url: str) -> None:
        began = self._clock.now()
        url += line.subscription.path
        try:
            answer = await attempt(self._client, url, delivery.envelope, line.policy.timeout)
        finally:
            self.in_flight[line.subscription.function] -= 1
            self.look(line.subscription.function)
        delivery.tries += 1
        delivery.history.append((began, answer.status, answer.detail))
        if answer.success:
            await self._succeed(line, delivery, answer)
        else:
            await self._fail(line, delivery, answer, url)
        self.look(line.subscription.function)

    async def _succeed(self, line: Line, delivery: Delivery, answer: Answer) -> None:
        replies = await self._reenter(line, delivery, answer.reply) if answer.reply else []
        ending = Ending(at=self._clock.now(), text=answer.text, replies=replies)

        def after(arrivals: list[Arrival]) -> None:
            line.release(delivery)
            line.ended(ending.at, ending.text, delivered=True)
            self._counters.delivered += 1
            self._counters.replies += len(arrivals)
            self.arrived(arrivals)

        await self._written(lambda: self._queue.delivered(line, delivery, ending, after))

    async def _fail(self, line: Line, delivery: Delivery, answer: Answer, url: str) -> None:
        now = self._clock.now()
        decision = decide(
            line.policy,
            tries=delivery.tries,
            status=answer.status,
            retry_after=retry_after(answer.retry_after, now),
            now=now,
            chance=random.random(),
        )
        ending = Ending(at=now, text=answer.text)
        if isinstance(decision, Again):
            await self._put_off(line, delivery, ending, decision.due)
        else:
            await self._give_up(line, delivery, answer, url, ending, decision.reason)

    async def _put_off(self, line: Line, delivery: Delivery, ending: Ending, due: float) -> None:
        def after(_: None) -> None:
            line.put_off(delivery, due)
            line.ended(ending.at, ending.text, delivered=False)
            self._counters.retried += 1

        await self._written(lambda: self._queue.put_off(line, delivery, ending, due, after))

    async def _give_up(
        self, line: Line, delivery: Delivery, answer: Answer, url: str, ending: Ending, reason: str
    ) -> None:
        kept: str | None = reason
        if line.policy.dead_letter is not None:
            failure = await forward(self._client, self._clock, line, delivery, answer, url)
            kept = None if failure is None else f"{reason}; the dead letter sink failed: {failure}"

        def after(_: None) -> None:
            line.release(delivery)
            line.ended(ending.at, ending.text, delivered=False)
            line.dead += kept is not None
            self._counters.dead += 1

        logger.warning("event %r for %s: %s", delivery.envelope.id, line.subscription.id, reason)
        await self._written(lambda: self._queue.given_up(line, delivery, ending, kept, after))

    async def _written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write an outcome down, however long the disk stays full: a forgotten one would be a needless repetition."""
        while True:
            try:
                await write()
            except StoreError as exc:
                self._counters.store_errors += 1
                if not self._unwritten:
                    logger.error("outcomes of deliveries cannot be written, trying again: %s", exc)
                self._unwritten = True
                await self._clock.sleep(STORE_PAUSE)
            else:
                if self._unwritten:
                    logger.warning("outcomes of deliveries can be written again")
                self._unwritten = False
                return

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            logger.error("a delivery ended by a fault of the broker; it stays pending", exc_info=fault)

    def _wake_at(self, due: float) -> None:
        if due >= self._alarm_at or self._closing:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = asyncio.create_task(self._ring(due))

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(max(0.0, due - self._clock.now()))
        self._alarm, self._alarm_at = None, math.inf
        self.look()


def _next(lines: deque[Line]) -> Line | None:
    """Give the first line with something to send, and put it behind the others."""
    for _ in range(len(lines)):
        line = lines[0]
        lines.rotate(-1)
        if line.ready:
            return line
    return None
