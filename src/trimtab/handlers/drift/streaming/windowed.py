"""What online MMD and LSDD share: a reference split into a fixed part and the first window, and many such splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.sample import location, standardised
from trimtab.handlers.drift.streaming.detector import Detector, complete, windows_of
from trimtab.handlers.drift.streaming.thresholds import conditional, streams

__all__ = ["Windowed"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_CHUNK = 250_000  # numbers at a time in the simulation: they stay in the processor's cache
_TRIES = 20
_ROUNDING = 1e-12  # of kernel values, which are at most 1: equal rows are no drift
_LEAST = 4  # windows that a reference must hold


class Windowed(Detector):
    """A detector whose window of W rows begins with reference rows, which the stream's rows replace one after the other.

    Calibration (Cobb, Van Looveren, Klaise 2022, AISTATS): 2W reference rows are drawn, W as the first window and W
    as a stream, the others are the fixed part; the statistic's path over t = 1 ... W is computed exactly as `update`
    would, and h_t is the 1 - 1/ert quantile among the paths without an alarm before t. From t = W on it is constant.
    """

    def __init__(
        self, reference: Frame, *, ert: float, window: int, seed: int, simulations: int | None, max_rows: int
    ) -> None:
        super().__init__(reference.names, ert, seed)
        if not isinstance(window, int | np.integer):
            raise SpecError(f"{self.method}.window", window, "one number of rows")
        self.window = windows_of(self.method, window, ert)[0]
        rows = complete(reference, _LEAST * self.window, f"for a window of {window}: four times as many")
        if max_rows < _LEAST * self.window:
            raise SpecError(f"{self.method}.max_rows", max_rows, f"{_LEAST * self.window} or more: four windows")
        if len(rows) > max_rows:
            rows = rows[np.sort(self.rng.choice(len(rows), max_rows, replace=False))]
        self._middle, self._spread = np.array([location(column) for column in rows.T]).T
        self._spread[self._spread == 0] = 1.0
        self._prepare(self._scaled(rows))
        paths = np.concatenate([self._paths(chosen) for chosen in self._drawn(streams(self.method, ert, simulations))])
        self.thresholds = np.maximum(_ROUNDING, conditional(paths[:, 1:], 1 / ert, settled=max(1, self.window // 2)))
        self._begin()

    @abstractmethod
    def _prepare(self, rows: Floats) -> None:
        """Take the standardised reference and compute what all splits share."""

    @property
    @abstractmethod
    def _size(self) -> int:
        """The rows that splits are made of."""

    @abstractmethod
    def _paths(self, chosen: Places) -> Floats:
        """Give the statistic's paths over t = 0 ... W for splits: a row has a first window's W places and a stream's W."""

    @abstractmethod
    def _start(self, chosen: Places) -> None:
        """Take a split as the fixed part and the first window."""

    def _begin(self) -> None:
        """Split at random; a first window that is itself near an alarm is not taken."""
        for _ in range(_TRIES):
            chosen = self.rng.permutation(self._size)[: 2 * self.window]
            if self._paths(chosen[None, :])[0, 0] <= self.thresholds[0]:
                break
        self._start(chosen)

    def _scaled(self, row: Floats) -> Floats:
        return standardised(row, self._middle, self._spread)

    def _drawn(self, count: int) -> Iterator[Places]:
        """Draw splits in batches. A permutation serves several, whose streams have no row in common."""
        length = 2 * self.window
        each = self._size // length
        step = max(1, _CHUNK // (length**2 * each))
        permutations = -(-count // each)
        for first in range(0, permutations, step):
            base = np.tile(np.arange(self._size), (min(step, permutations - first), 1))
            yield self.rng.permuted(base, axis=1)[:, : each * length].reshape(-1, length)
