"""LSDD of a sliding window against a reference, one row at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.lsdd import Basis, ridge_of
from trimtab.handlers.drift.kernels.rbf import median_distance
from trimtab.handlers.drift.streaming.windowed import Windowed

__all__ = ["OnlineLSDD"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_RIDGE_SPLITS = 200


class OnlineLSDD(Windowed):
    """Online LSDD (Bu, Zhao, Alippi 2017, IEEE Trans. SMC, incremental LSDD-CDT; thresholds by Cobb et al. 2022).

    S_t = LSDD of the fixed part of the reference against the latest W rows, with the equations of `kernels.lsdd`. The
    centres are reference rows that take no other part (a twentieth, 10 to 200, or `centres`). Rows are kept as their
    kernel values at the centres, turned so that S_t is a weighted sum of squares: a row costs O((d + W) centres),
    whatever n is. Thresholds: see `Windowed`.
    """

    method = "lsdd"

    def __init__(
        self,
        reference: Frame,
        *,
        ert: float,
        window: int,
        seed: int = 0,
        centres: int | None = None,
        bandwidth: float | None = None,
        simulations: int | None = None,
        max_rows: int = 5000,
    ) -> None:
        if bandwidth is not None and not 0 < bandwidth < np.inf:
            raise SpecError("lsdd.bandwidth", bandwidth, "None (the median heuristic), or a number above 0")
        self._centres, self._bandwidth = centres, bandwidth
        super().__init__(reference, ert=ert, window=window, seed=seed, simulations=simulations, max_rows=max_rows)

    @property
    def _size(self) -> int:
        return len(self._features)

    def _prepare(self, rows: Floats) -> None:
        spare = len(rows) - 3 * self.window  # a fixed part of a window, at least
        count = min(max(len(rows) // 20, 10), 200, spare) if self._centres is None else self._centres
        if not 1 <= count <= spare:
            raise SpecError(
                "lsdd.centres", count, f"None (a twentieth), or 1 to {spare}: they are rows of the reference"
            )
        rows = self.rng.permutation(rows)
        width = self._bandwidth or median_distance(rows, self.rng)
        self._basis = Basis.of(rows[:count], width)
        self._features = self._basis.features(rows[count:])
        self._sums = self._features.sum(axis=0)
        splits = np.array([self.rng.permutation(self._size)[: 2 * self.window] for _ in range(_RIDGE_SPLITS)])
        self._weights = self._basis.weights(ridge_of(self._basis, self._differences(splits)[:, 0]))

    def _differences(self, chosen: Places) -> Floats:
        """Give V'h of the fixed part against the window, of shape (splits, t, centres)."""
        w = self.window
        stream = self._features[chosen]
        fixed = (self._sums - stream.sum(axis=1)) / (self._size - 2 * w)
        sums = np.cumsum(np.pad(stream, ((0, 0), (1, 0), (0, 0))), axis=1)
        found: Floats = fixed[:, None, :] - (sums[:, w:] - sums[:, : w + 1]) / w
        return found

    def _paths(self, chosen: Places) -> Floats:
        found: Floats = self._differences(chosen) ** 2 @ self._weights
        return found

    def _start(self, chosen: Places) -> None:
        self._fixed = (self._sums - self._features[chosen].sum(axis=0)) / (self._size - 2 * self.window)
        self._latest = self._features[chosen[: self.window]]

    def _score(self, row: Floats) -> float:
        self._latest[(self.rows - 1) % self.window] = self._basis.features(self._scaled(row)[None, :])[0]
        difference = self._fixed - self._latest.mean(axis=0)
        return float(difference**2 @ self._weights)
