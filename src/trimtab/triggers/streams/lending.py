"""What RabbitMQ lends to one channel: how much at a time, and in which order after a connection broke.

A prefetch holds for a consumer from its beginning on, so another one is had by another consumer on the same channel; what
the one before it holds stays ours. Two consumers at a time would get messages in turns, in no order. What is on its way to
a consumer that is ended goes back to the queue, at a time of its own and once more than what came before it; so a consumer
is ended only when nothing can be on its way, because it has all that it may have. One that has less is left: the queue is
empty, so more is of no use, and when it fills, less is had soon.

Order: a quorum queue puts what comes back behind what came back before, and counts in each message how often it did. It
lends what came back before anything new, so those counts fall along the queue's order: a message that was lent more often
stands before one that was lent less often, and those that were lent equally often come in their order. So all that came
back is taken first, and sorted by its count.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from trimtab.triggers.streams.abc import Reopen

_DECLARED_WITHIN = 10.0
_MOST = 65_535
"""What AMQP can say of a prefetch."""
_CALM = (0.25, 1.0)
"""Seconds for which the broker is to lend a little more, or less, before it is told: each change is three round trips."""
_GATHERED = 10_000
"""Messages that came back, at most, that are put in order."""
_GATHERED_WITHIN = 10.0
_FULL_WITHIN = 2.0
_POLL = 0.005
"""Seconds until a consumer that is to end has all that it may have, at most, and between two looks."""
_LEFT_WITHIN = 3.0
"""Seconds in which a broker notices that a connection is gone whose end it was told of."""
COUNT = "x-delivery-count"


class Lending:
    """The messages that come on a channel; `came` has None when it was closed. Errors of all methods: those of aio_pika."""

    def __init__(self, queue: AbstractQueue, name: str) -> None:
        self.came: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._queue, self._name = queue, f"{name}-{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count()
        self._tag = ""
        self._changing = asyncio.Lock()
        self._window = 0
        """The prefetch of the consumer of now."""
        self._mine = self._older = 0
        """What is lent to it, and to those before it."""
        self._since: float | None = None
        """When the broker began to lend more, or less, than it should."""

    @property
    def lent(self) -> int:
        """How many messages are lent to the channel."""
        return self._mine + self._older

    async def begin(self, most: int, *, ordered: bool) -> None:
        """Have up to `most` messages come; what came back before comes first, and all of it, if order matters."""
        if ordered:
            await self._alone()
            await self._gather(most)
        if not self._tag or self.lent > most:
            await self._consume(most)

    async def follow(self, most: int, room: int) -> None:
        """Have no more than `most` messages lent, soon; `room`: whether any more are wanted. Errors: Reopen, when none are
        to come and none are lent, although some may be on their way.
        """
        bound, full = self._older + self._window, self._mine >= self._window
        more, less = most > bound and room > 0 and full, most < bound and self._window > 0
        if not more and not less:
            self._since = None
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not full and (most or self.lent):
            return
        urgent = (full and most == 0) or (more and most - bound >= most / 2)
        if not urgent and now - self._since < _CALM[less and most > 0]:
            return
        if not await self._consume(most) and not most and not self.lent:
            raise Reopen

    async def ack(self, messages: Sequence[AbstractIncomingMessage]) -> None:
        """These are done with."""
        async with self._changing:
            for message in messages:
                await message.ack()
                self._gave(message)

    def _gave(self, message: AbstractIncomingMessage) -> None:
        if message.consumer_tag == self._tag:
            self._mine -= 1
        else:
            self._older -= 1

    async def _consume(self, most: int) -> bool:
        """End the consumer of now, and begin another one with what is left of `most`; or leave it, and say False."""
        async with self._changing:
            if self._window:
                if not await self._full():
                    return False
                await self._queue.cancel(self._tag)
            self._since = None
            self._older, self._mine = self.lent, 0
            # Sorted by name they are in their order, in which the broker takes back what they hold.
            self._tag = f"{self._name}-{next(self._numbers):06}"
            self._window = min(max(0, most - self._older), _MOST)
            if self._window:
                await self._queue.channel.set_qos(prefetch_count=self._window)
                await self._queue.consume(self._take, consumer_tag=self._tag)
            return True

    async def _full(self) -> bool:
        """Wait until the consumer of now has all that it may have, while nothing is acked; False when nothing comes."""
        deadline = time.monotonic() + _FULL_WITHIN
        while self._mine < self._window:
            before = self._mine
            # What was sent before the second answer is here by then.
            empty = not (await self._declared())[0] and not (await self._declared())[0]
            if (empty and self._mine == before) or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def _take(self, message: AbstractIncomingMessage) -> None:
        if message.consumer_tag == self._tag:
            self._mine += 1
        else:
            self._older += 1
        self.came.put_nowait(message)

    async def _alone(self) -> None:
        """Wait for the end of a connection that is gone: what it holds has yet to come back. Another consumer stays."""
        deadline = time.monotonic() + _LEFT_WITHIN
        while (await self._declared())[1] and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    async def _gather(self, most: int) -> None:
        """Take messages until one comes that was never lent before, or there are none left; put them in order."""
        found: list[AbstractIncomingMessage] = []
        deadline, more, full = time.monotonic() + _GATHERED_WITHIN, 1, True
        while full and len(found) < _GATHERED and not any(_fresh(message) for message in found):
            if not (await self._declared())[0] or time.monotonic() > deadline:
                break
            await self._consume(max(most, self.lent + more))
            more *= 1 if self.lent < most else 2
            full = await self._full()
            self._drain(found)
        for message in sorted(found, key=count, reverse=True):
            self.came.put_nowait(message)

    def _drain(self, found: list[AbstractIncomingMessage]) -> None:
        while not self.came.empty():
            if (message := self.came.get_nowait()) is None:
                raise ConnectionError("the connection was lost")
            found.append(message)

    async def _declared(self) -> tuple[int, int]:
        """How many messages wait, and how many consumers there are."""
        found = await self._queue.channel.declare_queue(self._queue.name, passive=True, timeout=_DECLARED_WITHIN)
        result = found.declaration_result
        return result.message_count or 0, result.consumer_count or 0


def count(message: AbstractIncomingMessage) -> int:
    """How often a message came back."""
    found = message.headers.get(COUNT)
    return found if isinstance(found, int) else 0


def _fresh(message: AbstractIncomingMessage) -> bool:
    return not message.redelivered and not count(message)
