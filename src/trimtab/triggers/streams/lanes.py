"""What comes next: messages wait in lanes, one behind the other in a lane, and lanes do not wait for each other.

Pure: time is passed in. A lane is a key or a partition; where no order is kept, every message has a lane of its own.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Literal

from trimtab.events import Envelope
from trimtab.triggers.broker.entries import Try
from trimtab.triggers.streams.abc import Message


class Item:
    """A message on its way. `tries` counts the calls it was in; `alone` says that the next one is for it alone."""

    __slots__ = (
        "alone",
        "came",
        "due",
        "envelope",
        "epoch",
        "history",
        "lane",
        "message",
        "place",
        "state",
        "tries",
        "weight",
    )

    def __init__(self, message: Message, envelope: Envelope, lane: str | None, came: float, epoch: int = 0) -> None:
        self.message, self.envelope, self.lane, self.came, self.epoch = message, envelope, lane, came, epoch
        self.tries, self.due, self.alone = 0, 0.0, False
        self.history: list[Try] = []
        self.state: Literal["here", "working", "done"] = "here"
        self.place: Lane | None = None
        """The lane that it blocks while it is being worked on."""
        self.weight = 500 + len(envelope.data or b"")


class Lane:
    """Messages that wait for one another."""

    __slots__ = ("busy", "items", "name")

    def __init__(self, name: str | None) -> None:
        self.name, self.busy = name, False
        self.items: deque[Item] = deque()


class Lanes:
    """All messages that are here and not being worked on, and the lanes that are blocked by one that is."""

    def __init__(self) -> None:
        self.size = 0
        """Messages that wait."""
        self.weight = 0
        """About how many bytes they take."""
        self._parts: defaultdict[str, int] = defaultdict(int)
        """Those that wait, by partition."""
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._waiting: list[tuple[float, int, Lane]] = []
        self._numbers = itertools.count()

    def push(self, item: Item) -> None:
        """Put a message behind the others of its lane; its `due` counts when it is the first."""
        lane = Lane(None) if item.lane is None else self._lanes.get(item.lane)
        if lane is None:
            lane = self._lanes[item.lane or ""] = Lane(item.lane)
        first = not lane.items and not lane.busy
        lane.items.append(item)
        self._count(item, 1)
        if first:
            self._enter(lane)

    def take(self, most: int, most_bytes: int, now: float) -> list[Item]:
        """Take a batch: lanes by turns, from each as many as fit, in order. Empty when nothing may be sent now."""
        self._wake(now)
        taken: list[Item] = []
        room = most_bytes
        while self._ready and len(taken) < most:
            lane = self._ready[0]
            if taken and (lane.items[0].alone or lane.items[0].weight > room):
                break
            self._ready.popleft()
            lane.busy = True
            while lane.items and len(taken) < most:
                item = lane.items[0]
                if taken and (item.alone or item.due > now or item.weight > room):
                    break
                taken.append(lane.items.popleft())
                item.place = lane
                self._count(item, -1)
                room -= item.weight
                if item.alone:
                    return taken
        return taken

    def finish(self, items: Sequence[Item], again: Sequence[Item]) -> None:
        """A batch has ended; `again` are those of `items`, in their order, that wait in front of their lanes once more."""
        lanes = {id(item.place): item.place for item in items if item.place is not None}
        kept: dict[int, list[Item]] = {}
        for item in again:
            kept.setdefault(id(item.place), []).append(item)
        for item in items:
            item.place = None
        for key, lane in lanes.items():
            self._reopen(lane, kept.get(key, []))

    def forget(self, partition: str | None = None) -> list[Item]:
        """Drop what waits (of one partition, or all) and give it; what is being worked on goes on blocking its lane."""
        dropped: list[Item] = []
        for lane in self._all():
            stay = deque(i for i in lane.items if partition is not None and i.message.partition != partition)
            gone = [i for i in lane.items if partition is None or i.message.partition == partition]
            for item in gone:
                self._count(item, -1)
            dropped += gone
            lane.items = stay
        self._ready = deque(lane for lane in self._ready if lane.items)
        self._waiting = [entry for entry in self._waiting if entry[2].items]
        heapq.heapify(self._waiting)
        self._lanes = {name: lane for name, lane in self._lanes.items() if lane.items or lane.busy}
        return dropped

    def ready(self, most: int, now: float) -> int:
        """How many messages could be sent now, counted up to `most`."""
        self._wake(now)
        count = 0
        for lane in self._ready:
            count += len(lane.items)
            if count >= most:
                return most
        return count

    def oldest(self) -> float:
        """When the first message of the lane that is next came."""
        return self._ready[0].items[0].came if self._ready else 0.0

    def next_due(self) -> float | None:
        """When the next one that waits for its time may be sent; None when none does."""
        return self._waiting[0][0] if self._waiting else None

    def full(self, most: int) -> list[str]:
        """The partitions of which `most` messages wait, or more."""
        return [partition for partition, count in self._parts.items() if count >= most]

    def _all(self) -> list[Lane]:
        found = {id(lane): lane for lane in self._lanes.values()}
        found |= {id(lane): lane for lane in self._ready}
        found |= {id(entry[2]): entry[2] for entry in self._waiting}
        return list(found.values())

    def _reopen(self, lane: Lane, kept: list[Item]) -> None:
        lane.busy = False
        lane.items.extendleft(reversed(kept))
        for item in kept:
            self._count(item, 1)
        if lane.items:
            self._enter(lane)
        elif lane.name is not None and self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]

    def _enter(self, lane: Lane) -> None:
        if due := lane.items[0].due:
            heapq.heappush(self._waiting, (due, next(self._numbers), lane))
        else:
            self._ready.append(lane)

    def _wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heapq.heappop(self._waiting)[2])

    def _count(self, item: Item, sign: int) -> None:
        self.size += sign
        self.weight += sign * item.weight
        self._parts[item.message.partition] += sign
