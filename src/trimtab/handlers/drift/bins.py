"""The Kolmogorov-Smirnov test on counts by bin, for many features at once, and the exact test of a share.

z = sqrt(nm/(n+m)) D is without drift the largest absolute value of a Brownian bridge, looked at where the edges are. With k
even bins its tail is K(z + 0.5826/sqrt(k)), as a path that is looked at every 1/k overshoots by so much in between (Siegmund
1985, "Sequential Analysis", chapter 10). Where bins are uneven, as atoms make them, the smallest one counts: that errs on the
side of no alarm. With few edges, as features of a few numbers have, the sum of the exact (hypergeometric) p-values at each is
smaller, and as good a bound (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Pair", "effects", "share_p_values", "tests"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pair = tuple[Counts, Counts]
"""The reference's counts by bin and the current ones: below the first edge, by bin, from the last edge on."""

_OVERSHOOT = 0.5826  # -zeta(1/2)/sqrt(2 pi)
_FEW = 8  # edges that are tested one by one
_COARSE = 16  # bins on which effects are measured: more would add noise and no meaning


def tests(pairs: Sequence[Pair]) -> tuple[Floats, Floats]:
    """Give D at the edges of the bins, and the probability of such a D or a larger one without drift, by feature."""
    from scipy.special import kolmogorov

    left, right = _stacked(pairs)
    below, seen = left.cumsum(axis=1), right.cumsum(axis=1)
    n, m = below[:, -1], seen[:, -1]
    distances = np.abs(below / n[:, None] - seen / m[:, None]).max(axis=1)
    z = np.sqrt(n / (n + m) * m) * distances
    p_values = np.where(z > 0, kolmogorov(z + _OVERSHOOT * np.sqrt(_spacing(left[:, 1:]))), 1.0)
    edges = (left + right > 0) & (below + seen < (n + m)[:, None])  # those that part what no other edge parts
    few = np.flatnonzero(edges.sum(axis=1) <= _FEW)
    rows, places = np.nonzero(edges[few])
    rows = few[rows]
    each = _two_sided(seen[rows, places], (below + seen)[rows, places], m[rows], (n + m)[rows])
    p_values[few] = np.minimum(
        p_values[few], np.bincount(rows, weights=each, minlength=len(pairs))[few] + (z[few] == 0)
    )
    return distances, p_values


def effects(pairs: Sequence[Pair]) -> Floats:
    """The total variation distance above its mean without drift (see `moved`), by feature, on 16 groups of bins.

    A bin belongs to a group by the share of the reference up to its middle; what lies below and above all of the
    reference's numbers is apart.
    """
    left, right = _stacked(pairs)
    n, m = left.sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True)
    middle = (left.cumsum(axis=1) - left / 2) / n
    groups = 1 + np.minimum((middle * _COARSE).astype(np.int64), _COARSE - 1)
    groups[:, 0] = 0
    for row, (counts, _) in enumerate(pairs):
        groups[row, len(counts) - 1 :] = _COARSE + 1
    places = (groups + (_COARSE + 2) * np.arange(len(pairs))[:, None]).ravel()
    p, q = (
        np.bincount(places, weights=side.ravel(), minlength=(_COARSE + 2) * len(pairs)).reshape(len(pairs), -1)
        for side in (left, right)
    )
    pooled = (p + q) / (n + m)
    expected = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) / (2 * np.pi)).sum(axis=1)
    return np.asarray(np.maximum(0.0, np.abs(p / n - q / m).sum(axis=1) / 2 - expected))


def share_p_values(tables: Sequence[tuple[int, int, int, int]]) -> list[float]:
    """The exact two-sided p-value of each (some of n, n, some of m, m): twice the smaller hypergeometric tail, at most 1."""
    if not tables:
        return []
    left, n, right, m = np.array(tables, dtype=np.int64).T
    return [float(value) for value in _two_sided(right, left + right, m, n + m)]


def _stacked(pairs: Sequence[Pair]) -> Pair:
    """Give the features' counts as rows, filled up with empty bins."""
    found = np.zeros((2, len(pairs), max(len(left) for left, _ in pairs)), np.int64)
    for row, (left, right) in enumerate(pairs):
        found[0, row, : len(left)], found[1, row, : len(left)] = left, right
    return found[0], found[1]


def _two_sided(seen: Counts, marked: Counts, drawn: Counts, all_: Counts) -> Floats:
    from scipy.stats import hypergeom

    if not len(seen):
        return np.empty(0)
    law = hypergeom(all_, marked, drawn)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(law.cdf(seen), law.sf(seen - 1))))


def _spacing(counts: Counts) -> Floats:
    """The distance of the edges on the scale of the reference's shares: a bin's share, the smallest where they differ."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    even = 1 / np.maximum((counts > 0).sum(axis=1), 1)
    least = np.where(counts > 0, shares, 1.0).min(axis=1, initial=1.0)
    return np.asarray(np.where(shares.max(axis=1, initial=0.0) <= 2 * even, even, least))
