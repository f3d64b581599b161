"""What an emitter has not got rid of yet: in memory, on disk, or waiting for another try; and the count of it all."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from msgspec import Struct

from trimtab.events import Envelope
from trimtab.runtime.spool import Segment, Spool

logger = logging.getLogger(__name__)

_OVERHEAD = 500
"""Bytes of memory that an event takes besides its data, by and large."""
_LOG_EVERY = 60.0


class Counters(Struct, frozen=True, kw_only=True):
    """Where the events are: `emitted` + `recovered` = `sent` + `queued` + `spilled` + `dropped`."""

    emitted: int = 0
    """Handed over by the function."""
    recovered: int = 0
    """Found on disk, left by a process before this one."""
    sent: int = 0
    """Taken by the sink."""
    queued: int = 0
    """In memory now."""
    spilled: int = 0
    """On disk now."""
    dropped: int = 0
    reasons: dict[str, int] = {}
    """Why events were dropped, and how many each."""


class Item(Struct, eq=False):
    """An event on its way out."""

    envelope: Envelope
    segment: Segment | None = None
    """Where it stands on disk, if it does."""
    tries: int = 0
    sent_before: int = 0
    """How many events the sink had taken when it first refused this one."""

    @property
    def size(self) -> int:
        """Bytes of memory, by and large."""
        return _OVERHEAD + len(self.envelope.data or b"")


class Outbox:
    """`put` and `counters` may be called from any thread, everything else from the sending one.

    Oldest first: another try that is due, then the disk, then memory. `memory` and `memory_bytes` bound what is held in
    memory; what finds no room in memory or on disk is dropped and counted.
    """

    def __init__(
        self, spool: Spool | None, *, memory: int, memory_bytes: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.spool = spool
        self.sent = 0
        self._memory, self._memory_bytes = memory, memory_bytes
        self._queue: deque[Envelope] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._again: list[tuple[float, int, list[Item]]] = []
        self._retrying = 0
        self._closed = False
        self._order = itertools.count()
        self._now = now
        self._emitted = self._recovered = self._held = 0
        self._dropped: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said = float("-inf")

    def put(self, envelope: Envelope) -> None:
        """Take an event in, or drop it when memory is full."""
        size = _OVERHEAD + len(envelope.data or b"")
        with self._lock:
            self._emitted += 1
            if self._closed:
                reason = "emitted after the end"
            elif len(self._queue) < self._memory and self._bytes + size <= self._memory_bytes:
                self._queue.append(envelope)
                self._bytes += size
                return
            else:
                reason = "memory is full"
        self._count_dropped(1, reason)

    def take(self, count: int, most: int) -> list[Item]:
        """Give the next events to send together, up to `count` and about `most` bytes; empty when none is ready."""
        if self._due:
            items = heapq.heappop(self._again)[2]
            self._retrying -= len(items)
            return items
        return [] if self._stuck else self._from_disk(count, most) or self._from_memory(count, most)

    def sent_all(self, items: list[Item]) -> None:
        """Note that the sink took them."""
        self.sent += len(items)
        self._let_go(items)

    def again(self, items: list[Item], delay: float) -> None:
        """Keep events for another try, not before `delay` seconds."""
        self._retrying += len(items)
        heapq.heappush(self._again, (self._now() + delay, next(self._order), items))

    def drop(self, items: list[Item], reason: str) -> None:
        """Give events up."""
        self._let_go(items)
        self._count_dropped(len(items), reason)

    def spill(self) -> None:
        """Move what is in memory to disk."""
        if self.spool is None:
            return
        with self._lock:
            events = list(self._queue)
        written = self.spool.append(events)
        with self._lock:
            for _ in range(written):
                self._shift()

    def give_up(self) -> None:
        """Bring everything that is left to disk, or drop it, and close the disk."""
        retries = [item for _, _, items in sorted(self._again) for item in items]
        self._again, self._retrying = [], 0
        with self._lock:
            events = [item.envelope for item in retries] + list(self._queue)
            self._queue.clear()
            self._bytes = 0
            self._closed = True
        written = self.spool.append(events) if self.spool is not None else 0
        self._let_go(retries)
        if written < len(events):
            self._count_dropped(len(events) - written, "the replica ended before the sink took them")
        if self.spool is not None:
            self.spool.close()
        self._say(force=True)

    def adopt(self) -> None:
        """Take over from disk what processes before this one left."""
        if self.spool is not None:
            self._recovered += self.spool.adopt()

    @property
    def half_full(self) -> bool:
        """Whether memory is half full: time to use the disk."""
        return len(self._queue) * 2 > self._memory or self._bytes * 2 > self._memory_bytes

    @property
    def empty(self) -> bool:
        """Whether nothing waits (what is being sent does not wait)."""
        return not (self._queue or self._again or (self.spool is not None and self.spool.waiting))

    @property
    def ready(self) -> bool:
        """Whether `take` would give something now."""
        return self._due or (not self._stuck and (bool(self._queue) or (self.spool is not None and self.spool.waiting)))

    @property
    def next_try(self) -> float | None:
        """Seconds until the next event that waits for another try."""
        return max(0.0, self._again[0][0] - self._now()) if self._again else None

    def counters(self) -> Counters:
        """Give a snapshot."""
        with self._lock:
            dropped = dict(self._dropped)
            return Counters(
                emitted=self._emitted,
                recovered=self._recovered,
                sent=self.sent,
                queued=len(self._queue) + self._held,
                spilled=self.spool.count if self.spool is not None else 0,
                dropped=sum(dropped.values()),
                reasons=dropped,
            )

    def _count_dropped(self, count: int, reason: str) -> None:
        """Count; the log hears of it at once the first time, then once a minute."""
        with self._lock:
            self._dropped[reason] += count
            self._unsaid[reason] += count
        self._say()

    @property
    def _due(self) -> bool:
        return bool(self._again) and self._again[0][0] <= self._now()

    @property
    def _stuck(self) -> bool:
        """Whether so much waits for another try that more must not be taken out of the bounded queue."""
        return self._retrying * 2 >= self._memory

    def _say(self, *, force: bool = False) -> None:
        now = self._now()
        with self._lock:
            if not self._unsaid or (now - self._said < _LOG_EVERY and not force):
                return
            unsaid, self._unsaid, self._said = self._unsaid, Counter(), now
        for reason, count in unsaid.most_common():
            logger.warning("%d emitted event%s dropped: %s", count, "" if count == 1 else "s", reason)

    def _from_disk(self, count: int, most: int) -> list[Item]:
        if self.spool is None or not self.spool.waiting:
            return []
        return [Item(envelope, segment) for envelope, segment in self.spool.take(count, most)]

    def _from_memory(self, count: int, most: int) -> list[Item]:
        items: list[Item] = []
        with self._lock:
            while self._queue and len(items) < count and most > 0:
                items.append(Item(self._shift()))
                most -= items[-1].size
            self._held += len(items)
        return items

    def _shift(self) -> Envelope:
        envelope = self._queue.popleft()
        self._bytes -= _OVERHEAD + len(envelope.data or b"")
        return envelope

    def _let_go(self, items: list[Item]) -> None:
        for item in items:
            if item.segment is None:
                self._held -= 1
            elif self.spool is not None:
                self.spool.settle(item.segment)
