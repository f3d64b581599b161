"""One line of the table: what was measured, what it must reach, and the peer or limit measured beside it."""

from __future__ import annotations

from statistics import median, quantiles
from typing import Literal

from msgspec import Struct


class Row(Struct, frozen=True, kw_only=True):
    """A figure. `ours` and `theirs` hold one value a round; the rounds alternate, so they pair up."""

    what: str
    unit: str
    ours: list[float]
    beside: str = ""
    """The peer or the limit."""
    theirs: list[float] = []
    must: float | None = None
    """What must be reached; None: the figure is given for orientation."""
    of: Literal["value", "ratio"] = "value"
    """Whether `must` speaks of our value or of our value over the other's."""
    bound: Literal["at least", "at most"] = "at least"
    why: str = ""
    """What the profile says of a figure that was missed."""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.ours)

    @property
    def ratio(self) -> float | None:
        """Ours over theirs: round by round where they pair up, so that a busy moment hits both sides."""
        if not self.theirs:
            return None
        if len(self.ours) == len(self.theirs):
            return median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))
        return self.value / median(self.theirs)

    @property
    def reached(self) -> bool | None:
        """Whether the figure is good enough; None where nothing is asked."""
        found = self.ratio if self.of == "ratio" else self.value
        if self.must is None or found is None:
            return None
        return found >= self.must if self.bound == "at least" else found <= self.must

    def cells(self) -> list[str]:
        """Write the row for a table."""
        ratio = self.ratio
        return [
            self.what,
            _spread(self.ours, self.unit),
            self._must(),
            f"{self.beside}: {_spread(self.theirs, self.unit)}" if self.theirs else self.beside,
            "" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}",
            {True: "yes", False: "MISSED", None: ""}[self.reached],
        ]

    def _must(self) -> str:
        if self.must is None:
            return ""
        sign = ">=" if self.bound == "at least" else "<="
        return f"ratio {sign} {self.must:g}" if self.of == "ratio" else f"{sign} {number(self.must)} {self.unit}"


MANY = 8
"""Rounds from which on the spread is that of the middle half."""
COLUMNS = ["what", "measured", "must reach", "beside it", "ratio", "reached"]


def number(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.1f}"


def _spread(values: list[float], unit: str) -> str:
    middle = f"{number(median(values))} {unit}"
    if len(values) == 1:
        return middle
    low, high = min(values), max(values)
    if len(values) >= MANY:
        low, _, high = quantiles(values, n=4)
    return f"{middle} ({number(low)}-{number(high)})"
