"""The clock's hand: wakes when the next tick of any trigger is due, and keeps the set of triggers."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

from trimtab.errors import NotFound, SpecError, TrimtabError
from trimtab.spec import CronTrigger
from trimtab.triggers.cron.abc import Clock, CronQueue, Firing, SystemClock, TriggerState
from trimtab.triggers.cron.schedule import Schedule
from trimtab.triggers.cron.store import CronStore, TriggerRow
from trimtab.triggers.cron.trigger import LOGGER, Trigger, moment

LONGEST_SLEEP = 10.0
"""Timers stand still while the machine sleeps and do not notice that its clock is set, so look at it now and then. Less
than plan.GRACE, so that a tick is in time after its clock was set forward by a little."""

LOOK_AGAIN = 1.0
"""Seconds between questions to the queue while a tick waits for the one before it (`wake` shortens that), and before
what failed is tried again."""


class CronScheduler:
    """All cron triggers of a daemon. Everything is written down before it is acted upon; it may be killed at any time.

    All methods belong to one event loop. Errors of those that change something: StoreError.
    """

    def __init__(self, queue: CronQueue, path: Path, clock: Clock | None = None) -> None:
        self._queue = queue
        self._clock = clock or SystemClock()
        self._store = CronStore(path)
        self._watched = self._clock.time()
        self._triggers: dict[tuple[str, str], Trigger] = {}
        self._load()
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    def _load(self) -> None:
        for row in self._store.triggers():
            try:
                self._triggers[row.function, row.name] = Trigger(row, self._queue, self._store)
            except SpecError as exc:  # its time zone is not on this machine any more, say
                LOGGER.error("trigger %s/%s is left out, deploy its function again: %s", row.function, row.name, exc)

    def close(self) -> None:
        """Close the file; `run` must have ended."""
        self._store.close()

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            self._wake.clear()
            then = await self.step()
            await self._clock.wait(self._wake, max(0.0, then - self._clock.time()))

    def wake(self) -> None:
        """Look again now: an event of a cron subscription may have been delivered or have died. Costs next to nothing
        when no tick waits for that."""
        if any(trigger.waiting for trigger in self._triggers.values()):
            self._wake.set()

    async def step(self) -> float:
        """Fire what is due, and say when to look again (seconds since the epoch)."""
        async with self._lock:
            now = self._clock.time()
            self._watched = min(self._watched, now)
            thens = await asyncio.gather(*(self._advance(trigger, now) for trigger in self._triggers.values()))
            return min(thens, default=now + LONGEST_SLEEP)

    async def _advance(self, trigger: Trigger, now: float) -> float:
        try:
            await trigger.advance(moment(now), moment(self._watched))
        except TrimtabError as exc:
            LOGGER.error("trigger %s cannot fire and will try again: %s", trigger.id, exc)
            return now + LOOK_AGAIN
        waiting = now + LOOK_AGAIN if trigger.waiting else math.inf
        return min(trigger.next or math.inf, waiting, now + LONGEST_SLEEP)

    async def set_triggers(self, function: str, triggers: list[CronTrigger], *, namespace: str = "default") -> None:
        """Make `triggers` the cron triggers of a function.

        One whose schedule and time zone are as they were keeps its place and its pause; any other starts now, and its
        fixed periods are counted from now. Errors: SpecError, and then nothing is changed.
        """
        for trigger in triggers:
            Schedule.parse(trigger.schedule, trigger.timezone)
        async with self._lock:
            now = self._clock.time()
            rows = [self._row(function, config, namespace, now) for config in triggers]
            self._store.replace(function, rows)
            for key in [key for key in self._triggers if key[0] == function]:
                del self._triggers[key]
            for row in rows:
                self._triggers[function, row.name] = Trigger(row, self._queue, self._store)
        self._wake.set()

    def _row(self, function: str, config: CronTrigger, namespace: str, now: float) -> TriggerRow:
        row = TriggerRow(
            function=function,
            name=config.name,
            namespace=namespace,
            config=config,
            anchor=float(math.floor(now)),
            cursor=now,
        )
        before = self._triggers.get((function, config.name))
        if before is None:
            return row
        row.paused = before.row.paused
        old = before.row.config
        if (old.schedule, old.timezone) == (config.schedule, config.timezone):
            row.anchor = before.row.anchor
            row.cursor = before.row.cursor if before.active else now
        return row

    async def fire(self, function: str, name: str) -> str:
        """Fire a trigger now; return the event's id. Errors: NotFound."""
        async with self._lock:
            return await self._find(function, name).fire(moment(self._clock.time()))

    async def pause(self, function: str, name: str, *, paused: bool = True) -> TriggerState:
        """Pause or resume a trigger; ticks during a pause are not made up for. Errors: NotFound."""
        async with self._lock:
            trigger = self._find(function, name)
            trigger.pause(moment(self._clock.time()), paused=paused)
        self._wake.set()
        return await trigger.state()

    def next(self, function: str, name: str) -> float | None:
        """When a trigger is due next; None while it is paused or disabled. Errors: NotFound."""
        return self._find(function, name).next

    async def triggers(self, function: str | None = None) -> list[TriggerState]:
        """Describe all triggers, or those of one function, by name."""
        chosen = [key for key in sorted(self._triggers) if function in (None, key[0])]
        return [await self._triggers[key].state() for key in chosen]

    async def firings(self, function: str, name: str, *, limit: int = 20) -> list[Firing]:
        """The history of a trigger, the latest first. Errors: NotFound."""
        return await self._find(function, name).firings(limit)

    def _find(self, function: str, name: str) -> Trigger:
        trigger = self._triggers.get((function, name))
        if trigger is not None:
            return trigger
        names = ", ".join(sorted(name for owner, name in self._triggers if owner == function))
        raise NotFound(f"function {function!r} has no cron trigger {name!r} (found: {names or 'none'})")
