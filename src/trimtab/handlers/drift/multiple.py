"""Many tests at once: which p-values still say something when there is one for every feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["benjamini_hochberg", "holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that "any adjusted one below alpha" happens with probability at most alpha without drift.

    Holm 1979 (Scand. J. Statist. 6:65): with p_(1) <= ... <= p_(d), the adjusted p_(i) is the largest of (d-j+1) p_(j)
    over j <= i, at most 1. Valid under any dependence of the features, and never weaker than Bonferroni.
    """
    ordered = np.sort(p_values)
    steps = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))
    return _back(p_values, np.minimum(steps, 1.0))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the list of those below q is wrong in at most a share q of its entries, on average.

    Benjamini and Hochberg 1995 (JRSS-B 57:289): the adjusted p_(i) is the smallest of d/j p_(j) over j >= i, at most 1.
    Its level is proven for independent or positively dependent features, which is why an alarm is not raised by it.
    """
    ordered = np.sort(p_values)
    steps = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
    return _back(p_values, np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0))


def _back(p_values: Sequence[float], adjusted: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """Put what was computed in order of size back in the order of the features."""
    found = np.empty(len(adjusted))
    found[np.argsort(p_values, kind="stable")] = adjusted
    return [float(value) for value in found]
