"""The Wasserstein distance of each numeric feature: how far values have moved, in units of the reference's spread."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Numeric, NumericCounts
from trimtab.handlers.drift.feature import numeric_only, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.null import p_value
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import merged_neighbours
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged
from trimtab.sketches.fit import edges as placed

__all__ = ["distance", "wasserstein"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_BINS = 64
_LARGEST, _SMALLEST = float(np.finfo(np.float64).max), float(np.finfo(np.float64).tiny)
_MOST = 500_000_000  # rows up to which numpy draws hypergeometric counts


def wasserstein(
    reference: Frame,
    current: Frame,
    *,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    permutations: int = 1000,
    seed: int = 0,
) -> Result:
    """Wasserstein-1 distance of each feature: W = integral |F(t) - G(t)| dt (Vallender 1974, Theor. Prob. Appl. 18:784).

    It is divided by the reference's interquartile range (by its standard deviation where that is 0, by 1 where it is
    constant), so that features can be compared. Of sketches, |F - G| is taken as linear between the edges of the bins.
    Infinite values are left out and counted.

    The p-value is that of V = sum_j |F_j - G_j| w_j at the edges between 64 quantile bins of both samples together (of
    sketches: the reference's), w_j being half the width of the bins on both sides, without the outer bins': V is W between
    the 1/64 and the 63/64 quantile, as beyond them a few values of a heavy tail would decide. Which sample a value is of is permuted: counts by bin are multivariate hypergeometric then, whatever the distribution, and
    p = (1 + #{V_b >= V}) / (1 + B). Where fewer than 10 of the B reach V, p is read off a gamma law with the permutations'
    first three moments (see `null.p_value`): for p = 0.001 it gives 0.0006 to 0.0018, of normal, lognormal and Cauchy values.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict,
    `permutations` is B, and `seed` decides them. `effect` is the total variation distance above its mean without drift.
    """
    features = [
        _feature(left, right, alpha, permutations, np.random.default_rng(seed))
        for left, right in numeric_only("wasserstein", reference, current)
    ]
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


def _feature(
    reference: Numeric, current: Numeric, alpha: float, permutations: int, rng: np.random.Generator
) -> FeatureResult:
    found = started(reference, current)
    lost = sum(reference.infinite), sum(current.infinite)
    found.n_reference, found.n_current = found.n_reference - lost[0], found.n_current - lost[1]
    found.statistic = distance(reference, current)
    if found.statistic is None:
        return found
    weights, left, right = _weighed(reference, current)
    value = float(np.abs(_shares(left) - _shares(right)) @ weights)
    draw = partial(_drawn, weights, left + right, int(right.sum()), rng)
    found.p_value = p_value(
        value, draw, alpha=alpha, permutations=permutations, tail="gamma", method="wasserstein"
    ).p_value
    _, left, right = _binned(reference, current)
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


def _weighed(reference: Numeric, current: Numeric) -> tuple[Floats, Counts, Counts]:
    """Give the weights of the edges at which both are compared, and the counts between these.

    Both depend, but for a sketch's bins, on the pooled values alone, so that permuting them is exact.
    """
    if isinstance(reference, NumericCounts):
        edges, *sides = _binned(reference, current)
        below, totals = [np.cumsum(counts)[:-1] for counts in sides], [int(counts.sum()) for counts in sides]
    else:
        values = [column.ordered[column.infinite[0] : column.n - column.infinite[1]] for column in (reference, current)]
        edges = np.array(placed(np.sort(np.concatenate(values), kind="stable"), _BINS))
        below, totals = [side.searchsorted(edges) for side in values], [len(side) for side in values]
    kept = _kept(edges)
    left, right = (np.diff(at[kept], prepend=0, append=total) for at, total in zip(below, totals, strict=True))
    at = np.minimum(edges[kept], _LARGEST) / _unit(reference, current)
    weights = np.diff(at, prepend=at[0], append=at[-1])
    weights = (weights[1:] + weights[:-1]) / 2
    return weights if weights.any() else np.ones(len(weights)), left, right


def _kept(edges: Floats) -> slice:
    """Leave out the outer edges, and with them the outer bins' widths, which in heavy tails would weigh more than all others.

    Not those beside a bin of a single number: where most values are one number, others beyond it are another matter.
    """
    single = np.nextafter(np.nextafter(edges[:-1], np.inf), np.inf) >= edges[1:]
    found = slice(0 if single[0] else 1, len(edges) - (0 if single[-1] else 1))
    return found if found.start < found.stop else slice(0, len(edges))


def _drawn(weights: Floats, pooled: Counts, m: int, rng: np.random.Generator, count: int) -> Floats:
    """Give V of permutations: m of the pooled values are drawn without replacement."""
    thinned = max(1, -(-int(pooled.sum()) // _MOST))
    pooled, m = pooled // thinned, m // thinned
    below = np.cumsum(rng.multivariate_hypergeometric(pooled, m, size=count), axis=1)[:, :-1]
    gaps = (np.cumsum(pooled)[:-1] - below) / (int(pooled.sum()) - m) - below / m
    return np.asarray(np.abs(gaps) @ weights / thinned**0.5)


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
