"""Tails of weighted sums of squared normals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["tail"]

Floats = npt.NDArray[np.float64]


def tail(value: float, weights: Floats) -> float:
    """The probability that sum_j w_j Z_j^2, Z independent standard normals and w >= 0, reaches `value`.

    Lugannani and Rice's saddlepoint formula with K(s) = -1/2 sum ln(1 - 2 w_j s) (Kuonen 1999, Biometrika 86:929). One
    weight is exact.
    """
    from scipy.special import erfc, ndtr

    weights = weights[weights > 1e-12 * weights.max(initial=0.0)]
    if value <= 0 or not len(weights):
        return 1.0 if value <= 0 else 0.0
    if len(weights) == 1:
        return float(erfc((value / weights[0] / 2) ** 0.5))
    s = _saddle(value, weights)
    if abs(s) * weights.sum() < 1e-4:  # at the mean the formula is 0/0, and a little beside it is as good
        s = 1e-4 / weights.sum()
        value = float((weights / (1 - 2 * weights * s)).sum())
    w = np.sign(s) * (2 * (s * value + 0.5 * np.log1p(-2 * weights * s).sum())) ** 0.5
    v = s * (2 * (weights**2 / (1 - 2 * weights * s) ** 2).sum()) ** 0.5
    return float(np.clip(ndtr(-(w + np.log(v / w) / w)), 0.0, 1.0))


def _saddle(value: float, weights: Floats) -> float:
    """Find s with K'(s) = sum w / (1 - 2 w s) = value, by halving between its bounds."""
    high = 0.5 / weights.max()
    low = -len(weights) / (2 * value)  # there K' is below value: each term is below 1 / (-2 s)
    high *= 1 - 1e-15
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if (weights / (1 - 2 * weights * middle)).sum() < value else (low, middle)
    return float((low + high) / 2)
