"""Two samples as one table of counts: what categorical tests and binned distances compare."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Categorical, Numeric

__all__ = ["LEAST_EXPECTED", "MISSING", "binned", "levelled", "merged_levels", "merged_neighbours"]

Counts = npt.NDArray[np.int64]

LEAST_EXPECTED = 5.0
"""Expected rows to a cell from which on the chi-squared approximation is trusted (Cochran 1954, Biometrics 10:417)."""
MISSING = "(missing)"


def levelled(reference: Categorical, current: Categorical, *, missing: bool) -> tuple[list[str], Counts, Counts]:
    """Count each level of either sample. With `missing`, rows without a value are one more level, where there are any."""
    levels = sorted({*reference.levels, *current.levels})
    left, right = _placed(reference, levels), _placed(current, levels)
    if missing and (reference.missing or current.missing):
        levels = [*levels, MISSING]
        left, right = np.append(left, reference.missing), np.append(right, current.missing)
    seen = (left + right) > 0
    return [level for level, kept in zip(levels, seen, strict=True) if kept], left[seen], right[seen]


def binned(reference: Numeric, current: Numeric, bins: int) -> tuple[Counts, Counts]:
    """Count both samples by the reference's quantile bins (or a sketch's own), with what lies below and above."""
    edges = reference.edges(bins)
    return reference.counts(edges), current.counts(edges)


def merged_levels(left: Counts, right: Counts) -> tuple[Counts, Counts]:
    """Put the rarest levels together until every expected count is large enough, or two levels are left."""
    order = np.argsort(left + right, kind="stable")
    left, right = left[order], right[order]
    least = _least(left, right)
    pooled = np.cumsum(left + right)
    together = min(int(pooled.searchsorted(least)) + 1, len(left) - 1)  # so many of the rarest make one large cell
    if together <= 1:
        return left, right
    return _summed(left, together), _summed(right, together)


def merged_neighbours(left: Counts, right: Counts, most: int = 0) -> tuple[Counts, Counts]:
    """Put neighbouring bins together until each expected count is large enough, and inside there are at most `most`."""
    if most and len(left) > most + 2:
        starts = _even(left, most)
        left, right = np.add.reduceat(left, starts), np.add.reduceat(right, starts)
    least = _least(left, right)
    starts, filled = [0], 0.0
    for place, count in enumerate((left + right).tolist()):
        if filled >= least:
            starts.append(place)
            filled = 0.0
        filled += count
    if filled < least and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(left, starts), np.add.reduceat(right, starts)


def _even(left: Counts, most: int) -> list[int]:
    """Where groups of bins start that hold about the same share of the reference; the two outer bins stay apart."""
    inner = left[1:-1]
    middles = (inner.cumsum() - inner / 2) / max(int(inner.sum()), 1)
    groups = np.minimum((middles * most).astype(np.int64), most - 1)
    firsts = np.flatnonzero(np.diff(groups, prepend=-1)) + 1
    return [0, *firsts.tolist(), len(left) - 1]


def _least(left: Counts, right: Counts) -> float:
    """The pooled count that gives the smaller sample's cell an expected count that is large enough."""
    n, m = int(left.sum()), int(right.sum())
    return LEAST_EXPECTED * (n + m) / max(min(n, m), 1)


def _summed(counts: Counts, together: int) -> Counts:
    return np.append(counts[:together].sum(), counts[together:])


def _placed(column: Categorical, levels: list[str]) -> Counts:
    found = dict(zip(column.levels, column.counts.tolist(), strict=True))
    return np.array([found.get(level, 0) for level in levels], dtype=np.int64)
