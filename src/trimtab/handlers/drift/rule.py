"""When a monitor raises the alarm, and when a model is retrained: pure functions of sketches and of past verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.default import EFFECT, SHARE, default
from trimtab.handlers.drift.frame import paired
from trimtab.handlers.drift.result import Result, State, state_of
from trimtab.handlers.drift.verdict import LEAST_ROWS
from trimtab.handlers.drift.windows import added
from trimtab.sketches.sketch import Sketch

__all__ = ["Rule", "Verdict", "check", "persistent"]

DAY = 86400.0


class Rule(Struct, frozen=True, kw_only=True):
    """What decides, in the user's words. Durations are seconds."""

    run_time: float = 90 * DAY
    """The expected time between two false alarms of one model: the one number that sets every level."""
    window: float = 3600.0
    """The length of a window, which is also the time between two checks."""
    long: int = 24
    """Windows that are added up for the long horizon, which finds what is too small for one; 1: no long horizon."""
    effect: float = EFFECT
    """The share of a feature's rows that has to have moved, beyond what chance moves. Significance alone is no alarm."""
    share: float = SHARE
    """The same for missing and for infinite values."""
    min_rows: int = LEAST_ROWS
    """Rows below which there is no verdict."""
    need: int = 2
    """Retraining asks for so many detected windows ..."""
    of: int = 3
    """... of the last so many. At a level a, windows that are alarms by themselves do so about 3 a^2 of the time without
    drift; alarms of the long horizon, which share most of their windows, follow each other."""

    def __post_init__(self) -> None:
        for name, allowed, fine in (
            ("window", f"more than 0, less than run_time ({self.run_time:g})", 0 < self.window < self.run_time),
            ("long", "1 or more", self.long >= 1),
            ("effect", "from 0 to 1", 0 <= self.effect <= 1),
            ("share", "from 0 to 1", 0 <= self.share <= 1),
            ("min_rows", "2 or more", self.min_rows >= 2),
            ("need", f"from 1 to of ({self.of})", 1 <= self.need <= self.of),
        ):
            if not fine:
                raise SpecError(f"rule.{name}", getattr(self, name), allowed)

    @property
    def alpha(self) -> float:
        """The level of one check of one model: window / run_time."""
        return self.window / self.run_time


class Verdict(Struct, kw_only=True, omit_defaults=True):
    """What one check found, on both horizons."""

    state: State
    p_value: float | None = None
    """Corrected for features and horizons."""
    threshold: float
    """The level of the check: `Rule.alpha`."""
    horizon: str = "short"
    """The one that decided: `short` or `long`."""
    windows: list[int] = []
    """The places of the windows that it added up, among those that were given."""
    short: Result
    long: Result | None = None
    message: str = ""

    @property
    def drifted(self) -> bool | None:
        """None: not enough data for a verdict."""
        return None if self.state == "unknown" else self.state == "detected"

    @property
    def result(self) -> Result:
        """The horizon that decided."""
        return self.long if self.horizon == "long" and self.long is not None else self.short


def check(reference: Any, windows: Sequence[Sketch], rule: Rule | None = None) -> Verdict:
    """Judge the last of some windows (oldest first), each a sketch by the reference's bins.

    `reference` is a `Reference` or its sketch. The short horizon is the last window, the long one the sum of the last
    `rule.long`; each has half of the check's level, and a short alarm is the one that is told. Earlier windows that were detected by themselves are no part of a long
    alarm: they had theirs, and one bad hour would be found again in each of the next 23. Raises `DataError` when there is
    no window.
    """
    rule = Rule() if rule is None else rule
    if not windows:
        raise DataError("there is no window to judge; give one at least")
    short = _judged(reference, windows[-1], rule)
    last = len(windows) - 1
    places = list(range(max(0, last + 1 - rule.long), last + 1))
    long = _judged(reference, added([windows[place] for place in places]), rule) if len(places) > 1 else None
    if long is not None and long.drifted and not short.drifted:
        places = [place for place in places if place == last or not _judged(reference, windows[place], rule).drifted]
        long = _judged(reference, added([windows[place] for place in places]), rule) if len(places) > 1 else None
    results = {"short": short} if long is None or short.drifted else {"short": short, "long": long}
    horizon = min(results, key=lambda name: _urgency(results[name]))
    first = results[horizon]
    p_value = None if first.p_value is None else min(1.0, 2 * first.p_value)
    return Verdict(
        state=first.state or state_of(first.drifted, first.p_value, first.threshold),
        p_value=p_value,
        threshold=rule.alpha,
        horizon=horizon,
        windows=places if horizon == "long" else [last],
        short=short,
        long=long,
        message=first.message,
    )


def persistent(states: Sequence[State], *, need: int = 2, of: int = 3) -> bool:
    """Whether drift lasts: `need` of the last `of` windows that had a verdict are `detected` (oldest first).

    Windows without enough data say nothing and are passed over.
    """
    known = [state for state in states if state != "unknown"]
    return known[-of:].count("detected") >= need


def _judged(reference: Any, current: Sketch, rule: Rule) -> Result:
    left, right, _ = paired(reference, current)
    return default(left, right, alpha=rule.alpha / 2, effect=rule.effect, share=rule.share, min_rows=rule.min_rows)


def _urgency(result: Result) -> tuple[int, float]:
    """Order results: the worst state first, then the smallest p-value."""
    order = {"detected": 0, "possible": 1, "none": 2, "unknown": 3}
    return order[result.state or "unknown"], 1.0 if result.p_value is None else result.p_value
