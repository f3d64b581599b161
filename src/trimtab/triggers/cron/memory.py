"""The world in memory: a queue and a clock for tests and simulations. They forget everything when they go."""

from __future__ import annotations

import asyncio
from typing import Literal

from msgspec import Struct

from trimtab.events import Envelope


class Entry(Struct, kw_only=True):
    """One event that was put in, and what became of it."""

    subscription: str
    envelope: Envelope
    state: Literal["pending", "delivered", "dead"] = "pending"
    attempts: int = 0
    finished: float | None = None
    detail: str = ""


class MemoryQueue:
    """A CronQueue. `entries` are in the order in which they were put in."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def ids(self) -> list[str]:
        """The ids of all events that were put in."""
        return [entry.envelope.id for entry in self.entries]

    def finish(self, id: str, *, at: float = 0.0, state: Literal["delivered", "dead"] = "delivered") -> None:
        """Deliver an event, or give it up."""
        entry = next(entry for entry in self.entries if entry.envelope.id == id)
        entry.state, entry.finished, entry.attempts = state, at, entry.attempts + 1

    async def enqueue(self, subscription: str, envelope: Envelope) -> bool:
        """See CronQueue."""
        if await self.outcome(subscription, envelope.source, envelope.id) is not None:
            return False
        self.entries.append(Entry(subscription=subscription, envelope=envelope))
        return True

    async def outstanding(self, subscription: str) -> int:
        """See CronQueue."""
        return sum(entry.subscription == subscription and entry.state == "pending" for entry in self.entries)

    async def outcome(self, subscription: str, source: str, id: str) -> Entry | None:
        """See CronQueue."""
        for entry in self.entries:
            if (entry.subscription, entry.envelope.source, entry.envelope.id) == (subscription, source, id):
                return entry
        return None


class Sleeper(Struct, kw_only=True):
    """Who waits for a VirtualClock: until a time, or until `event`; `over` says that the time has come."""

    until: float
    event: asyncio.Event
    over: asyncio.Event


class VirtualClock:
    """A Clock that goes when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._sleeper: Sleeper | None = None

    def time(self) -> float:
        """See Clock."""
        return self.now

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See Clock. One caller at a time."""
        self._sleeper = sleeper = Sleeper(until=self.now + seconds, event=event, over=asyncio.Event())
        waits = [asyncio.ensure_future(one.wait()) for one in (sleeper.event, sleeper.over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._sleeper = None

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the one who waits wake at each of its moments in between."""
        end = self.now + seconds
        while (sleeper := await self._asleep()).until <= end:
            self.now = max(self.now, sleeper.until)
            sleeper.over.set()
        self.now = end

    async def _asleep(self) -> Sleeper:
        while (sleeper := self._sleeper) is None or sleeper.event.is_set() or sleeper.over.is_set():
            await asyncio.sleep(0)
        return sleeper
