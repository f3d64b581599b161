"""Tests of counts: chi-squared for any number of levels, Fisher's exact test for two."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.column import Categorical, CategoricalCounts
from trimtab.handlers.drift.feature import levels_of, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.moved import excess
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import LEAST_EXPECTED, levelled, merged_levels
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["Side", "chi2", "feature", "fisher", "fisher_p_value", "pearson"]

Counts = npt.NDArray[np.int64]
Side = Literal["two-sided", "greater", "less"]


def chi2(reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS) -> Result:
    """Two-sample chi-squared test of each feature's levels.

    X2 = sum over samples s and levels l of (O_sl - E_sl)^2 / E_sl with E_sl = (rows of s)(rows of l) / (all rows), about
    chi-squared with (levels - 1) degrees of freedom without drift (Pearson 1900, Phil. Mag. 50:157; Agresti 2013,
    "Categorical Data Analysis", 3.2). The reference is a sample too: taken as exact, as a goodness of fit test does, it
    would be drifted from in a quarter of all cases at 5 %. Levels that only one side has, and missing values, are levels.
    The rarest are put together until every expected count is at least 5; with two levels left and a smaller one, the exact
    p-value of Fisher's test is taken.

    `alpha` is the table's level (Holm), `min_rows` the rows that a feature needs on both sides for a verdict. `effect` is
    the total variation distance above its mean without drift.
    """
    features = [feature(left, right) for left, right in levels_of(reference, current)]
    return judged("chi2", features, (reference, current), alpha=alpha, min_rows=min_rows)


def fisher(
    reference: Frame,
    current: Frame,
    *,
    alternative: Side = "two-sided",
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
) -> Result:
    """Fisher's exact test of each feature of two levels.

    With the margins of the 2 x 2 table fixed, the current rows of the second level (in order of text or number) are
    hypergeometric. "greater" sums the probabilities of as many or more of them, "less" of as many or fewer, "two-sided"
    of all tables that are not more probable than the one seen (Fisher 1934; Agresti 2013, "Categorical Data Analysis",
    3.5). `statistic` is the difference of the shares of the second level, current minus reference. Missing values are
    left out and counted. Errors: DataError for a feature of more than two levels.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise SpecError("fisher.alternative", alternative, "two-sided, greater, less")
    features = [_binary(left, right, alternative) for left, right in levels_of(reference, current)]
    return judged("fisher", features, (reference, current), alpha=alpha, min_rows=min_rows)


def feature(reference: Categorical, current: Categorical) -> FeatureResult:
    """Test one feature's levels, without a verdict."""
    found = started(reference, current)
    levels, left, right = levelled(reference, current, missing=True)
    found.n_reference, found.n_current = int(left.sum()), int(right.sum())
    found.missing_reference = found.missing_current = 0  # they are a level
    if not (found.n_reference and found.n_current):
        return found
    found.statistic, found.p_value = pearson(*merged_levels(left, right))
    found.effect = excess(left, right)
    found.message = _unseen(current, levels, left)
    return found


def pearson(left: Counts, right: Counts) -> tuple[float, float]:
    """X2 and its p-value, of counts that are merged already."""
    from scipy.special import chdtrc

    n, m = int(left.sum()), int(right.sum())
    pooled = (left + right) / (n + m)
    kept = pooled > 0
    if kept.sum() < 2:
        return 0.0, 1.0
    expected = np.concatenate((n * pooled[kept], m * pooled[kept]))
    value = float(((np.concatenate((left[kept], right[kept])) - expected) ** 2 / expected).sum())
    if kept.sum() == 2 and expected.min() < LEAST_EXPECTED:
        return value, fisher_p_value(left[kept], right[kept])
    return value, float(chdtrc(int(kept.sum()) - 1, value))


def fisher_p_value(left: Counts, right: Counts, alternative: Side = "two-sided") -> float:
    """The exact p-value of two samples of two levels; `alternative` speaks of the right sample's second level."""
    from scipy.stats import fisher_exact

    table = [[int(right[1]), int(right[0])], [int(left[1]), int(left[0])]]
    return min(1.0, float(fisher_exact(table, alternative=alternative).pvalue))


def _binary(reference: Categorical, current: Categorical, alternative: Side) -> FeatureResult:
    found = started(reference, current)
    levels, left, right = levelled(reference, current, missing=False)
    if len(levels) > 2:
        shown = ", ".join(map(repr, levels[:4])) + (" ..." if len(levels) > 4 else "")
        raise DataError(
            f"fisher compares two levels, and column {reference.name!r} has {len(levels)} ({shown}); use 'chi2'",
            reference.name,
        )
    if not (found.n_reference and found.n_current):
        return found
    if len(levels) < 2:
        found.statistic, found.p_value, found.effect = 0.0, 1.0, 0.0
        return found
    found.statistic = float(right[1] / right.sum() - left[1] / left.sum())
    found.p_value = fisher_p_value(left, right, alternative)
    found.effect = excess(left, right)
    return found


def _unseen(current: Categorical, levels: list[str], left: Counts) -> str:
    """Name levels that the reference does not have."""
    known = zip(levels, left, strict=True)
    new = [level for level, count in known if not count and level in current.levels]
    if isinstance(current, CategoricalCounts) and current.sketch.unseen:
        new = sorted(current.sketch.kept, key=lambda level: -current.sketch.kept[level])
    if not new:
        return ""
    return f"not in the reference: {', '.join(map(repr, new[:4]))}" + (
        f" and {len(new) - 4} more" if len(new) > 4 else ""
    )
