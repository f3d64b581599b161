"""The Kolmogorov-Smirnov test of each numeric feature: on all values, or on a sketch's bins."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift import bins
from trimtab.handlers.drift.column import Numeric, NumericCounts
from trimtab.handlers.drift.feature import numeric_only, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["NULL_MEAN", "distance", "feature", "ks", "p_value"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

NULL_MEAN = 0.8687
"""The mean of sqrt(nm/(n+m)) D without drift: sqrt(pi/2) ln 2 (Marsaglia, Tsang, Wang 2003, J. Stat. Softw. 8:18)."""
_EXACT = 250_000  # n times m up to which the exact p-value is counted: some milliseconds
_STRIDES = (256, 16, 1)


def ks(reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS) -> Result:
    """Two-sample Kolmogorov-Smirnov test of each feature.

    D = max over t of |F_n(t) - G_m(t)|, F and G being the shares of values at most t. The p-value is exact for small
    samples (Hodges 1958, Arkiv foer Matematik 3:469), else K((sqrt(e) + 0.12 + 0.11/sqrt(e)) D) with e = nm/(n+m) and
    K(z) = 2 sum_j (-1)^(j-1) exp(-2 j^2 z^2) (Stephens 1970, JRSS-B 32:115). With ties it is conservative. Infinite
    values take part, missing ones do not. Of sketches, D is the largest difference at the edges of their bins, and the
    p-value allows for the path between them (see `bins`).

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict. `effect`
    is D above its mean without drift. Keep the reference with `drift.fit`, and it is sorted once.
    """
    features = [feature(left, right) for left, right in numeric_only("ks", reference, current)]
    return judged("ks", features, (reference, current), alpha=alpha, min_rows=min_rows)


def feature(reference: Numeric, current: Numeric) -> FeatureResult:
    """Test one feature, without a verdict."""
    found = started(reference, current)
    n, m = found.n_reference, found.n_current
    if not (n and m):
        return found
    if isinstance(reference, NumericCounts):
        edges = reference.edges(0)
        left, right = reference.counts(edges), current.counts(edges)
        distances, p_values = bins.tests([(left, right)])
        found.statistic, found.p_value = float(distances[0]), float(p_values[0])
    else:
        found.statistic = distance(reference.ordered, current.ordered)
        found.p_value = p_value(reference.ordered, current.ordered, found.statistic)
    found.effect = max(0.0, found.statistic - NULL_MEAN / (n * m / (n + m)) ** 0.5)
    return found


def distance(left: Floats, right: Floats) -> float:
    """D of two sorted samples, neither empty.

    F - G is largest at a value of the first sample, and G - F just before one. Between two of its values that have been
    looked at, neither can exceed what F and G rise there; only where that could be more than what was found are the
    values between them looked at too.
    """
    few, many = (left, right) if len(left) <= len(right) else (right, left)
    best, starts, ends = 0.0, np.array([0]), np.array([len(few) - 1])
    for stride in _STRIDES:
        places = np.unique(np.append(_between(starts, ends, stride), ends))
        best, open_ = _searched(few, many, places, best)
        open_ &= np.diff(places) <= stride  # what lies between two stretches was closed before
        starts, ends = places[:-1][open_], places[1:][open_]
        if not len(starts):
            break
    return best


def _between(starts: Places, ends: Places, stride: int) -> Places:
    """Every so many places of each stretch, from its start on."""
    lengths = -(-(ends - starts + 1) // stride)
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.asarray(np.repeat(starts, lengths) + stride * (np.arange(len(firsts)) - firsts))


def _searched(few: Floats, many: Floats, places: Places, best: float) -> tuple[float, npt.NDArray[np.bool_]]:
    """Look at some of the first sample's values: the largest difference so far, and behind which of them it may be larger."""
    values = few[places]
    above = few.searchsorted(values, "right") / len(few), many.searchsorted(values, "right") / len(many)
    below = few.searchsorted(values, "left") / len(few), many.searchsorted(values, "left") / len(many)
    best = max(best, float(np.abs(above[0] - above[1]).max()), float(np.abs(below[0] - below[1]).max()))
    limit = np.maximum(below[0][1:] - above[1][:-1], below[1][1:] - above[0][:-1])
    return best, limit > best


def p_value(left: Floats, right: Floats, statistic: float) -> float:
    """The probability of such a D or a larger one when both samples are of one distribution."""
    n, m = len(left), len(right)
    exact = _exact(left, right) if n * m <= _EXACT else None
    if exact is not None:
        return exact
    from scipy.special import kolmogorov

    # Not scipy.stats.kstwo.sf, which ks_2samp calls: it takes up to 74 ms for one p-value far out in the tail.
    root = (n * m / (n + m)) ** 0.5
    return float(kolmogorov((root + 0.12 + 0.11 / root) * statistic))


def _exact(left: Floats, right: Floats) -> float | None:
    """The exact p-value; None where scipy's counting of paths fails, as it does for some of the smallest distances."""
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return min(1.0, float(ks_2samp(left, right, method="exact").pvalue))
        except RuntimeWarning:
            return None
