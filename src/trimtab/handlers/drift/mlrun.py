"""What MLRun computes, for those who compare numbers or move from it: its histograms, its three distances, its verdict.

MLRun 1.5 and later: each numeric feature in 20 bins of equal width between the reference's extremes, and two more for
what lies outside; shares are of all values that are not missing. A verdict is the mean over the features against fixed
thresholds: 0.5 is possible drift, 0.7 drift. Three things to know about it, none of which the defaults of this package
have: the reference's largest value is counted in the last bin and an equal current value outside of it, so that a
feature of a few numbers (0 and 1) is far from itself; the distances grow as samples shrink; and the mean hides one bad
feature among many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Numeric
from trimtab.handlers.drift.feature import numeric_only, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult, Result, State

__all__ = ["BINS", "DISTANCES", "compared", "hellinger", "histograms", "kld", "tvd"]

Floats = npt.NDArray[np.float64]

BINS = 20
POSSIBLE = 0.5
DETECTED = 0.7
_ZERO = 1e-4


def compared(method: str, reference: Frame, current: Frame, *, threshold: float | None) -> Result:
    """Give MLRun's answer for one of its distances: "tvd", "hellinger" or "kld"."""
    if threshold is None and method != "kld":
        threshold = DETECTED
    found = [_feature(method, left, right) for left, right in numeric_only(method, reference, current)]
    values = [feature.statistic for feature in found if feature.statistic is not None]
    mean = float(np.mean(values)) if values else None
    for feature in found:
        feature.threshold = threshold
    return Result(
        method=method,
        statistic=mean,
        threshold=threshold,
        drifted=None if mean is None or threshold is None else mean >= threshold,
        state=_state(mean, threshold),
        per_feature={feature.name: feature for feature in found},
        n_reference=reference.rows,
        n_current=current.rows,
        message=_message(mean, threshold),
    )


def histograms(reference: Numeric, current: Numeric) -> tuple[Floats, Floats]:
    """Give both samples' shares by MLRun's 22 bins, the reference's first."""
    left, right = reference.ordered, current.ordered
    edges = np.linspace(*_ends(reference.finite), BINS + 1)
    inner, _ = np.histogram(reference.finite, bins=edges)
    largest = np.finfo(np.float64).max
    padded = np.concatenate(([-largest], edges, [largest]))
    below = right.searchsorted(padded, "left")
    below[-1] = right.searchsorted(largest, "right")  # np.histogram closes the last bin
    return np.concatenate(([0], inner, [0])) / len(left), np.diff(below) / len(right)


def tvd(current: Floats, reference: Floats) -> float:
    """Half of sum |t - u|."""
    return float(np.abs(current - reference).sum() / 2)


def hellinger(current: Floats, reference: Floats) -> float:
    """The square root of 1 - sum sqrt(t u), or 0."""
    return float(np.sqrt(max(0.0, 1 - float(np.sqrt(current * reference).sum()))))


def kld(current: Floats, reference: Floats) -> float:
    """KL(t|u) + KL(u|t), with 0 ln 0 = 0 and 1e-4 for a share that is 0 in a denominator."""
    return _one_sided(current, reference) + _one_sided(reference, current)


DISTANCES = {"tvd": tvd, "hellinger": hellinger, "kld": kld}
"""Those that MLRun has."""


def _one_sided(p: Floats, q: Floats) -> float:
    p, q = p[p != 0], q[p != 0]
    return float((p * np.log(p / np.where(q != 0, q, _ZERO))).sum())


def _feature(method: str, reference: Numeric, current: Numeric) -> FeatureResult:
    found = started(reference, current)
    if not (len(reference.finite) and found.n_current):
        found.message = "not enough data: no values in " + ("current" if len(reference.finite) else "reference")
        return found
    p, q = histograms(reference, current)
    found.statistic = DISTANCES[method](q, p)
    top = np.count_nonzero(current.ordered == reference.finite.max())
    if top > 0.01 * found.n_current:
        found.message = f"{top} current values equal the reference's largest, and MLRun counts them outside its bins"
    return found


def _ends(values: Floats) -> tuple[float, float]:
    """The histogram's ends, half to each side of a constant, as numpy chooses them."""
    low, high = float(values.min()), float(values.max())
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _state(mean: float | None, threshold: float | None) -> State:
    if mean is None or threshold is None:
        return "unknown"
    if mean >= threshold:
        return "detected"
    return "possible" if mean >= min(POSSIBLE, threshold) else "none"


def _message(mean: float | None, threshold: float | None) -> str:
    if mean is None:
        return "not enough data: no feature has values on both sides"
    return "MLRun has no threshold for kld; give threshold=..." if threshold is None else ""
