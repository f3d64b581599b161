"""What every online detector does: read a row, compare the statistic with its threshold, begin anew after an alarm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.frame import Frame

__all__ = ["Detector", "Floats", "complete", "windows_of"]

Floats = npt.NDArray[np.float64]


class Detector(ABC):
    """A detector over a stream of rows.

    It can be pickled at any moment, and what is restored goes on exactly as the original would have.
    """

    method = ""

    def __init__(self, names: Sequence[str], ert: float, seed: int) -> None:
        self.columns = list(names)
        self.ert = ert
        self.rng = np.random.default_rng(seed)
        self.thresholds: Floats = np.empty(0)
        """Of the first, second ... row of a run; the last one holds from then on."""
        self.rows = 0
        """Rows taken since the run began: at the start, or after the last alarm."""
        self.skipped = 0
        """Rows left out so far, because a value was missing or infinite."""
        self.statistic: float | None = None
        """The latest row's; None before the (shortest) window is full."""
        self._drifted = False

    @property
    def drifted(self) -> bool:
        """Whether the latest row raised the alarm. The next row begins a new run."""
        return self._drifted

    @property
    def drifted_columns(self) -> list[str]:
        """The columns that raised the latest row's alarm; none where the method judges all of them together."""
        return []

    @property
    def threshold(self) -> float | None:
        """What the latest row's statistic had to exceed for an alarm."""
        return self._threshold() if self.rows else None

    def update(self, x: Any) -> None:
        """Take a row: a number where there is one column, a sequence in the columns' order, or a dict by name.

        A row with a missing or infinite value is left out and counted in `skipped`; it neither raises an alarm nor
        moves the window. Raises `DataError` when the row has other columns than the reference, or holds what is no
        number; the detector stays as it was.
        """
        row = self._read(x)
        if self._drifted:
            self.reset()
        if not np.isfinite(row).all():
            self.skipped += 1
            return
        self.rows += 1
        self.statistic = self._score(row)
        self._drifted = self.statistic is not None and self.statistic > self._threshold()

    def reset(self) -> None:
        """Begin a new run, as after an alarm."""
        self.rows, self.statistic, self._drifted = 0, None, False
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Forget the run's rows."""

    @abstractmethod
    def _score(self, row: Floats) -> float | None:
        """Take a finite row and give the statistic; None while it cannot be computed yet."""

    def _threshold(self) -> float:
        return float(self.thresholds[min(self.rows, len(self.thresholds)) - 1])

    def _read(self, x: Any) -> Floats:
        if isinstance(x, Mapping):
            if lost := [name for name in self.columns if name not in x]:
                raise DataError(f"the row has no {lost[0]!r}; the reference has {', '.join(self.columns)}", lost[0])
            x = [x[name] for name in self.columns]
        try:
            row = np.atleast_1d(np.asarray(x, dtype=np.float64))
        except (TypeError, ValueError) as exc:
            raise DataError(f"the row holds what is no number: {x!r}") from exc
        if row.shape != (len(self.columns),):
            raise DataError(
                f"the row has shape {row.shape}; expected: ({len(self.columns)},), one value for each column"
            )
        return row


def windows_of(method: str, window: Any, ert: float, *, least: int = 2) -> list[int]:
    """Give the windows, shortest first, having checked them and the expected run time."""
    sizes = list(window) if isinstance(window, Sequence) and not isinstance(window, str) else [window]
    if not sizes or not all(isinstance(size, int | np.integer) and size >= least for size in sizes):
        raise SpecError(f"{method}.window", window, f"a number of rows, {least} or more, or several such numbers")
    if not min(sizes) < ert < np.inf:
        raise SpecError(f"{method}.ert", ert, f"a number of rows above the shortest window, {min(sizes)}")
    return sorted({int(size) for size in sizes})


def complete(frame: Frame, least: int, why: str) -> Floats:
    """Give the reference's complete rows, of which there must be enough."""
    rows = frame.matrix(role="reference")
    if len(rows) < least:
        raise DataError(f"reference has {len(rows)} complete rows; {least} are needed {why}")
    return rows
