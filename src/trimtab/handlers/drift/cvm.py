"""The Cramér-von Mises test of each numeric feature."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.column import Numeric
from trimtab.handlers.drift.feature import numeric_only, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.quadratic import tail
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import binned, merged_neighbours
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["cvm", "feature"]

Floats = npt.NDArray[np.float64]

_TAIL = 1.5  # from here on the first term of the tail is exact to 1 %, and one minus a probability near 1 is not
_BINS = 16
_LEVELS = 64  # bins that stand for the numbers of a feature with ties


def cvm(reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS) -> Result:
    """Two-sample Cramer-von Mises test of each feature: sensitive to shifts over the whole range, less to the tails.

    T = nm/N^2 sum over all pooled values z of (F(z) - G(z))^2, N = n+m (Anderson 1962, Ann. Math. Stat. 33:1148; without
    ties that is his U/(nmN) - (4nm-1)/(6N)). The p-value is exact up to 20 values a side; else that of the limit law, T
    being moved to its mean and variance. For large T it is the limit law's tail, sqrt(2) P(chi2_1 > pi^2 T) (Zolotarev
    1961), which does not vanish to 0. With ties the rank form is wrong by far (scipy's finds drift in all of 0/1 data), and
    the limit is another one: sum_j w_j Z_j^2, w the eigenvalues of the bridge's covariance at the ties (see `quadratic`).
    Infinite values take part, missing ones do not.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict. `effect`
    is the total variation distance on 16 quantile bins, above its mean without drift.
    """
    features = [feature(left, right) for left, right in numeric_only("cvm", reference, current)]
    return judged("cvm", features, (reference, current), alpha=alpha, min_rows=min_rows)


def feature(reference: Numeric, current: Numeric) -> FeatureResult:
    """Test one feature, without a verdict."""
    found = started(reference, current)
    left, right = reference.ordered, current.ordered
    if len(left) < 2 or len(right) < 2:
        return found
    if _ties(left, right):
        found.statistic = _statistic(left, right)
        found.p_value = tail(found.statistic, _weights(reference, current))
    else:
        found.statistic, found.p_value = _without_ties(left, right)
    found.effect = float(excess(*merged_neighbours([binned(reference, current, _BINS)], most=_BINS))[0])
    return found


def _ties(left: Floats, right: Floats) -> bool:
    pooled = np.sort(np.concatenate((left, right)))
    return bool((pooled[1:] == pooled[:-1]).any())


def _without_ties(left: Floats, right: Floats) -> tuple[float, float]:
    from scipy.special import erfc
    from scipy.stats import cramervonmises_2samp

    tested = cramervonmises_2samp(left, right)
    statistic, p_value = float(tested.statistic), float(tested.pvalue)
    standard = _standardised(statistic, len(left), len(right))
    if max(len(left), len(right)) > 20 and standard > _TAIL:
        p_value = float(2**0.5 * erfc(np.pi * (standard / 2) ** 0.5))
    return statistic, p_value


def _standardised(statistic: float, n: int, m: int) -> float:
    """Move T to the limit law's mean 1/6 and variance 1/45."""
    total = n + m
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * n * m * total - 3 * (n * n + m * m) - 2 * n * m) / (45 * total**2 * 4 * n * m)
    return float(1 / 6 + (statistic - mean) / (45 * variance) ** 0.5)


def _statistic(left: Floats, right: Floats) -> float:
    n, m = len(left), len(right)
    gaps = (left.searchsorted(side, "right") / n - right.searchsorted(side, "right") / m for side in (left, right))
    return float(n * m / (n + m) ** 2 * sum((gap**2).sum() for gap in gaps))


def _weights(reference: Numeric, current: Numeric) -> Floats:
    """The eigenvalues of (min(s, t) - st) weighted by the share of values at each tie, or in each bin."""
    left, right = binned(reference, current, _LEVELS)
    shares = (left + right) / (left.sum() + right.sum())
    shares = shares[shares > 0]
    at = np.cumsum(shares)
    root = np.sqrt(np.outer(shares, shares))
    return np.asarray(np.linalg.eigvalsh(root * (np.minimum.outer(at, at) - np.outer(at, at))).clip(0.0))
