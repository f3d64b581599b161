"""The Cramer-von Mises test over sliding windows, for each column of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.streaming.detector import Detector, complete, windows_of
from trimtab.handlers.drift.streaming.thresholds import conditional, streams

__all__ = ["CramerVonMises", "standardised"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_CHUNK = 4_000_000  # numbers at a time in the simulation


class CramerVonMises(Detector):
    """Online Cramer-von Mises detector (Ross and Adams 2012, J. Qual. Tech. 44:102; against a reference as in Cobb 2022).

    For each window W and column, T = nW/(n+W)^2 sum over all values of (F_n - G_W)^2, F_n the reference's distribution
    function and G_W that of the latest W values, less its mean (1 + 1/N)/6 and over its standard deviation (Anderson
    1962, Ann. Math. Stat. 33:1148); S_t is the largest over the windows. An alarm is raised when some column's S_t
    exceeds h_t.

    T depends on the ranks alone, so that h_t is the same for all continuous data: `simulations` streams of uniform
    numbers give it, for each column the rate 1 - (1 - 1/ert)^(1/d). Values that tie with reference values are placed
    among them at random (by `seed`), which keeps the calibration right for discrete data. A row costs O(d W log W),
    whatever n is.
    """

    method = "cvm"

    def __init__(
        self,
        reference: Frame,
        *,
        ert: float,
        window: int | Sequence[int],
        seed: int = 0,
        simulations: int | None = None,
        max_rows: int = 10_000,
    ) -> None:
        super().__init__(reference.names, ert, seed)
        self.windows = windows_of("cvm", window, ert)
        rows = complete(reference, 2 * self.windows[-1], f"for a window of {self.windows[-1]}")
        if len(rows) > max_rows:
            rows = rows[np.sort(self.rng.choice(len(rows), max_rows, replace=False))]
        self._ties = np.empty_like(rows.T)
        self._order = np.sort(rows.T, axis=1)
        for column, values in enumerate(self._order):
            self._ties[column] = _within(values, self.rng.random(len(values)))
        rate = 1 - (1 - 1 / (ert - self.windows[0] + 1)) ** (1 / len(self.columns))
        self.thresholds = _simulated(len(rows), tuple(self.windows), rate, streams("cvm", ert, simulations), seed)
        self.column_statistics: Floats = np.empty(0)
        """The latest row's S_t of each column."""
        self._begin()

    @property
    def drifted_columns(self) -> list[str]:
        """The columns that raised the latest row's alarm."""
        if not self.drifted:
            return []
        return [
            name for name, value in zip(self.columns, self.column_statistics, strict=True) if value > self._threshold()
        ]

    def _begin(self) -> None:
        self._latest: Places = np.empty((len(self.columns), 0), dtype=np.intp)

    def _score(self, row: Floats) -> float | None:
        places = [self._place(column, value) for column, value in enumerate(row)]
        kept = self._latest[:, 1:] if self._latest.shape[1] == self.windows[-1] else self._latest
        self._latest = np.column_stack([kept, places])
        full = [size for size in self.windows if size <= self._latest.shape[1]]
        if not full:
            return None
        n = self._order.shape[1]
        found = [standardised(np.sort(self._latest[:, -size:], axis=1), n) for size in full]
        self.column_statistics = np.max(found, axis=0)
        return float(self.column_statistics.max())

    def _place(self, column: int, value: float) -> int:
        """Give the number of reference values below; each value tied with some gets its own place among them."""
        order = self._order[column]
        low, high = int(order.searchsorted(value, "left")), int(order.searchsorted(value, "right"))
        if low == high:
            return low
        return low + int(self._ties[column, low:high].searchsorted(self.rng.random()))


def standardised(places: Places, n: int) -> Floats:
    """Give the standardised T of windows: the last axis is a window's places among the n reference values, sorted.

    With c_i the window's values left of reference value i: sum_i c_i i and sum_i c_i^2 follow from the places, so that
    no sum over the reference is needed.
    """
    m = places.shape[-1]
    ranks = np.arange(1, m + 1)
    squares = n * (n + 1) * (2 * n + 1) / 6 / n**2
    crossed = (m * n * (n + 1) / 2 - (places * (places + 1.0)).sum(axis=-1) / 2) / (n * m)
    counts = (n * m**2 - places @ (2.0 * ranks - 1)) / m**2
    window = ((places / n - ranks / m) ** 2).sum(axis=-1)
    total = n + m
    found = n * m / total**2 * (squares - 2 * crossed + counts + window)
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * n * m * total - 3 * (n**2 + m**2) - 2 * n * m) / (45 * total**2 * 4 * n * m)
    result: Floats = (found - mean) / np.sqrt(variance)
    return result


def _within(values: Floats, marks: Floats) -> Floats:
    """Sort the marks within every run of equal values."""
    runs = np.cumsum(np.append(0, values[1:] != values[:-1]))
    found: Floats = marks[np.lexsort((marks, runs))]
    return found


@lru_cache(maxsize=32)
def _simulated(n: int, windows: tuple[int, ...], rate: float, count: int, seed: int) -> Floats:
    rng = np.random.default_rng([seed, n])
    turns = 3 * windows[-1]
    found = np.full((count, turns), -np.inf)
    step = max(1, _CHUNK // (n + turns * windows[-1]))
    for first in range(0, count, step):
        size = min(step, count - first)
        gaps = rng.standard_exponential((size, n + 1))
        edges = np.cumsum(gaps, axis=1)
        values = rng.random((size, turns)) * edges[:, -1:]
        places = np.array([edge[:-1].searchsorted(row) for edge, row in zip(edges, values, strict=True)])
        for window in windows:
            sliding = np.sort(np.lib.stride_tricks.sliding_window_view(places, window, axis=1), axis=2)
            own = found[first : first + size, window - 1 :]
            np.maximum(own, standardised(sliding, n), out=own)
    return conditional(found, rate, settled=2 * windows[-1])
