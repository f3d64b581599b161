"""MMD of a sliding window against a reference, one row at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.rbf import Bandwidth, bandwidths, gaussian
from trimtab.handlers.drift.streaming.windowed import Windowed

__all__ = ["OnlineMMD"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class OnlineMMD(Windowed):
    """Online MMD (Cobb, Van Looveren, Klaise 2022, AISTATS, "Sequential multivariate change detection with ...").

    S_t = MMD2_u of the fixed part of the reference (n - 2W rows) against the latest W rows, with the kernel and the
    equation of `kernels.mmd`; columns are standardised by the reference. The window's kernel values are kept, so that a
    row costs O(n d). Thresholds: see `Windowed`; since a split changes sums of one kernel matrix only, a simulated
    stream costs O(W^2), not O(n^2). At most `max_rows` reference rows are used: memory 8 max_rows^2 bytes.
    """

    method = "mmd"

    def __init__(
        self,
        reference: Frame,
        *,
        ert: float,
        window: int,
        seed: int = 0,
        bandwidth: Bandwidth = None,
        simulations: int | None = None,
        max_rows: int = 2000,
    ) -> None:
        self._bandwidth = bandwidth
        super().__init__(reference, ert=ert, window=window, seed=seed, simulations=simulations, max_rows=max_rows)

    @property
    def _size(self) -> int:
        return len(self._rows)

    def _prepare(self, rows: Floats) -> None:
        self._rows = rows
        self._widths = bandwidths(self._bandwidth, rows, self.rng, "mmd")
        self._kernel = gaussian(rows, rows, self._widths)
        np.fill_diagonal(self._kernel, 0.0)
        self._sums = self._kernel.sum(axis=1)
        self._total = float(self._sums.sum())

    def __getstate__(self) -> dict[str, object]:
        """Leave the kernel matrix out of a pickle: it follows from the rows."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernel"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore, with the kernel matrix."""
        self.__dict__.update(state)
        self._kernel = gaussian(self._rows, self._rows, self._widths)
        np.fill_diagonal(self._kernel, 0.0)

    def _paths(self, chosen: Places) -> Floats:
        w, steps = self.window, np.arange(self.window)
        inner = self._kernel[chosen[:, :, None], chosen[:, None, :]]
        sums, first = self._sums[chosen], inner[:, :w, :w].sum(axis=(1, 2))
        np.cumsum(inner, axis=2, out=inner)  # from here on, a range of a row is a difference
        own = inner[:, :, -1]
        within = self._total - 2 * sums.sum(axis=1) + own.sum(axis=1)
        across = np.cumsum(np.pad(sums - own, ((0, 0), (1, 0))), axis=1)
        # With step t row t leaves, whose own value is 0, and row w + t comes; both with the rows between them.
        leaving = inner[:, steps, steps + w - 1] - inner[:, steps, steps]
        coming = inner[:, steps + w, steps + w] - inner[:, steps + w, steps]
        window = np.cumsum(np.column_stack([first, 2 * (coming - leaving)]), axis=1)
        return self._combined(within[:, None], across[:, w:] - across[:, : w + 1], window)

    def _combined(self, within: Floats, across: Floats, window: Floats) -> Floats:
        n, w = self._size - 2 * self.window, self.window
        found: Floats = within / (n * (n - 1)) + window / (w * (w - 1)) - 2 * across / (n * w)
        return found

    def _start(self, chosen: Places) -> None:
        first = chosen[: self.window]
        inner = self._kernel[np.ix_(chosen, chosen)]
        self._fixed = np.delete(self._rows, chosen, axis=0)
        self._within = self._total - 2 * float(self._sums[chosen].sum()) + float(inner.sum())
        self._latest = self._rows[first].copy()
        self._inner = inner[: self.window, : self.window].copy()
        self._across = self._sums[first] - inner[: self.window].sum(axis=1)

    def _score(self, row: Floats) -> float:
        z, place = self._scaled(row)[None, :], (self.rows - 1) % self.window
        self._latest[place] = z
        near = gaussian(z, self._latest, self._widths)[0]
        near[place] = 0.0
        self._inner[place], self._inner[:, place] = near, near
        self._across[place] = gaussian(z, self._fixed, self._widths).sum()
        window, across = self._inner.sum(), self._across.sum()
        return float(self._combined(np.array(self._within), across, window))
