"""The sketch of one numeric column: rows by the reference's bins, moments, extremes and quantiles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from trimtab.sketches.loglinear import LogLinear
from trimtab.sketches.reference import NumericReference

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class NumericSketch(Struct, kw_only=True):
    """Counts of one column of one window. Everything adds up exactly but `mean` and `m2`, which do to rounding."""

    bins: Integers
    """Rows below the first edge, rows by bin, rows above the last edge. Without edges: 0 and all."""
    missing: int = 0
    invalid: int = 0
    positive_infinite: int = 0
    negative_infinite: int = 0
    n: int = 0
    """Finite numbers: the sum of `bins`, and what the fields below are about."""
    mean: float = 0.0
    m2: float = 0.0
    """The sum of squared distances from the mean; infinite where float64 ends."""
    min: float = math.inf
    max: float = -math.inf
    buckets: LogLinear

    @classmethod
    def empty(cls, reference: NumericReference) -> NumericSketch:
        """Start without rows."""
        return cls(bins=np.zeros(max(len(reference.edges), 1) + 1, np.int64), buckets=LogLinear.empty())

    @property
    def under(self) -> int:
        """Rows below all that the reference held."""
        return int(self.bins[0])

    @property
    def over(self) -> int:
        """Rows above all that the reference held."""
        return int(self.bins[-1])

    @property
    def inner(self) -> Integers:
        """Rows by the reference's bins, those outside left out."""
        return self.bins[1:-1]

    @property
    def rows(self) -> int:
        """All rows, the missing ones too."""
        return self.n + self.missing + self.invalid + self.positive_infinite + self.negative_infinite

    @property
    def std(self) -> float | None:
        """The standard deviation, n - 1 in the denominator; None below two numbers or beyond float64."""
        return math.sqrt(self.m2 / (self.n - 1)) if self.n > 1 and math.isfinite(self.m2) else None

    def quantiles(self, shares: list[float]) -> list[float] | None:
        """Give quantiles, as exact as `buckets.error` says; None without numbers."""
        return self.buckets.quantiles(shares, self.min, self.max) if self.n else None

    def update(self, values: Floats, bounds: Floats, invalid: int = 0) -> None:
        """Add values (contiguous); NaN is missing, except for the `invalid` ones among them. `bounds` are of `bounds`."""
        finite = np.isfinite(values)
        if not finite.all():
            self._set_apart(values, invalid)
            values = values[finite]
        if not len(values):
            return
        values = np.sort(values)  # numpy sorts in less time than it looks each value up, and all below gains from it
        self.bins = self.bins + _binned(values, bounds)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            if not math.isfinite(mean):
                mean = float((values / len(values)).sum())
            distance = values - mean
            m2 = float(np.square(distance, out=distance).sum())
        self._add_moments(len(values), mean, m2)
        self.min, self.max = min(self.min, float(values[0])), max(self.max, float(values[-1]))
        self.buckets.update(values)

    def merge(self, other: NumericSketch) -> NumericSketch:
        """Add up two; neither is changed."""
        merged = NumericSketch(
            bins=self.bins + other.bins,
            missing=self.missing + other.missing,
            invalid=self.invalid + other.invalid,
            positive_infinite=self.positive_infinite + other.positive_infinite,
            negative_infinite=self.negative_infinite + other.negative_infinite,
            n=self.n,
            mean=self.mean,
            m2=self.m2,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
            buckets=self.buckets.merge(other.buckets),
        )
        if other.n:
            merged._add_moments(other.n, other.mean, other.m2)
        return merged

    def _set_apart(self, values: Floats, invalid: int) -> None:
        self.missing += int(np.count_nonzero(np.isnan(values))) - invalid
        self.invalid += invalid
        self.positive_infinite += int(np.count_nonzero(values == np.inf))
        self.negative_infinite += int(np.count_nonzero(values == -np.inf))

    def _add_moments(self, n: int, mean: float, m2: float) -> None:
        """Join means and sums of squares (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm", 1979)."""
        total = self.n + n
        share, distance = n / total, mean - self.mean
        joined = self.mean + distance * share
        if not math.isfinite(joined):  # two ends of float64 are further apart than float64 reaches
            joined = self.mean * (self.n / total) + mean * share
        # A product, not a power: a power of floats raises where this becomes infinite.
        self.m2 = self.m2 + m2 + (distance * distance * self.n * share if self.n else 0.0)
        self.n, self.mean = total, joined


def _binned(ordered: Floats, bounds: Floats) -> Integers:
    """Count values below, between and above the bounds; without bounds all are above."""
    if not len(bounds):
        return np.array([0, len(ordered)])
    below = np.searchsorted(ordered, bounds, side="left")
    return np.diff(below, prepend=0, append=len(ordered))


def bounds(reference: NumericReference) -> Floats:
    """Give the edges to look up, the last one moved by one float to close its bin."""
    found = np.asarray(reference.edges, dtype=np.float64)
    if len(found):
        with np.errstate(over="ignore"):
            found[-1] = np.nextafter(found[-1], np.inf)
    return found
