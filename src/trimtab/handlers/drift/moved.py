"""How much has moved: the total variation distance, and what chance alone makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["excess", "null_mean", "tvd"]

Counts = npt.NDArray[np.int64]


def tvd(left: Counts, right: Counts) -> float:
    """The total variation distance sum |p - q| / 2: the share of rows that would have to move."""
    return float(np.abs(left / left.sum() - right / right.sum()).sum() / 2)


def null_mean(left: Counts, right: Counts) -> float:
    """The mean of that distance without drift: sum sqrt(p (1-p) (1/n + 1/m) / (2 pi)), p of both samples together."""
    n, m = int(left.sum()), int(right.sum())
    pooled = (left + right) / (n + m)
    return float(np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) / (2 * np.pi)).sum())


def excess(left: Counts, right: Counts) -> float:
    """The total variation distance above its mean without drift, at least 0, so that small samples do not look drifted."""
    return max(0.0, tvd(left, right) - null_mean(left, right))
