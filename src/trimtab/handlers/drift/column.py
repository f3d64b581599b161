"""One column of a sample: numbers or levels, either all of its values or what a sketch has counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.handlers.drift.below import below, on_float32
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.fit import edges as placed
from trimtab.sketches.numeric import NumericSketch, bounds
from trimtab.sketches.reference import CategoricalReference, NumericReference

__all__ = ["OTHER", "Categorical", "CategoricalCounts", "Column", "Numeric", "NumericCounts"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Counts = npt.NDArray[np.int64]

OTHER = "(other)"
"""The level that a sketch counts all those under which its reference does not list."""

_FEW = 72  # edges up to which comparing is at least as fast as sorting
_LEVELS = 256  # different numbers of a column that can still be read as levels


class Numeric:
    """A column of numbers. `values` holds every row as float64, NaN where the value is missing."""

    kind = "numeric"

    def __init__(self, name: str, values: Floats, dtype: str = "float64") -> None:
        self.name, self._values, self.dtype = name, values, dtype
        self._edges: dict[int, Floats] = {}
        self._counts: dict[int, tuple[Floats, Counts]] = {}

    @property
    def values(self) -> Floats:
        """Every row's value."""
        return self._values

    @cached_property
    def present(self) -> Floats:
        """The values that are not missing, in the order of the rows; infinities among them."""
        values = self.values
        with np.errstate(invalid="ignore", over="ignore"):
            if not np.isnan(values.sum()):  # a tenth of the time of looking at each
                return values
        mask = np.isnan(values)
        return values[~mask] if mask.any() else values

    @cached_property
    def finite(self) -> Floats:
        """The values that are neither missing nor infinite."""
        mask = np.isfinite(self.present)
        return self.present if mask.all() else self.present[mask]

    @cached_property
    def ordered(self) -> Floats:
        """`present`, sorted. A reference that is kept as a `Frame` is sorted once."""
        return np.sort(self.present)

    @property
    def n(self) -> int:
        """Values, infinities among them."""
        return len(self.present)

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return len(self.values) - self.n

    @cached_property
    def infinite(self) -> tuple[int, int]:
        """How many values are minus infinity, and how many are plus infinity."""
        with np.errstate(invalid="ignore", over="ignore"):
            if np.isfinite(self.present.sum()):
                return 0, 0
        low, high = (int(np.count_nonzero(self.present == end)) for end in (-np.inf, np.inf))
        return low, high

    def edges(self, bins: int) -> Floats:
        """Place edges for at most so many bins at quantiles, with a bin of its own for each value that fills one.

        Bin j is edges[j] <= x < edges[j + 1]; the largest value lies in the last one. Edges between different numbers are
        where float32 tells them apart, if it does, as comparing with those is faster.
        """
        if bins not in self._edges:
            low, high = self.infinite
            found = np.array(placed(self.ordered[low : self.n - high], bins), dtype=np.float64)
            if len(found):
                with np.errstate(over="ignore"):
                    found[-1] = np.nextafter(found[-1], np.inf)
            self._edges[bins] = on_float32(found, self.ordered)
        return self._edges[bins]

    def counts(self, edges: Floats) -> Counts:
        """Count values below the first edge, by bin, and from the last edge on (so one more than there are edges)."""
        known = self._counts.get(id(edges))
        if known is None:
            ends = np.empty(len(edges) + 2, np.int64)
            ends[0], ends[1:-1], ends[-1] = 0, self._below(edges), self.n
            known = edges, ends[1:] - ends[:-1]
            self._counts[id(edges)] = known  # with the edges, so that nothing else gets their id
        return known[1]

    def _below(self, edges: Floats) -> Counts:
        """Count the values below each edge: sorted once if there are many edges, or else by so many comparisons."""
        if "ordered" in self.__dict__ or len(edges) > _FEW:
            return self.ordered.searchsorted(edges, "left")
        return below(self.present, edges)

    @property
    def moments(self) -> tuple[float, float | None, float, float] | None:
        """Mean, standard deviation, least and largest of the finite values; None where there are none."""
        low, high = self.infinite
        values = self.ordered[low : self.n - high]
        if not len(values):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan
        if not np.isfinite(mean):  # the sum is beyond float64, the mean is not
            mean = float((values / len(values)).sum())
        return mean, std if np.isfinite(std) else None, float(values[0]), float(values[-1])

    @cached_property
    def levelled(self) -> Categorical:
        """The same column with each value a level. Raises `DataError` where there are too many to be levels."""
        levels, places = np.unique(self.present, return_inverse=True)
        if len(levels) > _LEVELS:
            raise DataError(
                f"column {self.name!r} has {len(levels)} different numbers, too many to be levels (at most {_LEVELS}); "
                "compare it with 'ks' or 'tabular', or make text of it if its numbers are names",
                self.name,
            )
        codes = np.full(len(self.values), -1, np.intp)
        codes[~np.isnan(self.values)] = places
        return Categorical(self.name, codes, [f"{level:.17g}" for level in levels], self.dtype)


