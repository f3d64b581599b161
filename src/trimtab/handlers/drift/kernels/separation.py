"""How well scores tell two samples apart: the area under the ROC curve, its p-value, and what each feature adds to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["auc", "mann_whitney", "paired_gain", "placements"]

Floats = npt.NDArray[np.float64]


def placements(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Give each score's placement: the share of the other sample that it stands right of (ties count half).

    For a reference row that is the share of current rows above it, for a current row that of reference rows below it;
    the mean of either is the AUC (DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837).
    """
    left, right = np.sort(reference), np.sort(current)
    below = (left.searchsorted(current, "left") + left.searchsorted(current, "right")) / (2 * len(left))
    above = 1 - (right.searchsorted(reference, "left") + right.searchsorted(reference, "right")) / (2 * len(right))
    return above, below


def auc(reference: Floats, current: Floats) -> float:
    """The probability that a current row scores above a reference row, ties counting half."""
    return float(placements(reference, current)[1].mean())


def mann_whitney(reference: Floats, current: Floats) -> float:
    """The one-sided p-value that current rows do not score higher; exact for few rows without ties."""
    from scipy.stats import mannwhitneyu

    if np.ptp(np.concatenate([reference, current])) == 0:
        return 1.0
    found = float(mannwhitneyu(current, reference, alternative="greater").pvalue)
    return max(found, np.finfo(float).tiny)


def paired_gain(full: tuple[Floats, Floats], without: tuple[Floats, Floats]) -> tuple[float, float]:
    """Give what an AUC loses from one set of placements to another of the same rows, and the one-sided p-value of the loss.

    DeLong's test for two correlated ROC curves: z = (A - B) / sqrt(var(dV10)/n + var(dV01)/m).
    """
    from scipy.stats import norm

    above, below = full[0] - without[0], full[1] - without[1]
    gain = float(below.mean())
    variance = float(above.var(ddof=1)) / len(above) + float(below.var(ddof=1)) / len(below)
    if variance <= 0:
        return gain, 1.0
    return gain, max(float(norm.sf(gain / np.sqrt(variance))), np.finfo(float).tiny)
