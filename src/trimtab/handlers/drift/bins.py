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

from trimtab.handlers.drift.hypergeometric import Tables, tails
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.tables import Pair, grouped, stacked

__all__ = ["effects", "share_p_values", "tests"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_OVERSHOOT = 0.5826  # -zeta(1/2)/sqrt(2 pi)
_FEW = 8  # edges that are tested one by one
_COARSE = 16  # bins on which effects are measured: more would add noise and no meaning


def tests(pairs: Sequence[Pair]) -> tuple[Floats, Floats]:
    """Give D at the edges of the bins, and the probability of such a D or a larger one without drift, by feature.

    Counts are those below the first edge, by bin, and from the last edge on.
    """
    from scipy.special import kolmogorov

    left, right = stacked(pairs)
    below, seen = left.cumsum(axis=1), right.cumsum(axis=1)
    n, m = below[:, -1], seen[:, -1]
    distances = np.abs(below / n[:, None] - seen / m[:, None]).max(axis=1)
    z = np.sqrt(n / (n + m) * m) * distances
    p_values = np.where(z > 0, kolmogorov(z + _OVERSHOOT * np.sqrt(_spacing(left[:, 1:]))), 1.0)
    edges = (left + right > 0) & (below + seen < (n + m)[:, None])  # those that part what no other edge parts
    few = np.flatnonzero(edges.sum(axis=1) <= _FEW)
    rows, places = np.nonzero(edges[few])
    rows = few[rows]
    each = _two_sided(below[rows, places], n[rows], seen[rows, places], m[rows])
    p_values[few] = np.minimum(
        p_values[few], np.bincount(rows, weights=each, minlength=len(pairs))[few] + (z[few] == 0)
    )
    return distances, p_values


def effects(pairs: Sequence[Pair]) -> Floats:
    """The total variation distance above its mean without drift (see `moved`), by feature, on 16 groups of bins.

    A bin belongs to a group by the share of the reference up to its middle; what lies below and above all of the
    reference's numbers is apart.
    """
    left, right = stacked(pairs)
    middle = (left.cumsum(axis=1) - left / 2) / left.sum(axis=1, keepdims=True)
    groups = 1 + np.minimum((middle * _COARSE).astype(np.int64), _COARSE - 1)
    groups[:, 0] = 0
    for row, (counts, _) in enumerate(pairs):
        groups[row, len(counts) - 1 :] = _COARSE + 1
    return excess(grouped(left, groups), grouped(right, groups))


def share_p_values(tables: Sequence[tuple[int, int, int, int]]) -> list[float]:
    """The exact two-sided p-value of each (some of n, n, some of m, m): twice the smaller hypergeometric tail, at most 1."""
    if not tables:
        return []
    return [float(value) for value in _two_sided(*np.array(tables, dtype=np.int64).T)]


def _two_sided(some: Counts, n: Counts, others: Counts, m: Counts) -> Floats:
    if not len(some):
        return np.empty(0)
    lower, upper = tails(Tables.of(np.stack((n - some, some), axis=1), np.stack((m - others, others), axis=1)))
    return np.asarray(np.minimum(1.0, 2 * np.minimum(lower, upper)))


def _spacing(counts: Counts) -> Floats:
    """The distance of the edges on the scale of the reference's shares: a bin's share, the smallest where they differ."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    even = 1 / np.maximum((counts > 0).sum(axis=1), 1)
    least = np.where(counts > 0, shares, 1.0).min(axis=1, initial=1.0)
    return np.asarray(np.where(shares.max(axis=1, initial=0.0) <= 2 * even, even, least))
