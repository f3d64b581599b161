"""What is told of one comparison, feature by feature: the data of a `dev.trimtab.drift` event, and what reports are made of."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from trimtab.errors import DataError
from trimtab.handlers.drift import wasserstein
from trimtab.handlers.drift.column import Categorical, Column, Numeric
from trimtab.handlers.drift.distances import measures
from trimtab.handlers.drift.feature import pairs
from trimtab.handlers.drift.frame import paired
from trimtab.handlers.drift.result import FeatureResult, Result, State
from trimtab.handlers.drift.tables import levelled

__all__ = ["EVENT", "SCHEMA", "DriftReport", "FeatureReport", "Histogram", "Summary", "report"]

EVENT = "dev.trimtab.drift"
"""The type of the event whose data a `DriftReport` is; its subject is the endpoint."""
SCHEMA = "https://trimtab.dev/schemas/drift/v1"

_SHOWN = 20  # bins of a histogram
_TAILS = 0.002  # of either sample's values lie beyond a histogram's ends, and are counted in its outer bins
_FINE = 64
_ROOM = (
    2.0**64
)  # by which numbers are divided, so that differences of the largest ones, and slopes, stay within float64
_LARGEST = float(np.finfo(np.float64).max)

Floats = npt.NDArray[np.float64]


class Summary(Struct, kw_only=True, omit_defaults=True):
    """One side of a feature in numbers; None where there are none (levels, or no finite value)."""

    n: int
    """Values that are not missing."""
    missing: int = 0
    infinite: int = 0
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None


class Histogram(Struct, kw_only=True, omit_defaults=True):
    """Both sides' shares of their values, by bin of equal width or by level (the most frequent ones and the rest)."""

    edges: list[float] = []
    """One more than there are bins; the outer bins hold what lies beyond too. Empty for levels."""
    levels: list[str] = []
    expected: list[float] = []
    seen: list[float] = []


class FeatureReport(Struct, kw_only=True, omit_defaults=True):
    """One feature: the verdict, what it rests on, and what was expected and seen."""

    name: str
    kind: Literal["numeric", "categorical"]
    state: State
    statistic: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    effect: float | None = None
    distances: dict[str, float] = {}
    """tvd, hellinger, kld, js, psi and (of numbers) wasserstein; they describe, the p-value decides."""
    expected: Summary
    seen: Summary
    histogram: Histogram
    message: str = ""


class DriftReport(Struct, kw_only=True, omit_defaults=True):
    """One comparison of a window with its reference. Moments are seconds since the epoch."""

    endpoint: str = ""
    model: str = ""
    revision: str = ""
    """Of the function that answered."""
    start: float | None = None
    """When the window began."""
    end: float | None = None
    method: str
    severity: State
    """none, possible or detected; unknown where there was not enough data."""
    drifted: bool | None = None
    p_value: float | None = None
    threshold: float | None = None
    horizon: str = "short"
    number: int | None = None
    """The window's, as the monitor counts them."""
    rows_expected: int = 0
    rows_seen: int = 0
    features: list[FeatureReport] = []
    performance: dict[str, Any] = {}
    """How right the model was, as far as labels had arrived, beside what was logged with it."""
    change: dict[str, Any] = {}
    """Which kind of change the evidence supports (`monitor.describe`): covariate drift, label shift, concept drift."""
    message: str = ""

    @property
    def extensions(self) -> dict[str, str | bool]:
        """What the event carries beside its data, for filters to see."""
        return {
            "drifted": bool(self.drifted),
            "severity": self.severity,
            "endpoint": self.endpoint,
            "model": self.model,
        }

    def to_json(self) -> bytes:
        """Write the report down."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> DriftReport:
        """Read what `to_json` wrote. Errors: DataError."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as exc:
            raise DataError(f"this is no drift report: {exc}") from exc


def report(reference: Any, current: Any, result: Result, **about: Any) -> DriftReport:
    """Describe a comparison that was made: `result` is what `detect` (or `check(...).result`) said of these two samples.

    `about` are further fields of `DriftReport`: endpoint, model, start, end, horizon, and severity, p_value and threshold
    where they are not the result's own. Errors: DataError, as for `detect`.
    """
    left, right, _ = paired(reference, current, list(result.per_feature) or None)
    features = [_feature(one, two, result) for one, two in pairs(left, right)]
    fields: dict[str, Any] = {
        "severity": result.state or "unknown",
        "drifted": result.drifted,
        "p_value": result.p_value,
        "threshold": result.threshold,
        "message": result.message,
    }
    return DriftReport(
        method=result.method,
        rows_expected=left.rows,
        rows_seen=right.rows,
        features=sorted(features, key=_order),
        **{**fields, **about},
    )


