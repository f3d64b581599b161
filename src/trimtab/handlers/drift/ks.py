"""The Kolmogorov-Smirnov test of each numeric feature, on all of its values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.feature import numeric_only
from trimtab.handlers.drift.frame import Frame, Numeric
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["distance", "ks", "p_value"]

Floats = npt.NDArray[np.float64]

_EXACT = 250_000
"""n times m up to which the exact p-value is counted: some milliseconds."""


def ks(reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS) -> Result:
    """Two-sample Kolmogorov-Smirnov test of each feature.

    D = max over t of |F_n(t) - G_m(t)|, F and G being the shares of values at most t. The p-value is exact for small
    samples (Hodges 1958, Arkiv foer Matematik 3:469), else K((sqrt(e) + 0.12 + 0.11/sqrt(e)) D) with e = nm/(n+m) and
    K(z) = 2 sum_j (-1)^(j-1) exp(-2 j^2 z^2) (Stephens 1970, JRSS-B 32:115). With ties it is conservative. Infinite
    values take part, missing ones do not.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict. Keep the
    reference with `drift.fit` and it is sorted once.
    """
    features = [_feature(left, right) for left, right in numeric_only("ks", reference, current)]
    return judged("ks", features, (reference, current), alpha=alpha, min_rows=min_rows)


def _feature(reference: Numeric, current: Numeric) -> FeatureResult:
    left, right = reference.ordered, current.ordered
    found = FeatureResult(
        name=reference.name,
        statistic=None,
        n_reference=len(left),
        n_current=len(right),
        missing_reference=reference.missing,
        missing_current=current.missing,
    )
    if len(left) and len(right):
        found.statistic = found.effect = distance(left, right)
        found.p_value = p_value(left, right, found.statistic)
    return found


def distance(left: Floats, right: Floats) -> float:
    """D of two sorted samples: the largest difference of their distribution functions, which is met at a value of either.

    It is enough to look at one sample's values, just before and just after each.
    """
    few, many = (left, right) if len(left) <= len(right) else (right, left)
    n, m = len(few), len(many)
    after, before = many.searchsorted(few, "right"), many.searchsorted(few, "left")
    steps = np.arange(1, n + 1)
    last = np.append(few[1:] != few[:-1], True)
    first = np.append(True, last[:-1])
    above = np.abs(steps[last] / n - after[last] / m).max()
    below = np.abs((steps[first] - 1) / n - before[first] / m).max()
    return float(max(above, below))


def p_value(left: Floats, right: Floats, statistic: float) -> float:
    """The probability of such a D or a larger one when both samples are of one distribution."""
    n, m = len(left), len(right)
    if n * m <= _EXACT:
        from scipy.stats import ks_2samp

        return min(1.0, float(ks_2samp(left, right, method="exact").pvalue))
    from scipy.special import kolmogorov

    # Not scipy.stats.kstwo.sf, which ks_2samp calls: it takes up to 74 ms for one p-value far out in the tail.
    root = (n * m / (n + m)) ** 0.5
    return float(kolmogorov((root + 0.12 + 0.11 / root) * statistic))
