"""Which ticks are to be fired at a moment, and which are passed over: pure functions of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from trimtab.triggers.cron.schedule import Schedule

GRACE = timedelta(seconds=15)
"""A tick that could not be acted on for this long was missed, even if cron ran all the while: the machine slept, its
clock was set, or the disk was full."""

LARGEST_CATCH_UP = 100
"""Missed ticks that `all` makes up for: the latest ones. A week of seconds would be 600,000 events at once."""

CatchUp = Literal["none", "last", "all"]


class Plan(Struct, frozen=True):
    """Ticks to fire, in order, and the first and last of those that were passed over before them."""

    fire: list[datetime]
    dropped: tuple[datetime, datetime] | None = None


def plan(schedule: Schedule, cursor: datetime, now: datetime, watched: datetime, catch_up: CatchUp) -> Plan:
    """Decide about the ticks later than `cursor` and not later than `now`.

    Nothing ran before `watched`, so the ticks up to then were missed, as were those more than GRACE ago.
    """
    missed_until = min(max(watched, now - GRACE), now)
    missed = _missed(schedule, cursor, missed_until, catch_up)
    live = []
    tick = schedule.next(max(cursor, missed_until))
    while tick <= now:
        live.append(tick)
        tick = schedule.next(tick)
    return Plan(missed.fire + live, missed.dropped)


def _missed(schedule: Schedule, cursor: datetime, until: datetime, catch_up: CatchUp) -> Plan:
    last = schedule.last(cursor, until) if cursor < until else None
    if last is None:
        return Plan([])
    limit = {"none": 0, "last": 1, "all": LARGEST_CATCH_UP}[catch_up]
    fire: list[datetime] = []
    while last is not None and len(fire) < limit:
        fire.insert(0, last)
        last = schedule.last(cursor, last - timedelta(microseconds=1))
    return Plan(fire, (schedule.next(cursor), last) if last is not None else None)
