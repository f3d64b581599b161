"""The Wasserstein distance of each numeric feature: how far values have moved, in units of the reference's spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Numeric, NumericCounts
from trimtab.handlers.drift.feature import numeric_only, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import merged_neighbours
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["distance", "wasserstein"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_BINS = 64
_LARGEST, _SMALLEST = float(np.finfo(np.float64).max), float(np.finfo(np.float64).tiny)
_FEW_SIGNS = 1.2  # what paths that change their sign add to the tail


def wasserstein(reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS) -> Result:
    """Wasserstein-1 distance of each feature: W = integral |F(t) - G(t)| dt (Vallender 1974, Theor. Prob. Appl. 18:784).

    It is divided by the reference's interquartile range (by its standard deviation where that is 0, by 1 where it is
    constant), so that features can be compared. Of sketches, |F - G| is taken as linear between the edges of the bins.
    Infinite values are left out and counted.

    The p-value is that of V = sum_j |F_j - G_j| w_j at the edges of 64 reference quantile bins, w_j being half the width
    of the bins on both sides: without drift the differences are normal with covariance (1/n + 1/m) F_i (1 - F_j), i <= j.
    All covariances being positive, V is large when all differences have one sign, so that its tail is that of their sum:
    2 Phi(-V / s), s^2 = sum_ij w_i w_j cov_ij, times 1.2. Measured on bridges with even, normal and heavy tailed weights,
    the probability is 0.8 to 1.3 times that for p from 0.05 to 0.0001.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict. `effect`
    is the total variation distance above its mean without drift.
    """
    features = [_feature(left, right) for left, right in numeric_only("wasserstein", reference, current)]
    return judged("wasserstein", features, (reference, current), alpha=alpha, min_rows=min_rows)


def distance(reference: Numeric, current: Numeric) -> float | None:
    """W over the reference's spread; None where a side has no finite value."""
    if reference.moments is None or current.moments is None:
        return None
    unit = _unit(reference, current)
    if isinstance(reference, NumericCounts):
        edges, left, right = _binned(reference, current)
        gaps = np.abs(_shares(left) - _shares(right))
        heights = (np.append(0.0, gaps) + np.append(gaps, 0.0)) / 2
        moved = float((heights * np.diff(_ends(reference, current, edges) / unit)).sum())
    else:
        from scipy.stats import wasserstein_distance

        moved = float(wasserstein_distance(reference.finite / unit, current.finite / unit))
    spread = _spread(reference, unit)
    with np.errstate(over="ignore"):
        return float(np.minimum(np.float64(moved) / spread, _LARGEST))


def _unit(reference: Numeric, current: Numeric) -> float:
    """The largest size there is, by which all is divided: squares of numbers stay within float64."""
    assert reference.moments is not None
    assert current.moments is not None
    found = max(abs(value) for value in (*reference.moments[2:], *current.moments[2:]))
    return found if found > _SMALLEST else 1.0


def _feature(reference: Numeric, current: Numeric) -> FeatureResult:
    found = started(reference, current)
    lost = sum(reference.infinite), sum(current.infinite)
    found.n_reference, found.n_current = found.n_reference - lost[0], found.n_current - lost[1]
    found.statistic = distance(reference, current)
    if found.statistic is None:
        return found
    edges, left, right = _binned(reference, current)
    found.p_value = _p_value(reference, current, edges, left, right)
    found.effect = float(excess(*merged_neighbours([(left, right)], most=16))[0])
    if any(lost):
        found.message = f"infinite values left out: {lost[0]} of the reference, {lost[1]} of current"
    return found


def _binned(reference: Numeric, current: Numeric) -> tuple[Floats, Counts, Counts]:
    """Count finite values by the reference's bins."""
    edges = reference.edges(_BINS)
    left, right = reference.counts(edges).copy(), current.counts(edges).copy()
    for counts, column in ((left, reference), (right, current)):
        counts[0] -= column.infinite[0]
        counts[-1] -= column.infinite[1]
    return edges, left, right


def _shares(counts: Counts) -> Floats:
    """The share of values below each edge."""
    return np.asarray(np.cumsum(counts)[:-1] / counts.sum())


def _ends(reference: Numeric, current: Numeric, edges: Floats) -> Floats:
    """The edges, with the least and the largest value of both outside of them."""
    assert reference.moments is not None
    assert current.moments is not None
    low = min(reference.moments[2], current.moments[2], edges[0])
    high = max(reference.moments[3], current.moments[3], edges[-1])
    return np.minimum(np.concatenate(([low], edges, [high])), _LARGEST)


def _p_value(reference: Numeric, current: Numeric, edges: Floats, left: Counts, right: Counts) -> float:
    from scipy.special import ndtr

    n, m = int(left.sum()), int(right.sum())
    pooled = np.cumsum(left + right)[:-1] / (n + m)
    ends = _ends(reference, current, edges) / _unit(reference, current)
    weights = (ends[2:] - ends[:-2]) / 2
    value = float((np.abs(_shares(left) - _shares(right)) * weights).sum())
    bridge = np.minimum.outer(pooled, pooled) - np.outer(pooled, pooled)
    variance = float(weights @ bridge @ weights) * (1 / n + 1 / m)
    if variance <= 0:
        return 1.0 if value <= 0 else 0.0
    return min(1.0, _FEW_SIGNS * 2 * float(ndtr(-value / variance**0.5)))


def _spread(column: Numeric, unit: float) -> float:
    """The interquartile range, or the standard deviation, or 1 (each in units): the first that is not 0."""
    if isinstance(column, NumericCounts):
        edges, shares = np.minimum(column.edges(0), _LARGEST) / unit, _shares(column.counts(column.edges(0)))
        low, high = np.interp([0.25, 0.75], shares, edges)
        std = (column.moments[1] or 0.0) / unit if column.moments else 0.0
    else:
        values = column.finite / unit
        low, high = np.quantile(values, [0.25, 0.75])
        std = float(values.std())
    return float(high - low) or std or 1 / unit
