"""Every message that is lent to the consumer, and what it remembers of those that were.

After a connection is lost, a broker lends again what was not acked. What is remembered then keeps a message from being
called a second time for nothing: one that is done is acked at last, one that is being worked on only gets its new token,
and one that waits for its next try keeps its tries and its time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from trimtab.errors import EventError
from trimtab.events import Envelope
from trimtab.runtime.event import MESSAGE
from trimtab.triggers.broker.clock import Clock
from trimtab.triggers.streams.abc import Message, Stream
from trimtab.triggers.streams.cloudevent import identity, to_event
from trimtab.triggers.streams.figures import Figures
from trimtab.triggers.streams.lanes import Item, Lanes
from trimtab.triggers.streams.outcome import GivenUp, letter
from trimtab.triggers.streams.plan import Plan

REMEMBERED = 20_000
REMEMBERED_BYTES = 64 * 2**20
"""Messages that were ours and may come again, at most; of one that is forgotten a duplicate may come."""
_STALE = -1


class Shelf:
    """The messages of one consumer. `done` is set while there is something to ack."""

    def __init__(self, plan: Plan, stream: Stream, figures: Figures, clock: Clock) -> None:
        self.lanes = Lanes()
        self.done = asyncio.Event()
        self._plan, self._stream, self._figures, self._clock = plan, stream, figures, clock
        self._source = plan.url.source
        self._items: dict[str | int, Item] = {}
        """What is lent to us: by position where that is ours for good, otherwise by identity."""
        self._acks: list[Item] = []
        self._acking = asyncio.Lock()
        self._past: OrderedDict[str, deque[Item]] = OrderedDict()
        self._past_weight = 0
        self._epoch = 0

    @property
    def held(self) -> int:
        """How many messages are lent to us."""
        return len(self._items)

    @property
    def weight(self) -> int:
        """About how many bytes those take that wait."""
        return self.lanes.weight

    def messages(self) -> list[Message]:
        """Everything that is lent to us."""
        return [item.message for item in self._items.values()]

    def put(self, message: Message) -> GivenUp | None:
        """Take a message in. Gives a dead letter when it claims to be a CloudEvent and is malformed."""
        self._figures.received += 1
        self._figures.redelivered += message.redelivered
        if self._stream.resumes and (item := self._items.get(message.position)) is not None:
            item.message = message
            return None
        if (item := self._remembered(message)) is not None:
            self._take_back(item, message)
            return None
        now = self._clock.now()
        try:
            envelope = to_event(message, self._source)
        except EventError as exc:
            return self._refuse(message, str(exc), now)
        item = Item(message, envelope, self._lane(message, envelope), now, self._epoch)
        self._keep(item)
        self.lanes.push(item)
        return None

    def take(self, most: int, most_bytes: int, now: float) -> list[Item]:
        """Take the next batch to work on."""
        items = self.lanes.take(most, most_bytes, now)
        for item in items:
            item.state = "working"
        return items

    def settle(self, items: Sequence[Item], again: Sequence[Item], done: Sequence[Item]) -> None:
        """A batch has ended. Those that are neither tried again nor done are `buried` later."""
        fresh = []
        for item in again:
            item.state = "here"
            if item.epoch == self._epoch:
                fresh.append(item)
        self.lanes.finish(items, fresh)
        self._finish(done)

    def buried(self, items: Sequence[Item]) -> None:
        """These are dead letters now."""
        self._finish(items)

    @asynccontextmanager
    async def acking(self) -> AsyncIterator[list[Item]]:
        """Give what is to be acked; when the caller has done that without an error, it is no longer ours. One at a time."""
        async with self._acking:
            items, self._acks = self._acks, []
            self.done.clear()
            try:
                yield items
            except BaseException:
                self._acks = items + self._acks
                if self._acks:
                    self.done.set()
                raise
            for item in items:
                self._items.pop(self._key(item), None)
            self._figures.held = len(self._items)

    def disconnected(self) -> None:
        """The connection is gone; where nothing of it is ours any more, it is remembered and forgotten."""
        if self._stream.resumes:
            return
        self.lanes.forget()
        for item in self._items.values():
            self._remember(item)
        self._items.clear()
        self._acks.clear()
        self.done.clear()
        self._epoch += 1

    def lost(self, partition: str) -> None:
        """A partition has another owner."""
        self.lanes.forget(partition)
        for key, item in list(self._items.items()):
            if item.message.partition == partition:
                item.epoch = _STALE
                self._remember(item)
                del self._items[key]
        self._acks = [item for item in self._acks if item.epoch != _STALE]

    def clear(self) -> None:
        """Forget everything: the group moves."""
        self.lanes.forget()
        self._items.clear()
        self._past.clear()
        self._past_weight = 0
        self._acks.clear()
        self.done.clear()
        self._epoch += 1

    def _finish(self, items: Sequence[Item]) -> None:
        for item in items:
            item.state = "done"
            if item.epoch == self._epoch:
                self._acks.append(item)
        if self._acks:
            self.done.set()

    def _lane(self, message: Message, envelope: Envelope) -> str | None:
        if self._plan.order == "partition":
            return message.partition
        if self._plan.order == "none":
            return None
        return message.key or envelope.attributes.get("partitionkey")

    def _key(self, item: Item) -> str | int:
        return item.message.position if self._stream.resumes else id(item)

    def _keep(self, item: Item) -> None:
        self._items[self._key(item)] = item
        self._figures.held = len(self._items)

    def _refuse(self, message: Message, why: str, now: float) -> GivenUp:
        attributes = {
            "specversion": "1.0",
            "id": message.position or identity(message),
            "source": self._source,
            "type": MESSAGE,
            "datacontenttype": "application/octet-stream",
        }
        item = Item(message, Envelope(attributes, message.body), None, now, self._epoch)
        item.state = "working"
        self._keep(item)
        return GivenUp(item, letter(self._plan.id, item, f"not a CloudEvent, though it says so: {why}", now))

    def _remember(self, item: Item) -> None:
        name = item.message.position or identity(item.message)
        self._past.setdefault(name, deque()).append(item)
        self._past.move_to_end(name)
        self._past_weight += item.weight
        while len(self._past) > REMEMBERED or self._past_weight > REMEMBERED_BYTES:
            _, items = self._past.popitem(last=False)
            self._past_weight -= sum(each.weight for each in items)

    def _remembered(self, message: Message) -> Item | None:
        if not self._past or not (self._stream.positions or message.redelivered):
            return None
        name = message.position or identity(message)
        items = self._past.get(name)
        if items is None:
            return None
        item = items.popleft()
        self._past_weight -= item.weight
        if not items:
            del self._past[name]
        return item

    def _take_back(self, item: Item, message: Message) -> None:
        item.message, item.epoch = message, self._epoch
        self._keep(item)
        if item.state == "done":
            self._acks.append(item)
            self.done.set()
        elif item.state == "here":
            self.lanes.push(item)
