"""Which window a row belongs to, and when a window is over. Nothing here knows a clock."""

from __future__ import annotations

import math

from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.types import Endpoint, Window


def moment(times: list[float], arrived: float, settings: Settings) -> tuple[float, bool]:
    """Give the time that an event counts as, and whether its own is too long ago to count.

    The last row decides for the whole event, whose rows were answered one after the other. A time from the future, none,
    or one from before the backlog is replaced by the arrival's.
    """
    time = max((time for time in times if math.isfinite(time)), default=arrived)
    if time > arrived + settings.lateness:
        return arrived, False
    return (arrived, True) if time < arrived - settings.backlog else (time, False)


def stretch(endpoint: Endpoint, time: float, arrived: float, settings: Settings) -> tuple[float, bool]:
    """Give the start of the stretch of time that an event belongs to, and whether it is late for its own.

    Late is what belongs to a stretch that is over: it counts in the stretch in which it arrives.
    """
    start = _start(time, settings)
    if start >= endpoint.horizon or start in endpoint.open.values():
        return start, False
    return max(_start(arrived, settings), endpoint.horizon), True


def is_over(window: Window, now: float, settings: Settings) -> bool:
    """Say whether a window's time is over.

    One of a time long past, whose rows come now because they had to wait, stays open while they come, for as long as a
    window of now.
    """
    if now < window.end + settings.lateness:
        return False
    return now >= window.arrived + settings.lateness or now >= window.opened + settings.window_seconds


def is_full(window: Window, settings: Settings) -> bool:
    """Say whether a window has the rows it needs."""
    return window.rows >= settings.window_rows


def _start(time: float, settings: Settings) -> float:
    return math.floor(time / settings.window_seconds) * settings.window_seconds