def _order(feature: FeatureReport) -> tuple[int, float, float]:
    """The worst first."""
    states = ("detected", "possible", "unknown", "none")
    p_value = 1.0 if feature.p_value is None else feature.p_value
    return states.index(feature.state), p_value, -(feature.effect or 0.0)


def _feature(reference: Column, current: Column, result: Result) -> FeatureReport:
    found = result.per_feature.get(reference.name) or FeatureResult(name=reference.name, statistic=None)
    return FeatureReport(
        name=reference.name,
        kind="numeric" if isinstance(reference, Numeric) else "categorical",
        state=found.state or "unknown",
        statistic=found.statistic,
        p_value=found.p_value,
        threshold=found.threshold,
        effect=found.effect,
        distances=_distances(reference, current),
        expected=_summary(reference),
        seen=_summary(current),
        histogram=_histogram(reference, current),
        message=found.message,
    )


def _distances(reference: Column, current: Column) -> dict[str, float]:
    if not (reference.n and current.n):
        return {}
    found = measures(reference, current)
    if isinstance(reference, Numeric) and isinstance(current, Numeric):
        moved = wasserstein.distance(reference, current)
        if moved is not None:
            found["wasserstein"] = moved
    return found


def _summary(column: Column) -> Summary:
    if isinstance(column, Categorical):
        return Summary(n=column.n, missing=column.missing)
    mean, std, low, high = column.moments or (None, None, None, None)
    infinite = sum(column.infinite)
    return Summary(n=column.n, missing=column.missing, infinite=infinite, mean=mean, std=std, min=low, max=high)


def _histogram(reference: Column, current: Column) -> Histogram:
    if isinstance(reference, Numeric):
        assert isinstance(current, Numeric)
        return _of_numbers(reference, current)
    assert not isinstance(current, Numeric)
    return _of_levels(reference, current)


def _of_levels(reference: Categorical, current: Categorical) -> Histogram:
    names, left, right = levelled(reference, current, missing=True)
    order = np.argsort(-(left / max(left.sum(), 1) + right / max(right.sum(), 1)), kind="stable")
    kept, rest = order[: _SHOWN - 1], order[_SHOWN - 1 :]
    levels = [names[place] for place in kept] + ([f"{len(rest)} others"] if len(rest) else [])
    shares = []
    for counts in (left, right):
        known = [*counts[kept].tolist(), *([counts[rest].sum()] if len(rest) else [])]
        shares.append([round(count / max(int(counts.sum()), 1), 6) for count in known])
    return Histogram(levels=levels, expected=shares[0], seen=shares[1])


def _of_numbers(reference: Numeric, current: Numeric) -> Histogram:
    """Spread the quantile bins' counts over bins of equal width, evenly within each."""
    edges = reference.edges(_FINE)
    finite = np.minimum(edges, _LARGEST)
    if not len(edges) or current.moments is None or reference.moments is None:
        return Histogram()
    sides = []
    for column in (reference, current):
        assert column.moments is not None
        below = np.cumsum(column.counts(edges))[:-1] / max(column.n, 1)
        at = np.concatenate(([min(column.moments[2], finite[0])], finite, [max(column.moments[3], finite[-1])]))
        sides.append((at / _ROOM, np.concatenate(([0.0], below, [1.0]))))
    low = min(float(np.interp(_TAILS, shares, at)) for at, shares in sides)
    high = max(float(np.interp(1 - _TAILS, shares, at)) for at, shares in sides)
    if high - low <= 1e-9 * abs(low):
        half = max(0.5 / _ROOM, 1e-3 * abs(low))
        low, high = low - half, high + half
    ends = np.linspace(low, high, _SHOWN + 1)
    shown = [float(end) for end in np.clip(ends, -_LARGEST / _ROOM, _LARGEST / _ROOM) * _ROOM]
    return Histogram(edges=shown, expected=_spread(ends, *sides[0]), seen=_spread(ends, *sides[1]))


def _spread(ends: Floats, at: Floats, shares: Floats) -> list[float]:
    found = np.interp(ends, at, shares)
    found[0], found[-1] = 0.0, 1.0
    return [round(float(share), 6) for share in np.diff(found)]
