"""Sliding windows over whole seconds: the average of what was recorded, and the largest wish."""

from __future__ import annotations

import math
from collections import deque

_PRECISION = 1_000_000
_NEVER = -(2**62)
_SLOT = 2
"""Seconds: Knative's tick, and the granularity of the scale-down delay."""


class AverageWindow:
    """Averages values that are recorded about once a second (knative/serving `aggregation.TimedFloat64Buckets`).

    Seconds without a record between two records count as zero. The average is over the seconds since the first record,
    so that a young window is not diluted; after a whole window without records it is young again. Seconds after the
    last record are not known, and the average is over the rest.
    """

    __slots__ = ("_first", "_last", "_ring", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ring = [0.0] * math.ceil(seconds)
        self._first = self._last = _NEVER

    def record(self, now: float, value: float) -> None:
        """Add `value` to its second; one that is a window older than the last record is ignored."""
        ring, second = self._ring, math.floor(now)
        if second <= self._last - len(ring):
            return
        if second - self._last >= self._seconds:
            self._ring = ring = [0.0] * len(ring)
            self._first = self._last = second
        for missing in range(self._last + 1, second + 1):
            ring[missing % len(ring)] = 0.0
        self._first, self._last = min(self._first, second), max(self._last, second)
        ring[second % len(ring)] += value

    def average(self, now: float) -> float:
        """The mean per second, rounded down to a millionth; 0 when nothing was recorded for a window."""
        ring, ahead = self._ring, max(0, math.floor(now) - self._last)
        if ahead >= self._seconds:
            return 0.0
        known = range(self._last - len(ring) + 1 + ahead, self._last + 1)
        seconds = min(self._last - self._first + 1, len(known))
        return math.floor(math.fsum(ring[second % len(ring)] for second in known) / seconds * _PRECISION) / _PRECISION

    def empty(self, now: float) -> bool:
        """Whether nothing was recorded for longer than the window."""
        return math.floor(now) - self._last > self._seconds


class MaximumWindow:
    """The largest value of the last `seconds`, in slots of two seconds (knative/serving `max.TimeWindow`)."""

    __slots__ = ("_length", "_slots")

    def __init__(self, seconds: float) -> None:
        self._length = math.ceil(seconds / _SLOT)
        self._slots: deque[tuple[int, int]] = deque()

    def record(self, now: float, value: int) -> int:
        """Add `value` and return the maximum. Time does not go backwards."""
        slot = math.floor(now) // _SLOT
        while self._slots and slot - self._slots[0][0] >= self._length:
            self._slots.popleft()
        while self._slots and self._slots[-1][1] <= value:
            self._slots.pop()
        self._slots.append((slot, value))
        return self._slots[0][1]
