"""Distances of binned distributions, each with the probability of being so far apart without drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift import mlrun
from trimtab.handlers.drift.chi2 import batches, pearson
from trimtab.handlers.drift.column import Column
from trimtab.handlers.drift.feature import by_kind, pairs, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.moved import excess, shares
from trimtab.handlers.drift.moved import tvd as total_variation
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import Pair, binned, levelled, merged_levels, merged_neighbours, stacked
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["BINS", "DECILES", "Distance", "hellinger", "js", "kld", "measures", "psi", "tvd"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Measure = Callable[[Counts, Counts], tuple[Floats, Floats]]
"""From both sides' counts, a row a feature, to each one's distance and its p-value."""
Compat = Literal["mlrun"] | None

BINS = 16
"""Bins of a numeric feature: a test on them loses next to nothing against more, and small samples can fill them."""
DECILES = 10
"""The custom of the population stability index."""


class Distance:
    """A measure as a method of `drift.detect`: `measure` is what it decorates, and gives it name and docstring.

    Bins of numbers are quantiles of the reference, with a bin for each value that fills one (see `Numeric.edges`), one for
    all below and one for all above; levels are their own bins. Neighbours (of levels: the rarest) are put together until
    each expected count is at least 5. `effect` is the total variation distance above its mean without drift.
    """

    def __init__(self, measure: Measure, default_bins: int = BINS) -> None:
        self.measure, self.default_bins = measure, default_bins
        self.__name__, self.__doc__ = measure.__name__, measure.__doc__

    def __call__(
        self,
        reference: Frame,
        current: Frame,
        *,
        bins: int | None = None,
        alpha: float = 0.05,
        min_rows: int = LEAST_ROWS,
        compat: Compat = None,
        threshold: float | None = None,
    ) -> Result:
        """Compare every feature. Errors: SpecError."""
        frames = reference, current
        if compat is not None:
            return self._mlruns(frames, compat, threshold)
        if threshold is not None:
            found, hint = f"{self.__name__}.threshold", "alpha decides by the p-value"
            raise SpecError(found, threshold, "nothing without compat='mlrun'", hint=hint)
        if bins is not None and bins < 2:
            raise SpecError(f"{self.__name__}.bins", bins, "2 or more")
        features = self._features(pairs(*frames), bins or self.default_bins)
        return judged(self.__name__, features, frames, alpha=alpha, min_rows=min_rows)

    def _mlruns(self, frames: tuple[Frame, Frame], compat: str, threshold: float | None) -> Result:
        if self.__name__ not in mlrun.DISTANCES:
            raise SpecError(f"{self.__name__}.compat", compat, f"nothing: MLRun has {', '.join(mlrun.DISTANCES)}")
        if compat != "mlrun":
            raise SpecError(f"{self.__name__}.compat", compat, "'mlrun', or leave it out")
        return mlrun.compared(self.__name__, *frames, threshold=threshold)

    def _features(self, columns: Sequence[tuple[Column, Column]], bins: int) -> list[FeatureResult]:
        measured: dict[str, tuple[float, float, float]] = {}
        for names, left, right in _counted(columns, bins):
            found = zip(*self.measure(left, right), excess(left, right), strict=True)
            measured.update(zip(names, found, strict=True))
        features = [started(left, right) for left, right in columns]
        for feature in features:
            if feature.name in measured:
                feature.statistic, feature.p_value, feature.effect = map(float, measured[feature.name])
        return features


@Distance
def tvd(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Total variation distance of each feature: TVD = sum_j |p_j - q_j| / 2, the share of rows that would have to move.

    (Levin, Peres, Wilmer 2009, "Markov Chains and Mixing Times", 4.1.)

    Bins of numbers are quantiles of the reference, with a bin for each value that fills one (see `Numeric.edges`), one for
    all below and one for all above; levels are their own bins. Neighbours (of levels: the rarest) are put together until
    each expected count is at least 5. The distance itself has no simple law without drift; the p-value is that of the
    two-sample chi-squared test on the same bins (see `chi2`), and `effect` is the distance above its mean without drift.

    `bins` is the most for a number, 16 unless told; `alpha` is the table's level (Holm), `min_rows` the values that a
    feature needs on both sides for a verdict. `compat="mlrun"` computes exactly what MLRun does (see `mlrun`), the mean
    over the features against `threshold`, 0.7 unless told; the better founded default tells one bad feature out of forty,
    and knows how large the samples are.
    """
    return total_variation(left, right), pearson(left, right)[1]


