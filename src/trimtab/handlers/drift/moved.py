"""How much has moved: the total variation distance, and what chance alone makes of it.

Features are rows of counts by cell, and every function gives one number a row. Cells that are empty on both sides change
nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["excess", "null_mean", "shares", "tvd"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def shares(counts: Counts) -> Floats:
    """Each cell's share of its row, a number a cell."""
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def tvd(left: Counts, right: Counts) -> Floats:
    """The total variation distance sum |p - q| / 2: the share of rows that would have to move."""
    return np.asarray(np.abs(shares(left) - shares(right)).sum(axis=1) / 2)


def null_mean(left: Counts, right: Counts) -> Floats:
    """The mean of that distance without drift: sum sqrt(p (1-p) (1/n + 1/m) / (2 pi)), p of both samples together."""
    n, m, pooled = left.sum(axis=1), right.sum(axis=1), shares(left + right)
    return np.asarray(np.sqrt(pooled * (1 - pooled)).sum(axis=1) * np.sqrt((1 / n + 1 / m) / (2 * np.pi)))


def excess(left: Counts, right: Counts) -> Floats:
    """The total variation distance above its mean without drift, at least 0, so that small samples do not look drifted."""
    return np.maximum(0.0, tvd(left, right) - null_mean(left, right))
