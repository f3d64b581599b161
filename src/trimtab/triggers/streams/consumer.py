"""The consumer: takes messages from a stream, calls the function, and acks what was taken or given up.

The same for every broker: order, batches, retries and dead letters are made here, and the broker is asked for nothing but
what every one of them can do (`abc`). A message is acked only after its outcome. Retries wait here, unacked, so that the
broker still has a message whose consumer dies; its lane waits with it, and no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from trimtab.errors import Conflict
from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.triggers.abc import Slots
from trimtab.triggers.broker.attempt import Answer
from trimtab.triggers.broker.clock import Clock, WallClock
from trimtab.triggers.streams.abc import Message, Reopen, Start, Stream, StreamError
from trimtab.triggers.streams.call import Called, call
from trimtab.triggers.streams.dead import DeadLetters
from trimtab.triggers.streams.figures import Figures
from trimtab.triggers.streams.lanes import Item
from trimtab.triggers.streams.outcome import GivenUp, Verdict, judge
from trimtab.triggers.streams.plan import BATCH_BYTES, WAITING, Plan
from trimtab.triggers.streams.shelf import Shelf

logger = logging.getLogger("trimtab.streams")

Replies = Callable[[list[Envelope]], Awaitable[None]]

PATIENCE = 0.25
"""Seconds after which a function without a free slot is asked again, should nobody say that one became free."""
RECEIVE = 0.5
"""Seconds that one wait for messages takes at most."""
LAG_EVERY = 2.0
CANCEL_EVERY = 0.25
PAUSES = (0.2, 5.0)
"""Seconds before the first and the last of the tries to reach a broker that is away."""
HELD_BYTES = 64 * 2**20
"""Data of messages that are here at most; above it no more are taken."""


class Consumer:
    """One consumer. `run` it until `stop`. `slots` says where the function is and how many more calls it takes;
    `replies` takes the events that the function answered with, and raises StreamError when it could not.
    """

    def __init__(
        self,
        plan: Plan,
        stream: Stream,
        client: Client,
        slots: Slots,
        dead: DeadLetters,
        *,
        replies: Replies | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.plan, self.figures = plan, Figures()
        self._stream, self._client, self._slots, self._dead = stream, client, slots, dead
        self._replies, self._clock = replies, clock or WallClock()
        self._function = plan.id.partition("/")[0]
        self._shelf = Shelf(plan, stream, self.figures, self._clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._burying = 0
        self._paused = self._scheduled = self._stopped = False
        self._seek: tuple[Start, asyncio.Future[None]] | None = None
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        """Something left, so that there may be room, or something to ack."""
        self._alarm: asyncio.TimerHandle | None = None
        stream.lost = self._shelf.lost

    # Life

    async def run(self) -> None:
        """Consume until `stop`; a broker that is away is tried again for as long as it takes."""
        pause = PAUSES[0]
        while not self._stopping.is_set():
            again = False
            try:
                await self._stream.open(self._shelf.held)
                self.figures.connects += 1
                pause = PAUSES[0]
                self._recovered()
                await self._consume()
            except Reopen:
                again = True
            except StreamError as exc:
                self._broke(str(exc))
            except Exception as exc:
                # A fault of a library or of ours must end neither the consumer nor lose what it holds.
                logger.exception("%s: the consumer of %s failed and begins again", self.plan.id, self.plan.url)
                self._broke(f"{type(exc).__name__}: {exc}")
            await self._stream.close()
            self._shelf.disconnected()
            if self._seek is not None:
                self._seek[1].set_exception(StreamError(self.figures.error or f"{self.plan.id} has stopped"))
                self._seek = None
            if not again and not self._stopping.is_set():
                await _wait(self._stopping, pause)
                pause = min(pause * 2, PAUSES[1])
        self.figures.state = "stopped"

    async def stop(self, grace: float = 10.0) -> None:
        """Take nothing more, wait `grace` seconds for calls in flight, ack, give back the rest. `run` ends then."""
        self._stopping.set()
        self._moved.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        self._stopped = True
        self._moved.set()

    def pause(self, paused: bool) -> None:
        """Call nothing and take nothing for a while; what is here stays here."""
        self._paused = paused
        if self.figures.state in ("consuming", "paused"):
            self.figures.state = "paused" if paused else "consuming"
        self.notify()

    def notify(self) -> None:
        """A slot may have become free."""
        self._moved.set()
        self._look()

    async def seek(self, start: Start) -> None:
        """Go on from elsewhere in the stream, with the whole group. Errors: StreamError, Unsupported, Conflict."""
        if self.figures.state not in ("consuming", "paused") or self._seek is not None:
            raise Conflict(f"{self.plan.id}: {self.figures.error or 'it is not connected, or moves already'}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seek = (start, done)
        self._moved.set()
        await done

    # The broker's side

    async def _consume(self) -> None:
        works = [self._receive(), self._ack(), self._extend(), self._measure()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            if self._stopped:
                await self._leave()
        finally:
            await _end(tasks)

    async def _receive(self) -> None:
        while not self._stopped:
            self._moved.clear()
            if self._seek is not None and self._idle():
                await self._move(*self._seek)
            most, room, full = self._flow()
            try:
                await self._stream.allow(most, room, full)
            except Reopen:
                if not self._stopping.is_set():  # what is under way then is acked by this connection
                    raise
            if room <= 0:
                await _wait(self._moved, PATIENCE)
                continue
            for message in await self._stream.receive(room, RECEIVE):
                self._take_in(message)
            self._look()

    def _take_in(self, message: Message) -> None:
        refused = self._shelf.put(message)
        if refused is not None:
            self._start(self._bury([refused]))

    def _flow(self) -> tuple[int, int, list[str]]:
        """Say what `Stream.allow` is told: as many messages as the free slots take, besides those that wait for others."""
        shelf, batch, lanes = self._shelf, self.plan.batch, self._shelf.lanes
        if self._paused or self._seek or self._stopping.is_set() or shelf.weight > HELD_BYTES:
            return 0, 0, []
        free = max(self._free(), 0)
        slots = self.figures.in_flight + free
        ready = lanes.ready(slots * batch, self._clock.now())
        most = slots * batch + lanes.size - ready + min(self._burying, WAITING)
        full = lanes.full(batch if self.plan.order == "partition" else WAITING)
        room = 0 if full and not self._stream.parts else min(free * batch - ready, most - shelf.held)
        return most, max(room, 0), full

    async def _ack(self) -> None:
        while True:
            await self._shelf.done.wait()
            async with self._shelf.acking() as items:
                if items:
                    await self._stream.ack([item.message for item in items])
            self._moved.set()

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self.plan.lease / 3)
            if messages := self._shelf.messages():
                await self._stream.extend(messages)

    async def _measure(self) -> None:
        while True:
            lag, before = await self._stream.lag(), self.figures.lag
            self.figures.lag = lag
            if lag.lost > before.lost:
                text = "%s: %s threw %d messages away that the group never had: it is trimmed too early"
                logger.error(text, self.plan.id, self.plan.url, lag.lost - before.lost)
            await asyncio.sleep(LAG_EVERY)

    async def _move(self, start: Start, done: asyncio.Future[None]) -> None:
        """Seek, while nothing is being worked on and no `receive` waits."""
        try:
            self._shelf.clear()
            await self._stream.seek(start)
        except BaseException as exc:
            if not done.done():
                done.set_exception(exc if isinstance(exc, Exception) else StreamError("the consumer stopped"))
            if not isinstance(exc, Exception) or isinstance(exc, StreamError):
                raise
        else:
            logger.info("%s: goes on at %s of %s", self.plan.id, start.at or start.offset or start.time, self.plan.url)
            if not done.done():
                done.set_result(None)
        finally:
            self._seek = None

    def _idle(self) -> bool:
        return not self._tasks and not self._shelf.done.is_set()

    async def _leave(self) -> None:
        """Ack what is done, and give back the rest."""
        async with self._shelf.acking() as items:
            if items:
                await self._stream.ack([item.message for item in items])
        if rest := self._shelf.messages():
            await self._stream.nack(rest)

    def _recovered(self) -> None:
        if self.figures.error:
            logger.warning("%s: %s is there again", self.plan.id, self.plan.url)
        self.figures.error = ""
        self.figures.state = "paused" if self._paused else "consuming"

    def _broke(self, why: str) -> None:
        if not self.figures.error:
            logger.warning("%s: %s: %s", self.plan.id, self.plan.url, why)
        self.figures.state, self.figures.error = "broken", why

    # The function's side

    def _free(self) -> int:
        free = self._slots.free(self._function)
        return min(free, self.plan.concurrency - self.figures.in_flight) if self.plan.concurrency else free

    def _look(self) -> None:
        """Look soon whether something can be sent."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        self._scheduled = False
        lanes, batch = self._shelf.lanes, self.plan.batch
        while not (self._paused or self._seek or self._stopping.is_set()):
            now = self._clock.now()
            ready = lanes.ready(batch, now)
            if not ready:
                due = lanes.next_due()
                self._wake_in(None if due is None else due - now)
                return
            late = now - lanes.oldest()
            if ready < batch and late < self.plan.wait:
                self._wake_in(self.plan.wait - late)
                return
            url = self._slots.url(self._function) if self._free() > 0 else None
            if url is None:
                self._wake_in(PATIENCE)
                return
            self.figures.in_flight += 1
            self._start(self._work(self._shelf.take(batch, BATCH_BYTES, now), url + self.plan.path))

    async def _work(self, items: list[Item], url: str) -> None:
        began = self._clock.now()
        try:
            called = await call(self._client, url, [item.envelope for item in items], self.plan.policy.timeout)
        finally:
            self.figures.in_flight -= 1
            self._look()
        if called.replies and self._replies is not None:
            called = await self._reply(called, len(items), self._replies)
        now = self._clock.now()
        verdict = judge(self.plan.policy, self.plan.id, items, called, began=began, now=now, url=url)
        self._count(verdict, called, now)
        self._shelf.settle(items, verdict.again, verdict.done)
        self.notify()
        if verdict.dead:
            await self._bury(verdict.dead)

    async def _reply(self, called: Called, count: int, replies: Replies) -> Called:
        try:
            await replies(called.replies)
        except StreamError as exc:
            logger.warning("%s: the function's replies were not taken: %s", self.plan.id, exc)
            return Called(answers=[Answer(status=0, detail=f"its replies were not taken: {exc}")] * count)
        return called

    def _count(self, verdict: Verdict, called: Called, now: float) -> None:
        self.figures.delivered += len(verdict.done)
        self.figures.failed += verdict.failed
        worst = max(called.answers, key=lambda answer: (not answer.success, answer.status))
        self.figures.last, self.figures.outcome = now, worst.text

    async def _bury(self, given_up: Sequence[GivenUp]) -> None:
        """Write dead letters, however long it takes: until then their messages are not acked."""
        letters = [each.letter for each in given_up]
        self._burying += len(letters)
        for letter in letters:
            logger.warning("%s: message %s is given up: %s", self.plan.id, letter.envelope.id, letter.reason)
        while True:
            try:
                await self._dead.bury(letters)
                break
            except Exception as exc:
                logger.error("%s: dead letters cannot be kept, trying again: %s", self.plan.id, exc)
                if await _wait(self._stopping, PAUSES[1]):
                    return
        self._burying -= len(letters)
        self.figures.dead += len(letters)
        self._shelf.buried([each.item for each in given_up])
        self.notify()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.notify()
        if not task.cancelled() and (fault := task.exception()):
            logger.error("%s: a call ended by a fault of the consumer", self.plan.id, exc_info=fault)

    def _wake_in(self, seconds: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(max(seconds, 0.001), self._look)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended. A client library may swallow a cancellation: `asyncio.wait_for`, which they use, does
    so before Python 3.12 when what it waits for is done in the same moment.
    """
    going = [task for task in tasks if not task.done()]
    while going:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=CANCEL_EVERY)
        going = [task for task in going if not task.done()]
    await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long; say whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
