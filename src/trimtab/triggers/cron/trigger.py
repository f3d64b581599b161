"""One cron trigger at work: what it does with each tick."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from msgspec import structs

from trimtab.triggers.cron.abc import CronQueue, Firing, TriggerState
from trimtab.triggers.cron.event import envelope, source, written
from trimtab.triggers.cron.plan import plan
from trimtab.triggers.cron.schedule import Schedule
from trimtab.triggers.cron.store import CronStore, Decision, FiringRow, TriggerRow

LOGGER = logging.getLogger("trimtab.cron")

LARGEST_WAITING = 100
"""Ticks that wait while `overlap` is `queue`; further ones are skipped."""

LARGEST_STEP_BACK = timedelta(hours=1)
"""A clock that is set back by more than this starts the trigger anew, instead of keeping it still until the time comes
again. The ticks that come twice then have the same ids, and the queue takes each once."""


class Trigger:
    """A trigger and its place in the series of its ticks.

    The order of writing makes a tick come once: first the event goes into the queue, then the decision into the store.
    Killed between the two, the same event is put in again, and the queue knows it.
    """

    def __init__(self, row: TriggerRow, queue: CronQueue, store: CronStore) -> None:
        self.row, self._queue, self._store = row, queue, store
        config = row.config
        self._schedule = Schedule.parse(config.schedule, config.timezone, anchor=moment(row.anchor))
        self._due = self._schedule.next(moment(row.cursor))
        self._waiting = store.waiting(row.function, row.name)
        self.id = f"{row.function}/{row.name}"
        self.source = source(row.namespace, row.function, row.name)

    @property
    def active(self) -> bool:
        """Whether ticks are fired."""
        return not (self.row.paused or self.row.config.disabled)

    @property
    def next(self) -> float | None:
        """When the next tick is due."""
        return self._due.timestamp() if self.active else None

    @property
    def waiting(self) -> bool:
        """Whether a tick waits for the end of the one before it."""
        return self.active and bool(self._waiting)

    async def advance(self, now: datetime, watched: datetime) -> None:
        """Decide about every tick up to `now`; nothing ran before `watched`. Errors: those of queue and store."""
        if not self.active:
            return
        if now < moment(self.row.cursor) - LARGEST_STEP_BACK:
            LOGGER.warning("the clock was set back to %s: trigger %s starts anew", written(now), self.id)
            self._save(cursor=now.timestamp())
        await self._release()
        if self._due > now:
            return
        decided = plan(self._schedule, moment(self.row.cursor), now, watched, self.row.config.catch_up)
        if decided.dropped:
            await self._pass_over(*decided.dropped)
        for tick in decided.fire:
            await self._tick(tick)

    async def fire(self, now: datetime) -> str:
        """Put an event in that no tick is due for, and return its id. Neither a pause nor `overlap` prevents it."""
        base = f"{self.id}/manual-{now.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
        event, count = base, 1
        while not await self._enqueue(event, now):
            count += 1
            event = f"{base}-{count}"
        self._save(FiringRow(id=event, due=now.timestamp(), state="fired", detail="fired by hand"))
        return event

    def pause(self, now: datetime, *, paused: bool) -> None:
        """Stop or go on. Ticks that come meanwhile are not made up for; those that wait are kept."""
        was_active = self.active
        self._save(paused=paused)
        if self.active and not was_active:
            self._save(cursor=now.timestamp())

    async def state(self) -> TriggerState:
        """Describe the trigger."""
        last = self._store.last(self.row.function, self.row.name)
        return TriggerState(
            function=self.row.function,
            name=self.row.name,
            config=self.row.config,
            state="active" if self.active else "paused",
            next=self.next,
            last=last.due if last else None,
            outcome=(await self._joined(last)).state if last else None,
        )

    async def firings(self, limit: int) -> list[Firing]:
        """The latest firings first, with what the queue says of them."""
        return [await self._joined(row) for row in self._store.firings(self.row.function, self.row.name, limit=limit)]

    async def _joined(self, row: FiringRow) -> Firing:
        if row.state == "skipped":
            return Firing(id=row.id, due=row.due, state="skipped", detail=row.detail)
        if row.state == "waiting":
            return Firing(id=row.id, due=row.due, state="pending", detail=row.detail)
        outcome = await self._queue.outcome(self.id, self.source, row.id)
        if outcome is None:
            return Firing(id=row.id, due=row.due, state="skipped", detail="the queue has no record of it any more")
        return Firing(
            id=row.id,
            due=row.due,
            state="pending" if outcome.state == "pending" else "dead" if outcome.state == "dead" else "delivered",
            attempts=outcome.attempts,
            finished=outcome.finished,
            detail=outcome.detail or row.detail,
        )

    async def _tick(self, tick: datetime) -> None:
        overlap = self.row.config.overlap
        if overlap == "allow" or not await self._overlaps(tick):
            await self._enqueue(self._tick_id(tick), tick)
            self._decide(tick, "fired")
        elif overlap == "skip":
            self._decide(tick, "skipped", "an earlier tick was still being worked on")
        elif len(self._waiting) >= LARGEST_WAITING:
            self._decide(tick, "skipped", f"{LARGEST_WAITING} earlier ticks were still waiting")
            LOGGER.warning("trigger %s: %d ticks wait, that of %s is skipped", self.id, LARGEST_WAITING, written(tick))
        else:
            self._waiting.append(self._decide(tick, "waiting", "waits for the end of an earlier tick"))

    async def _overlaps(self, tick: datetime) -> bool:
        """Whether an earlier tick is unfinished; one that this very tick's event makes busy does not overlap."""
        busy = bool(self._waiting) or await self._queue.outstanding(self.id) > 0
        return busy and not await self._known(tick)

    async def _release(self) -> None:
        """Put in the first tick that waits, once the one before it is done."""
        if not self._waiting or await self._queue.outstanding(self.id):
            return
        first = self._waiting[0]
        await self._enqueue(first.id, moment(first.due))
        self._save(structs.replace(first, state="fired", detail=""))
        self._waiting.pop(0)

    async def _pass_over(self, first: datetime, last: datetime) -> None:
        """Drop missed ticks, but for the first, if its event was put in and only the decision was not written."""
        if await self._known(first):
            self._decide(first, "fired")
            if first == last:
                return
            first = self._schedule.next(first)
        since = f", with all ticks since {written(first)}" if first != last else ""
        detail = f"missed{since}, while nothing ran; catchUp is {self.row.config.catch_up!r}"
        self._decide(last, "skipped", detail)
        LOGGER.warning("trigger %s: the tick of %s was %s", self.id, written(last), detail)

    async def _known(self, tick: datetime) -> bool:
        return await self._queue.outcome(self.id, self.source, self._tick_id(tick)) is not None

    async def _enqueue(self, id: str, time: datetime) -> bool:
        return await self._queue.enqueue(self.id, envelope(self.row.config, id=id, source=self.source, time=time))

    def _tick_id(self, tick: datetime) -> str:
        return f"{self.id}/{written(tick)}"

    def _decide(self, tick: datetime, state: Decision, detail: str = "") -> FiringRow:
        """Write down a decision, which moves the trigger past the tick."""
        firing = FiringRow(id=self._tick_id(tick), due=tick.timestamp(), state=state, detail=detail)
        self._save(firing, cursor=tick.timestamp())
        return firing

    def _save(self, firing: FiringRow | None = None, **changes: float | bool) -> None:
        row = structs.replace(self.row, **changes)
        self._store.save(row, firing)
        if row.cursor != self.row.cursor:
            self._due = self._schedule.next(moment(row.cursor))
        self.row = row


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
