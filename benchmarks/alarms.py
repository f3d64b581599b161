"""False alarms and power by window: our rule beside those of MLRun, Evidently and NannyML.

Forty features, N(0, 1); a reference of 100,000 rows; 1,000 windows of each size: without drift, and with one of the forty
moved by 0.3 and by 1 standard deviation. Ours is the default rule at one false alarm in 90 days of hourly windows, both
horizons' halves on the window alone. The peers' rules are restated from their code and defaults: MLRun 1.12 (20 bins, mean of
TVD and Hellinger from 0.5 on), Evidently 0.7 (Wasserstein over the standard deviation from 0.1 on: half of the columns, as its
preset decides, and any column), NannyML 0.13 (Jensen-Shannon above the mean and three standard deviations of the reference's
chunks, any column; with windows of 50,000 rows the reference has two chunks, which is no basis for a standard deviation).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from benchmarks.rounds import Effort, say
from benchmarks.row import Row
from trimtab.handlers.drift import mlrun
from trimtab.handlers.drift.column import Numeric
from trimtab.handlers.drift.default import default
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.rule import Rule

Floats = npt.NDArray[np.float64]

FEATURES, REFERENCE, WINDOWS = 40, 100_000, 1000
SIZES = (50, 500, 50_000)
SHIFTS = {"no drift": 0.0, "1 of 40 moved by 0.3 sd": 0.3, "1 of 40 moved by 1 sd": 1.0}
RULES = ("MLRun", "Evidently, half of the columns", "Evidently, any column", "NannyML")


class _Seen(Struct):
    """What the peers' rules compute of one feature of one window."""

    mlrun: float
    evidently: float
    nannyml: bool


class _Feature:
    """One feature of the reference, with what each peer fits on it."""

    def __init__(self, name: str, values: Floats, size: int) -> None:
        self.column = Numeric(name, values)
        ordered = self.column.ordered
        self.sums = np.concatenate(([0.0], np.cumsum(ordered)))
        self.std = float(values.std())
        self.edges = np.histogram_bin_edges(values, bins="doane")
        self.shares = np.histogram(values, self.edges)[0] / len(values)
        chunks = [self.shannon(np.sort(chunk)) for chunk in values.reshape(-1, size)]
        self.limit = float(np.mean(chunks) + 3 * np.std(chunks))

    def look(self, column: Numeric) -> _Seen:
        """Compute what the peers would."""
        p, q = mlrun.histograms(self.column, column)
        return _Seen(
            mlrun=(mlrun.tvd(q, p) + mlrun.hellinger(q, p)) / 2,
            evidently=self.wasserstein(column.ordered) / self.std,
            nannyml=self.shannon(column.ordered) > self.limit,
        )

    def wasserstein(self, window: Floats) -> float:
        """The distance of both samples, the reference having a multiple of the window's rows: pairs of quantiles."""
        ordered = self.column.ordered
        ends = np.arange(len(window) + 1) * (len(ordered) // len(window))
        low, high = ends[:-1], ends[1:]
        middle = np.clip(ordered.searchsorted(window), low, high)
        below = window * (middle - low) - (self.sums[middle] - self.sums[low])
        above = self.sums[high] - self.sums[middle] - window * (high - middle)
        return float((below + above).sum() / len(ordered))

    def shannon(self, window: Floats) -> float:
        """NannyML's distance: bits, on the reference's bins, and one more bin for what lies outside."""
        places = window.searchsorted(np.append(self.edges[:-1], np.nextafter(self.edges[-1], np.inf)))
        q = np.diff(places) / len(window)
        p, q = np.append(self.shares, 0.0), np.append(q, max(0.0, 1 - q.sum()))
        middle = (p + q) / 2

        def divergence(side: Floats) -> float:
            live = side > 0
            return float((side[live] * np.log2(side[live] / middle[live])).sum())

        return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))


def rows(effort: Effort) -> list[Row]:
    """Simulate. With little effort there are fewer windows, and the shares mean less."""
    windows = WINDOWS if effort.rounds > 1 else 10
    return [_row(size, words, alarms, windows) for size in SIZES for words, alarms in _simulated(size, windows).items()]


def _row(size: int, words: str, alarms: dict[str, float], windows: int) -> Row:
    limits = {"no drift": 0.4, "1 of 40 moved by 1 sd": 99.0 if size > min(SIZES) else None}
    return Row(
        what=f"alarms in {windows:,} windows of {size:,} rows, {words}",
        unit="%",
        ours=[alarms["ours"]],
        beside="; ".join(f"{peer}: {alarms[peer]:g} %" for peer in RULES),
        must=limits.get(words),
        bound="at most" if words == "no drift" else "at least",
    )


def _simulated(size: int, windows: int) -> dict[str, dict[str, float]]:
    """Give the share of windows with an alarm, in percent, by scenario and rule."""
    choice = np.random.default_rng(size)
    features = [_Feature(f"f{place}", choice.normal(size=REFERENCE), size) for place in range(FEATURES)]
    reference = _frame([feature.column for feature in features], REFERENCE)
    alarms = {words: dict.fromkeys(("ours", *RULES), 0) for words in SHIFTS}
    for number in range(windows):
        columns = [Numeric(feature.column.name, choice.normal(size=size)) for feature in features]
        seen = [feature.look(column) for feature, column in zip(features, columns, strict=True)]
        for words, shift in SHIFTS.items():
            if shift:
                columns[0] = Numeric(columns[0].name, columns[0].values + shift - _before(words))
                seen[0] = features[0].look(columns[0])
            for rule, raised in {"ours": _ours(reference, _frame(columns, size)), **_theirs(seen)}.items():
                alarms[words][rule] += raised
        if number % max(windows // 4, 1) == 0:
            say(f"windows of {size:,} rows: {number} of {windows}")
    return {words: {rule: 100 * count / windows for rule, count in by.items()} for words, by in alarms.items()}


def _frame(columns: list[Numeric], rows: int) -> Frame:
    return Frame({column.name: column for column in columns}, rows)


def _before(words: str) -> float:
    """How far the scenario before this one has moved the feature already."""
    shifts = list(SHIFTS.values())
    return shifts[list(SHIFTS).index(words) - 1]


def _ours(reference: Frame, current: Frame) -> bool:
    return default(reference, current, alpha=Rule().alpha / 2).drifted is True


def _theirs(seen: list[_Seen]) -> dict[str, bool]:
    far = [one.evidently >= 0.1 for one in seen]
    return {
        "MLRun": float(np.mean([one.mlrun for one in seen])) >= mlrun.POSSIBLE,
        "Evidently, half of the columns": sum(far) >= len(far) / 2,
        "Evidently, any column": any(far),
        "NannyML": any(one.nannyml for one in seen),
    }
