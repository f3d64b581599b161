"""Two samples as one table of counts: what categorical tests and binned distances compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Categorical, Numeric

__all__ = [
    "LEAST_EXPECTED",
    "MISSING",
    "Pair",
    "binned",
    "grouped",
    "levelled",
    "merged_levels",
    "merged_neighbours",
    "stacked",
]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pair = tuple[Counts, Counts]
"""Both samples' counts by the same cells, the reference's first: of one feature, or of many, a row each (see `stacked`)."""

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


def stacked(pairs: Sequence[Pair]) -> Pair:
    """Give features' counts as rows, filled up with empty cells."""
    found = np.zeros((2, len(pairs), max((len(left) for left, _ in pairs), default=0)), np.int64)
    for row, (left, right) in enumerate(pairs):
        found[0, row, : len(left)], found[1, row, : len(left)] = left, right
    return found[0], found[1]


def merged_neighbours(pairs: Sequence[Pair], most: int = 0) -> Pair:
    """Put neighbouring bins together until each expected count is large enough, and inside there are at most `most`.

    The first and the last bin of each feature are those outside. Gives rows, as `stacked` does.
    """
    left, right = stacked(pairs)
    if most:
        groups = _even(left, np.array([len(counts) for counts, _ in pairs]), most)
        left, right = grouped(left, groups), grouped(right, groups)
    least, pooled = _least(left, right), left + right
    groups, filled = np.zeros_like(left), np.zeros(len(left))
    for place in range(1, left.shape[1]):
        filled += pooled[:, place - 1]
        full = filled >= least
        groups[:, place] = groups[:, place - 1] + full
        filled[full] = 0
    last = groups[:, -1]
    last = last - ((filled + pooled[:, -1] < least) & (last > 0))  # what is left over joins the group before
    groups = np.minimum(groups, last[:, None])
    return grouped(left, groups), grouped(right, groups)


def grouped(counts: Counts, groups: Counts) -> Counts:
    """Add up the cells of each row that are of one group, numbered from 0."""
    width = int(groups.max(initial=-1)) + 1
    places = (groups + width * np.arange(len(counts))[:, None]).ravel()
    found = np.bincount(places, weights=counts.ravel(), minlength=width * len(counts))
    return found.reshape(len(counts), width).astype(np.int64)


def _even(left: Counts, widths: Counts, most: int) -> Counts:
    """Group the bins so that each group holds about the same share of the reference; the two outer bins stay apart.

    Rows of few bins stay as they are.
    """
    places = np.broadcast_to(np.arange(left.shape[1]), left.shape)
    outer = widths[:, None] - 1
    inner = np.where((places > 0) & (places < outer), left, 0)
    middles = (inner.cumsum(axis=1) - inner / 2) / np.maximum(inner.sum(axis=1, keepdims=True), 1)
    groups = 1 + np.minimum((middles * most).astype(np.int64), most - 1)
    groups = np.where(places == 0, 0, np.where(places >= outer, most + 1, groups))
    return np.where(widths[:, None] > most + 2, groups, np.minimum(places, most + 1))


def _least(left: Counts, right: Counts) -> Floats:
    """The pooled count that gives the smaller sample's cell an expected count that is large enough."""
    n, m = left.sum(axis=-1), right.sum(axis=-1)
    return np.asarray(LEAST_EXPECTED * (n + m) / np.maximum(np.minimum(n, m), 1))


def _summed(counts: Counts, together: int) -> Counts:
    return np.append(counts[:together].sum(), counts[together:])


def _placed(column: Categorical, levels: list[str]) -> Counts:
    found = dict(zip(column.levels, column.counts.tolist(), strict=True))
    return np.array([found.get(level, 0) for level in levels], dtype=np.int64)
