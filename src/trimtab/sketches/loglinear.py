"""Quantiles of numbers that nobody gave bins for, in a state that adds up exactly.

Buckets grow with the value, as in DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019), with the logarithm interpolated linearly between powers of two: a float64's
exponent and leading bits of its fraction are its bucket, so one shift finds it, the same on every machine. When there are
more than `LIMIT` buckets, neighbours are joined two by two (uniform collapse: Epicoco, Melle, Cafaro, Pulimeno, "UDDSketch:
accurate tracking of quantiles in data streams", IEEE Access 2020). How often that happens depends on the set of buckets
alone, and never falls when values are added: any order of updates and merges ends in the same state.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Integers = npt.NDArray[np.int64]

LIMIT = 1024
"""Buckets at most. Normal values end up 1.6 % exact; values that span three decades and one sign 0.8 %."""
FINEST = 6
"""Bits of the fraction that are used before any collapse: 64 buckets to each power of two."""
_SHIFT = 52 - FINEST


class LogLinear(Struct, kw_only=True):
    """Counts by bucket. `keys` are in order of the values they stand for: negative ones below zero, zero itself 0."""

    collapses: int = 0
    keys: Integers
    counts: Integers

    @classmethod
    def empty(cls) -> LogLinear:
        """Start without values."""
        return cls(keys=np.empty(0, np.int64), counts=np.empty(0, np.int64))

    @property
    def error(self) -> float:
        """The largest relative error of a quantile: half a bucket's width over its lower end."""
        if self.collapses <= FINEST:
            return float(2.0 ** (self.collapses - FINEST - 1))
        return (float(2**2 ** (self.collapses - FINEST)) - 1) / 2  # a bucket spans so many powers of two

    def update(self, ordered: npt.NDArray[np.float64]) -> None:
        """Add finite numbers, which are sorted and contiguous."""
        if len(ordered):
            self._add(*_counted(_keys(ordered, self.collapses)))

    def merge(self, other: LogLinear) -> LogLinear:
        """Add up two; neither is changed."""
        level = max(self.collapses, other.collapses)
        merged = LogLinear(collapses=level, keys=self.keys, counts=self.counts)
        merged.keys, merged.counts = _joined(self.keys, self.counts, level - self.collapses)
        merged._add(*_joined(other.keys, other.counts, level - other.collapses))
        return merged

    def quantiles(self, shares: list[float], low: float, high: float) -> list[float]:
        """Give the values below which these shares of all lie; `low` and `high` are the least and largest value."""
        ends, ranks = np.cumsum(self.counts), np.asarray(shares) * (self.counts.sum() - 1)
        places = np.minimum(np.searchsorted(ends, ranks, side="right"), len(ends) - 1)
        found = np.clip(_middle(self.keys[places], self.collapses), low, high)
        found = np.where(ranks <= 0, low, np.where(ranks >= ends[-1] - 1, high, found))
        return [float(value) for value in found]

    def _add(self, keys: Integers, counts: Integers) -> None:
        if len(self.keys):
            keys, counts = _summed(np.concatenate((self.keys, keys)), np.concatenate((self.counts, counts)))
        while len(keys) > LIMIT:
            keys, counts = _joined(keys, counts, 1)
            self.collapses += 1
        self.keys, self.counts = keys, counts


def _keys(finite: npt.NDArray[np.float64], collapses: int) -> Integers:
    """Find the buckets: the leading bits of the magnitude plus one, with the number's sign; zero, of either sign, is 0."""
    bits = finite.view(np.int64)
    keys = ((bits & np.int64(0x7FFF_FFFF_FFFF_FFFF)) >> np.int64(_SHIFT + collapses)) + 1
    np.negative(keys, out=keys, where=bits < 0)
    keys[finite == 0.0] = 0
    return keys


def _counted(keys: Integers) -> tuple[Integers, Integers]:
    """Count keys that are sorted."""
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.diff(starts, append=len(keys)).astype(np.int64, copy=False)


def _summed(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Add the counts of equal keys."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(counts, starts)


def _joined(keys: Integers, counts: Integers, times: int) -> tuple[Integers, Integers]:
    """Join neighbours, 2 ** times of them at once, as if the keys had been found with so many bits fewer."""
    if not times or not len(keys):
        return keys, counts
    magnitudes = ((np.abs(keys) - 1) >> times) + 1
    return _summed(np.where(keys == 0, 0, np.sign(keys) * magnitudes), counts)


def _middle(keys: Integers, collapses: int) -> npt.NDArray[np.float64]:
    """Give the middle of each bucket."""
    shift = np.int64(_SHIFT + collapses)
    lower = ((np.abs(keys) - 1) << shift).view(np.float64)
    upper = np.minimum(np.abs(keys) << shift, np.int64(0x7FEF_FFFF_FFFF_FFFF)).view(np.float64)
    return np.where(keys == 0, 0.0, np.sign(keys) * (lower / 2 + upper / 2))
