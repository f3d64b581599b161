"""Which window a row belongs to, and when a window is over. Nothing here knows a clock."""

from __future__ import annotations

import math

from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.types import Endpoint, Window


def stretch(endpoint: Endpoint, times: list[float], arrived: float, settings: Settings) -> tuple[float, bool]:
    """Give the start of the stretch of time that an event's rows belong to, and whether they are late for their own.

    The last row decides for the whole event, whose rows were answered one after the other. Late is what belongs to a
    stretch that is over: it counts in the stretch in which it arrives. A time from the future, or none, is the arrival's.
    """
    finite = [time for time in times if math.isfinite(time)]
    time = max(finite, default=arrived)
    if time > arrived + settings.lateness:
        time = arrived
    start = _start(time, settings)
    late = time < arrived - settings.backlog or (start < endpoint.horizon and not _is_open(endpoint, start))
    return (max(_start(arrived, settings), endpoint.horizon), True) if late else (start, False)


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


def _is_open(endpoint: Endpoint, start: float) -> bool:
    return start in endpoint.open.values()