class NumericCounts(Numeric):
    """A column of numbers of which a sketch has kept the counts by bin."""

    def __init__(self, reference: NumericReference, sketch: NumericSketch) -> None:
        super().__init__(reference.name, np.empty(0), reference.dtype)
        self.sketch, self._reference = sketch, reference

    @property
    def values(self) -> Floats:
        """Nothing: a sketch has no values. Raises `DataError`."""
        raise DataError(
            f"column {self.name!r} is a sketch, and this method needs the values; sketches can be compared with "
            "'default', 'ks', 'tvd', 'hellinger', 'kld', 'js', 'psi', 'wasserstein', 'chi2' and 'tabular'",
            self.name,
        )

    @property
    def n(self) -> int:
        """Values, infinities among them."""
        return self.sketch.n + self.sketch.negative_infinite + self.sketch.positive_infinite

    @property
    def missing(self) -> int:
        """Rows without a value, or with something that is no number."""
        return self.sketch.missing + self.sketch.invalid

    @property
    def infinite(self) -> tuple[int, int]:
        """How many values are minus infinity, and how many are plus infinity."""
        return self.sketch.negative_infinite, self.sketch.positive_infinite

    def edges(self, bins: int) -> Floats:
        """The sketch's own edges, whatever number is asked for."""
        return bounds(self._reference)

    def counts(self, edges: Floats) -> Counts:
        """Count values below the first edge, by bin, and from the last edge on."""
        low, high = self.infinite
        if not (low or high):
            return self.sketch.bins
        found = self.sketch.bins.copy()
        found[[0, -1]] += (low, high)
        return found

    @property
    def moments(self) -> tuple[float, float | None, float, float] | None:
        """Mean, standard deviation, least and largest of the finite values; None where there are none."""
        found = self.sketch
        return (found.mean, found.std, found.min, found.max) if found.n else None


class Categorical:
    """A column of levels. `codes` points into `levels` for every row, -1 where the value is missing."""

    kind = "categorical"

    def __init__(self, name: str, codes: Codes, levels: Sequence[str], dtype: str = "str") -> None:
        self.name, self._codes, self.levels, self.dtype = name, codes, list(levels), dtype

    @property
    def codes(self) -> Codes:
        """Every row's place in `levels`."""
        return self._codes

    @cached_property
    def counts(self) -> Counts:
        """Rows of each level."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels)).astype(np.int64)

    @property
    def n(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @cached_property
    def missing(self) -> int:
        """Rows without a value."""
        return int(np.count_nonzero(self.codes < 0))

    @property
    def levelled(self) -> Categorical:
        """The column itself."""
        return self


class CategoricalCounts(Categorical):
    """A column of levels of which a sketch has kept the counts. Levels that its reference does not list are one, `OTHER`."""

    def __init__(self, reference: CategoricalReference, sketch: CategoricalSketch) -> None:
        levels = [*reference.levels, OTHER] if sketch.unseen else reference.levels
        super().__init__(reference.name, np.empty(0, np.intp), levels, reference.dtype)
        self.sketch = sketch

    @property
    def codes(self) -> Codes:
        """Nothing: a sketch has no values. Raises `DataError`."""
        raise DataError(f"column {self.name!r} is a sketch, and this method needs the values", self.name)

    @cached_property
    def counts(self) -> Counts:
        """Rows of each level."""
        return np.append(self.sketch.counts, self.sketch.unseen) if self.sketch.unseen else self.sketch.counts

    @cached_property
    def missing(self) -> int:
        """Rows without a value."""
        return self.sketch.missing


Column = Numeric | Categorical
