"""Fisher's exact test over sliding windows, for each column of zeros and ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.chi2 import Side, fisher_p_values
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.streaming.detector import Detector, complete, windows_of
from trimtab.handlers.drift.streaming.thresholds import conditional, streams

__all__ = ["ALTERNATIVES", "Fisher", "surprise"]

Floats = npt.NDArray[np.float64]

ALTERNATIVES = ("two-sided", "greater", "less")


class Fisher(Detector):
    """Online Fisher exact test (Ross, Tasoulis, Adams 2013, Comput. Stat. 28:429; against a reference as in Cobb 2022).

    For each window W and column, S = -log p of Fisher's exact test of the ones among the latest W values against those
    in the reference (`alternative`: two-sided, or that ones have become more, `greater`, or fewer, `less`). S takes few
    values, and a threshold between them would miss the rate; so Z_t = `smoothing` S_t + (1 - `smoothing`) Z_(t-1),
    which mostly orders equal values by those before. The largest over the windows counts. An alarm is raised when some
    column's exceeds its h_t, from `simulations` streams of zeros and ones with chances drawn from the reference's
    posterior (Jeffreys' prior), each column at the rate 1 - (1 - 1/ert)^(1/d). A row costs O(d) for each window:
    p-values are read from tables.
    """

    method = "fisher"

    def __init__(
        self,
        reference: Frame,
        *,
        ert: float,
        window: int | Sequence[int],
        seed: int = 0,
        alternative: Side = "two-sided",
        smoothing: float = 0.95,
        simulations: int | None = None,
    ) -> None:
        if alternative not in ALTERNATIVES:
            raise SpecError("fisher.alternative", alternative, ", ".join(ALTERNATIVES))
        if not 0 < smoothing <= 1:
            raise SpecError("fisher.smoothing", smoothing, "a number above 0, at most 1")
        super().__init__(reference.names, ert, seed)
        self.windows, self.smoothing = windows_of("fisher", window, ert), smoothing
        rows = complete(reference, 2 * self.windows[-1], f"for a window of {self.windows[-1]}")
        for name, values in zip(self.columns, rows.T, strict=True):
            _binary(values, f"reference, column {name!r}")
        rate = 1 - (1 - 1 / (ert - self.windows[0] + 1)) ** (1 / len(self.columns))
        known: dict[int, tuple[Floats, Floats]] = {}
        for ones in rows.sum(axis=0).astype(int):
            if ones not in known:
                known[ones] = self._calibrated(len(rows), ones, alternative, rate, streams("fisher", ert, simulations))
        made = [known[ones] for ones in rows.sum(axis=0).astype(int)]
        self._tables = np.array([table for table, _ in made])
        self._limits = np.array([limits for _, limits in made])
        self.thresholds = np.zeros(self._limits.shape[1])  # the statistic is what exceeds a column's own threshold most
        self.thresholds[: self.windows[0] - 1] = np.inf
        self._begin()

    @property
    def drifted_columns(self) -> list[str]:
        """The columns that raised the latest row's alarm."""
        over = self._over if self.drifted else np.full(len(self.columns), -1.0)
        return [name for name, value in zip(self.columns, over, strict=True) if value > 0]

    def _begin(self) -> None:
        d = len(self.columns)
        self._latest: Floats = np.empty((d, 0))
        self._smoothed: Floats = np.full((d, len(self.windows)), np.nan)
        self._over: Floats = np.empty(0)

    def _read(self, x: object) -> Floats:
        row = super()._read(x)
        _binary(row[np.isfinite(row)], "the row")
        return row

    def _score(self, row: Floats) -> float | None:
        kept = self._latest[:, 1:] if self._latest.shape[1] == self.windows[-1] else self._latest
        self._latest = np.column_stack([kept, row])
        d = np.arange(len(self.columns))
        for place, window in enumerate(self.windows):
            if self._latest.shape[1] >= window:
                counts = self._latest[:, -window:].sum(axis=1).astype(int)
                fresh, before = self._tables[d, place, counts], self._smoothed[:, place]
                blended = self.smoothing * fresh + (1 - self.smoothing) * before
                self._smoothed[:, place] = np.where(np.isnan(before), fresh, blended)
        if self._latest.shape[1] < self.windows[0]:
            return None
        limits = self._limits[:, min(self.rows, self._limits.shape[1]) - 1]
        self._over = np.nanmax(self._smoothed, axis=1) - limits
        return float(self._over.max())

    def _calibrated(self, n: int, ones: int, alternative: Side, rate: float, count: int) -> tuple[Floats, Floats]:
        """Give the tables of S by window and count of ones, and the thresholds, of a column with so many ones."""
        longest = self.windows[-1]
        tables = np.zeros((len(self.windows), longest + 1))
        for place, window in enumerate(self.windows):
            tables[place, : window + 1] = surprise(n, ones, window, alternative)
        rng = np.random.default_rng([int(self.rng.bit_generator.random_raw() >> 32), ones])
        chances = rng.beta(ones + 0.5, n - ones + 0.5, size=(count, 1))
        sums = np.cumsum(rng.random((count, 3 * longest)) < chances, axis=1)
        found = np.full((count, 3 * longest), -np.inf)
        for place, window in enumerate(self.windows):
            before = np.pad(sums, ((0, 0), (1, 0)))[:, : 3 * longest - window + 1]
            smoothed = _smooth(tables[place][sums[:, window - 1 :] - before], self.smoothing)
            own = found[:, window - 1 :]
            np.maximum(own, smoothed, out=own)
        return tables, conditional(found, rate, settled=2 * longest)


def surprise(n: int, ones: int, window: int, alternative: Side) -> Floats:
    """Give -log p of Fisher's exact test for 0, 1 ... `window` ones in a window, against `ones` in n reference rows."""
    seen = np.arange(window + 1)
    left = np.broadcast_to(np.array([n - ones, ones]), (window + 1, 2))
    found = fisher_p_values(left, np.stack((window - seen, seen), axis=1), alternative)
    return -np.log(np.maximum(found, np.finfo(float).tiny))


def _smooth(values: Floats, share: float) -> Floats:
    found = values.copy()
    for place in range(1, values.shape[1]):
        found[:, place] = share * values[:, place] + (1 - share) * found[:, place - 1]
    return found


def _binary(values: Floats, where: str) -> None:
    other = values[(values != 0) & (values != 1)]
    if len(other):
        raise DataError(f"{where}: found {other[0]:g}; the fisher detector takes zeros and ones")
