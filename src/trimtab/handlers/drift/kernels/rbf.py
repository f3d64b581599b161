"""The Gaussian kernel and its bandwidth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError

__all__ = ["Bandwidth", "bandwidths", "gaussian", "median_distance", "squared_distances"]

Floats = npt.NDArray[np.float64]
Bandwidth = float | Sequence[float] | None

_SUBSAMPLE = 500


def squared_distances(x: Floats, y: Floats) -> Floats:
    """|x_i - y_j|^2 for every pair of rows; never negative."""
    found = x @ (-2.0 * y.T)
    found += np.einsum("ij,ij->i", x, x)[:, None]
    found += np.einsum("ij,ij->i", y, y)
    return np.maximum(found, 0.0, out=found)


def gaussian(x: Floats, y: Floats, widths: Sequence[float]) -> Floats:
    """k(a, b) = exp(-|a - b|^2 / (2 s^2)), averaged over the bandwidths s."""
    squares = squared_distances(x, y)
    if len(widths) == 1:
        squares *= -0.5 / widths[0] ** 2
        return np.exp(squares, out=squares)
    total = np.zeros_like(squares)
    for width in widths:
        total += np.exp(squares * (-0.5 / width**2))
    total /= len(widths)
    return total


def bandwidths(given: Bandwidth, reference: Floats, rng: np.random.Generator, method: str) -> list[float]:
    """Give the bandwidths to use: those given, or the reference's by the median heuristic."""
    if given is None:
        return [median_distance(reference, rng)]
    widths = [float(width) for width in (given if isinstance(given, Sequence) else [given])]
    if not widths or not all(0 < width < np.inf for width in widths):
        raise SpecError(f"{method}.bandwidth", given, "None (the median heuristic), a number above 0, or several")
    return widths


def median_distance(reference: Floats, rng: np.random.Generator) -> float:
    """Give s with s^2 = median of |x_i - x_j|^2 / 2 over pairs of rows (Gretton 2012, section 8), on at most 500 rows.

    Where more than half of the pairs are equal the median is 0, and the mean of the others takes its place.
    """
    rows = reference
    if len(rows) > _SUBSAMPLE:
        rows = rows[rng.choice(len(rows), _SUBSAMPLE, replace=False)]
    squares = squared_distances(rows, rows)[np.tri(len(rows), k=-1, dtype=bool)]
    squares = np.where(squares < 1e-12 * max(float(squares.max(initial=0.0)), 1e-300), 0.0, squares)
    middle = float(np.median(squares)) if len(squares) else 0.0
    if middle <= 0:
        middle = float(squares[squares > 0].mean()) if (squares > 0).any() else 2.0
    return float(np.sqrt(middle / 2))
