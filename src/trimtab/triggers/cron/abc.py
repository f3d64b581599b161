"""What cron needs of the world (a queue, a clock) and what it tells of itself (triggers and their firings)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Literal, Protocol

from msgspec import Struct

from trimtab.events import Envelope
from trimtab.spec import CronTrigger
from trimtab.triggers.abc import Firing

__all__ = ["Clock", "CronQueue", "Firing", "Outcome", "SystemClock", "TriggerState"]


class Outcome(Protocol):
    """What became of one event."""

    @property
    def state(self) -> str:
        """`pending`, `delivered` or `dead`."""

    @property
    def attempts(self) -> int:
        """How often it was sent so far."""

    @property
    def finished(self) -> float | None:
        """When it was delivered or died; None while it is pending."""

    @property
    def detail(self) -> str:
        """The reason, in words, of a failure."""


class CronQueue(Protocol):
    """The part of the broker's queue that cron needs. A subscription's id is `<function>/<trigger>`.

    Duties: what `enqueue` took is on the disk when it returns, and is known by its id for longer than any daemon is
    away, so that a tick put in twice is delivered once. Errors of all methods: StoreError; cron tries again.
    """

    async def enqueue(self, subscription: str, envelope: Envelope) -> bool:
        """Have an event delivered. False, and nothing changes, when one of that source and id was put in before."""

    async def outstanding(self, subscription: str) -> int:
        """How many events were put in and are neither delivered nor dead."""

    async def outcome(self, subscription: str, source: str, id: str) -> Outcome | None:
        """What became of an event; None for one that was never put in."""


class Clock(Protocol):
    """The time of day, which may jump in both directions."""

    def time(self) -> float:
        """Seconds since the epoch."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or about `seconds` later."""


class SystemClock:
    """This machine's clock."""

    def time(self) -> float:
        """See Clock."""
        return time.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See Clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class TriggerState(Struct, kw_only=True):
    """A cron trigger as it stands. `last` is when the last tick that was not skipped was due, `outcome` its state."""

    function: str
    name: str
    config: CronTrigger
    state: Literal["active", "paused"] = "active"
    next: float | None = None
    last: float | None = None
    outcome: str | None = None
