"""Distances of binned distributions, each with the probability of being so far apart without drift."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift import mlrun
from trimtab.handlers.drift.chi2 import pearson
from trimtab.handlers.drift.column import Column, Numeric
from trimtab.handlers.drift.feature import pairs, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.moved import tvd as total_variation
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import binned, levelled, merged_levels, merged_neighbours
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["BINS", "DECILES", "hellinger", "js", "kld", "measures", "merged", "psi", "tvd"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Measure = Callable[[Counts, Counts], tuple[float, float]]
"""From two rows of counts to the distance and its p-value."""
Compat = Literal["mlrun"] | None

BINS = 16
"""Bins of a numeric feature: a test on them loses next to nothing against more, and small samples can fill them."""
DECILES = 10
"""The custom of the population stability index."""


def tvd(
    reference: Frame,
    current: Frame,
    *,
    bins: int = BINS,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    compat: Compat = None,
    threshold: float | None = None,
) -> Result:
    """Total variation distance of each feature: TVD = sum_j |p_j - q_j| / 2, the share of rows that would have to move.

    Bins of numbers are quantiles of the reference, with a bin for each value that fills one (see `Numeric.edges`), one for
    all below and one for all above; levels are their own bins. Neighbours (of levels: the rarest) are put together until
    each expected count is at least 5. The distance itself has no simple law without drift; the p-value is that of the
    two-sample chi-squared test on the same bins (see `chi2`), and `effect` is the distance above its mean without drift.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict.
    `compat="mlrun"` computes exactly what MLRun does (see `mlrun`), the mean over the features against `threshold`, 0.7
    unless told; the better founded default tells one bad feature out of forty, and knows how large the samples are.
    """
    return _compared("tvd", (reference, current), _tvd, bins, alpha, min_rows, compat, threshold)


def hellinger(
    reference: Frame,
    current: Frame,
    *,
    bins: int = BINS,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    compat: Compat = None,
    threshold: float | None = None,
) -> Result:
    """Hellinger distance of each feature: H = sqrt(1 - sum_j sqrt(p_j q_j)), 0 to 1 (Hellinger 1909).

    Without drift 8 s H^2, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom; for that p-value half a
    row is added to every bin, which holds the level in small samples. Bins, parameters and `compat` are those of `tvd`.
    """
    return _compared("hellinger", (reference, current), _hellinger, bins, alpha, min_rows, compat, threshold)


def kld(
    reference: Frame,
    current: Frame,
    *,
    bins: int = BINS,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    compat: Compat = None,
    threshold: float | None = None,
) -> Result:
    """Symmetric Kullback-Leibler divergence of each feature: sum_j (p_j - q_j) ln(p_j / q_j) (Kullback, Leibler 1951).

    Half a row is added to every bin of both samples (Jeffreys' prior), so that an empty bin is no infinity and no
    arbitrary constant decides. Without drift s KLD, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom.
    Bins, parameters and `compat` are those of `tvd`; MLRun has no threshold for KLD, so with `compat="mlrun"` there is a
    verdict only when `threshold` is given.
    """
    return _compared("kld", (reference, current), _symmetric, bins, alpha, min_rows, compat, threshold)


def psi(
    reference: Frame, current: Frame, *, bins: int = DECILES, alpha: float = 0.05, min_rows: int = LEAST_ROWS
) -> Result:
    """Population stability index of each feature: PSI = sum_j (q_j - p_j) ln(q_j / p_j), on ten bins by custom.

    It is the symmetric Kullback-Leibler divergence by another name. s PSI, s = nm/(n+m), is about chi-squared with
    (bins - 1) degrees of freedom without drift (Yurdakul, Naranjo 2020, J. Risk Model Valid. 14:89), which is what decides
    here: the custom of alarming above 0.1 is a 5 % test at about 170 rows and no test at any other number. Half a row is
    added to every bin, as in `kld`. Bins and parameters are those of `tvd`.
    """
    return _compared("psi", (reference, current), _symmetric, bins, alpha, min_rows, None, None)


def js(
    reference: Frame, current: Frame, *, bins: int = BINS, alpha: float = 0.05, min_rows: int = LEAST_ROWS
) -> Result:
    """Jensen-Shannon distance of each feature: JS = sqrt((KL(p|a) + KL(q|a)) / 2), a = (p + q) / 2, in nats (Lin 1991).

    Without drift 8 s JS^2, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom; for that p-value half a
    row is added to every bin, which holds the level in small samples. Bins and parameters are those of `tvd`.
    """
    return _compared("js", (reference, current), _jensen_shannon, bins, alpha, min_rows, None, None)


def measures(left: Counts, right: Counts) -> dict[str, float]:
    """Every distance of two rows of counts that are merged already, by its method's name."""
    found = {"tvd": _tvd, "hellinger": _hellinger, "kld": _symmetric, "js": _jensen_shannon}
    return {name: measure(left, right)[0] for name, measure in found.items()}


def merged(reference: Column, current: Column, bins: int) -> tuple[Counts, Counts]:
    """Count both columns by bins or levels, none of which is too rare."""
    if isinstance(reference, Numeric):
        assert isinstance(current, Numeric)
        return merged_neighbours(*binned(reference, current, bins), most=bins)
    assert not isinstance(current, Numeric)
    _, left, right = levelled(reference, current, missing=False)
    return merged_levels(left, right)


def _compared(
    method: str,
    frames: tuple[Frame, Frame],
    measure: Measure,
    bins: int,
    alpha: float,
    min_rows: int,
    compat: Compat,
    threshold: float | None,
) -> Result:
    if compat == "mlrun":
        return mlrun.compared(method, *frames, threshold=threshold)
    if compat is not None:
        raise SpecError(f"{method}.compat", compat, "'mlrun', or leave it out")
    if threshold is not None:
        raise SpecError(
            f"{method}.threshold", threshold, "nothing without compat='mlrun'", hint="alpha decides by the p-value"
        )
    if bins < 2:
        raise SpecError(f"{method}.bins", bins, "2 or more")
    features = map(partial(_feature, measure, bins), *zip(*pairs(*frames), strict=True))
    return judged(method, features, frames, alpha=alpha, min_rows=min_rows)


def _feature(measure: Measure, bins: int, reference: Column, current: Column) -> FeatureResult:
    found = started(reference, current)
    if found.n_reference and found.n_current:
        left, right = merged(reference, current, bins)
        found.statistic, found.p_value = measure(left, right)
        found.effect = excess(left, right)
    return found


def _tvd(left: Counts, right: Counts) -> tuple[float, float]:
    return total_variation(left, right), pearson(left, right)[1]


def _hellinger(left: Counts, right: Counts) -> tuple[float, float]:
    def square(p: Floats, q: Floats) -> float:
        return max(0.0, 1 - float(np.sqrt(p * q).sum()))

    value = square(left / left.sum(), right / right.sum())
    return value**0.5, _tail(left, right, 8 * square(_smoothed(left), _smoothed(right)))


def _symmetric(left: Counts, right: Counts) -> tuple[float, float]:
    p, q = _smoothed(left), _smoothed(right)
    value = float(((p - q) * np.log(p / q)).sum())
    return value, _tail(left, right, value)


def _jensen_shannon(left: Counts, right: Counts) -> tuple[float, float]:
    from scipy.special import rel_entr

    def square(p: Floats, q: Floats) -> float:
        return max(0.0, float(rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum()) / 2)

    value = square(left / left.sum(), right / right.sum())
    return value**0.5, _tail(left, right, 8 * square(_smoothed(left), _smoothed(right)))


def _smoothed(counts: Counts) -> Floats:
    """Shares with half a row more in each bin, without which an empty bin among small counts weighs too much."""
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))


def _tail(left: Counts, right: Counts, value: float) -> float:
    """The probability that s times a divergence is as large without drift."""
    from scipy.special import chdtrc

    n, m, free = int(left.sum()), int(right.sum()), int(((left + right) > 0).sum()) - 1
    return 1.0 if free < 1 else float(chdtrc(free, n * m / (n + m) * value))