@Distance
def hellinger(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Hellinger distance of each feature: H = sqrt(1 - sum_j sqrt(p_j q_j)), 0 to 1 (Hellinger 1909).

    Without drift 8 s H^2, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom; for that p-value half a
    row is added to every bin, which holds the level in small samples. Bins, parameters and `compat` are those of `tvd`.
    """

    def square(p: Floats, q: Floats) -> Floats:
        return np.asarray(np.maximum(0.0, 1 - np.sqrt(p * q).sum(axis=1)))

    found = square(shares(left), shares(right))
    return np.sqrt(found), _tail(left, right, 8 * square(*_smoothed(left, right)))


@Distance
def kld(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Symmetric Kullback-Leibler divergence of each feature: sum_j (p_j - q_j) ln(p_j / q_j) (Kullback, Leibler 1951).

    Half a row is added to every bin of both samples (Jeffreys' prior), so that an empty bin is no infinity and no
    arbitrary constant decides. Without drift s KLD, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom.
    Bins, parameters and `compat` are those of `tvd`; MLRun has no threshold for KLD, so with `compat="mlrun"` there is a
    verdict only when `threshold` is given.
    """
    return _symmetric(left, right)


def _deciles(measure: Measure) -> Distance:
    return Distance(measure, DECILES)


@_deciles
def psi(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Population stability index of each feature: PSI = sum_j (q_j - p_j) ln(q_j / p_j), on ten bins by custom.

    It is the symmetric Kullback-Leibler divergence by another name. s PSI, s = nm/(n+m), is about chi-squared with
    (bins - 1) degrees of freedom without drift (Yurdakul, Naranjo 2020, J. Risk Model Valid. 14:89), which is what decides
    here: the custom of alarming above 0.1 is a 5 % test at about 170 rows and no test at any other number. Half a row is
    added to every bin, as in `kld`. Bins and parameters are those of `tvd`, without `compat`.
    """
    return _symmetric(left, right)


@Distance
def js(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Jensen-Shannon distance of each feature: JS = sqrt((KL(p|a) + KL(q|a)) / 2), a = (p + q) / 2, in nats (Lin 1991).

    Without drift 8 s JS^2, s = nm/(n+m), is about chi-squared with (bins - 1) degrees of freedom; for that p-value half a
    row is added to every bin, which holds the level in small samples. Bins and parameters are those of `tvd`, without
    `compat`.
    """
    from scipy.special import rel_entr

    def square(p: Floats, q: Floats) -> Floats:
        terms: Floats = rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)
        return np.asarray(np.maximum(0.0, terms.sum(axis=1) / 2))

    found = square(shares(left), shares(right))
    return np.sqrt(found), _tail(left, right, 8 * square(*_smoothed(left, right)))


def measures(reference: Column, current: Column) -> dict[str, float]:
    """Every distance of a column that both sides have values of, by its method's name."""
    found = {}
    for method in (tvd, hellinger, kld, js, psi):
        [(_, left, right)] = _counted([(reference, current)], method.default_bins)
        found[method.__name__] = float(method.measure(left, right)[0][0])
    return found


def _counted(columns: Sequence[tuple[Column, Column]], bins: int) -> Iterator[tuple[list[str], Counts, Counts]]:
    """Count columns by bins or levels, none of which is too rare; those that a side has no value of are left out."""
    numbers, levels = by_kind(columns)
    counts = {left.name: binned(left, right, bins) for left, right in numbers if left.n and right.n}
    if counts:
        yield list(counts), *merged_neighbours(list(counts.values()), most=bins)
    tables: list[tuple[str, Pair]] = []
    for one, two in levels:
        if one.n and two.n:
            _, left, right = levelled(one, two, missing=False)
            tables.append((one.name, merged_levels(left, right)))
    for names, merged in batches(tables):
        yield names, *stacked(merged)


def _symmetric(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    p, q = _smoothed(left, right)
    there = (left + right) > 0
    found = ((p - q) * np.log(np.where(there, p, 1.0) / np.where(there, q, 1.0))).sum(axis=1)
    return found, _tail(left, right, found)


def _smoothed(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """Shares with half a row more in each cell that is there, without which an empty one among small counts weighs too much."""
    there = 0.5 * ((left + right) > 0)
    one, two = left + there, right + there
    return one / one.sum(axis=1, keepdims=True), two / two.sum(axis=1, keepdims=True)


def _tail(left: Counts, right: Counts, value: Floats) -> Floats:
    """The probability that s times a divergence is as large without drift."""
    from scipy.special import chdtrc

    n, m, free = left.sum(axis=1), right.sum(axis=1), ((left + right) > 0).sum(axis=1) - 1
    return np.where(free < 1, 1.0, chdtrc(np.maximum(free, 1), n * m / (n + m) * value))
