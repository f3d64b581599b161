"""Tests of counts: chi-squared for any number of levels, Fisher's exact test for two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.column import Categorical, CategoricalCounts
from trimtab.handlers.drift.feature import levels_of, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.hypergeometric import Tables, as_probable, tails
from trimtab.handlers.drift.moved import excess, shares
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import LEAST_EXPECTED, Pair, levelled, merged_levels, stacked
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["Side", "batches", "chi2", "features", "fisher", "fisher_p_values", "pearson"]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
T = TypeVar("T")
Side = Literal["two-sided", "greater", "less"]

_WIDE = 1024  # cells above which a table is computed by itself


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
    found = features(levels_of(reference, current))
    return judged("chi2", found, (reference, current), alpha=alpha, min_rows=min_rows)


def fisher(
    reference: Frame,
    current: Frame,
    *,
    alternative: Side = "two-sided",
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
) -> Result:
    """Fisher's exact test of each feature of two levels.

    With the margins of the 2 x 2 table fixed, k, the current rows of the second level (in order of text or number), is
    hypergeometric: P(k) = C(a, k) C(N-a, m-k) / C(N, m), a of the N rows of both samples being of the second level and m
    of them current. "greater" sums the probabilities of as many or more of them, "less" of as many or fewer, "two-sided"
    of all tables that are not more probable than the one seen (Fisher 1934; Agresti 2013, "Categorical Data Analysis",
    3.5). `statistic` is the difference of the shares of the second level, current minus reference. Missing values are
    left out and counted. Errors: DataError for a feature of more than two levels.

    `alpha` is the table's level (Holm), `min_rows` the values that a feature needs on both sides for a verdict.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise SpecError("fisher.alternative", alternative, "two-sided, greater, less")
    found = _binary(levels_of(reference, current), alternative)
    return judged("fisher", found, (reference, current), alpha=alpha, min_rows=min_rows)


def features(columns: Sequence[tuple[Categorical, Categorical]]) -> list[FeatureResult]:
    """Test each feature's levels, without a verdict."""
    made, tables = [], []
    for reference, current in columns:
        found = started(reference, current)
        levels, left, right = levelled(reference, current, missing=True)
        found.n_reference, found.n_current = int(left.sum()), int(right.sum())
        found.missing_reference = found.missing_current = 0  # they are a level
        made.append(found)
        if found.n_reference and found.n_current:
            found.message = _unseen(current, levels, left)
            tables.append((found, (left, right)))
    for some, pairs in batches(tables):
        values, p_values = pearson(*stacked([merged_levels(*pair) for pair in pairs]))
        effects = excess(*stacked(pairs))
        for found, value, p_value, effect in zip(some, values, p_values, effects, strict=True):
            found.statistic, found.p_value, found.effect = float(value), float(p_value), float(effect)
    return made


def batches(tables: Sequence[tuple[T, Pair]]) -> Iterator[tuple[list[T], list[Pair]]]:
    """Part features into those of few cells, whose tables are worth computing together, and each other one."""
    few = [table for table in tables if len(table[1][0]) <= _WIDE]
    for batch in ([few] if few else []) + [[table] for table in tables if len(table[1][0]) > _WIDE]:
        yield [found for found, _ in batch], [pair for _, pair in batch]


def pearson(left: Counts, right: Counts) -> tuple[Floats, Floats]:
    """X2 and its p-value, of features as rows of counts that are merged already (see `stacked`)."""
    from scipy.special import chdtrc

    n, m = left.sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True)
    pooled = (left + right) / (n + m)
    kept = pooled > 0
    cells, share = kept.sum(axis=1), np.where(kept, pooled, 1.0)
    values = (np.where(kept, (left - n * share) ** 2 / (n * share) + (right - m * share) ** 2 / (m * share), 0.0)).sum(
        axis=1
    )
    values[cells < 2] = 0.0
    p_values = np.where(cells < 2, 1.0, chdtrc(np.maximum(cells - 1, 1), values))
    small = (cells == 2) & ((np.minimum(n, m) * share).min(axis=1, where=kept, initial=np.inf) < LEAST_EXPECTED)
    if small.any():
        two = kept[small]
        p_values[small] = fisher_p_values(left[small][two].reshape(-1, 2), right[small][two].reshape(-1, 2))
    return values, p_values


def fisher_p_values(left: Counts, right: Counts, alternative: Side = "two-sided") -> Floats:
    """The exact p-values of features of two levels, a row each; `alternative` speaks of the right sample's second level."""
    tables = Tables.of(left, right)
    if alternative == "two-sided":
        return as_probable(tables)
    return tails(tables)[alternative == "greater"]


def _binary(columns: Sequence[tuple[Categorical, Categorical]], alternative: Side) -> list[FeatureResult]:
    made, tables = [], []
    for reference, current in columns:
        found = started(reference, current)
        levels, left, right = levelled(reference, current, missing=False)
        if len(levels) > 2:
            shown = ", ".join(map(repr, levels[:4])) + (" ..." if len(levels) > 4 else "")
            raise DataError(
                f"fisher compares two levels, and column {reference.name!r} has {len(levels)} ({shown}); use 'chi2'",
                reference.name,
            )
        made.append(found)
        if not (found.n_reference and found.n_current):
            continue
        if len(levels) < 2:
            found.statistic, found.p_value, found.effect = 0.0, 1.0, 0.0
        else:
            tables.append((found, (left, right)))
    for some, pairs in batches(tables):
        left, right = stacked(pairs)
        shifts = (shares(right) - shares(left))[:, 1]
        for found, shift, p_value, effect in zip(
            some, shifts, fisher_p_values(left, right, alternative), excess(left, right), strict=True
        ):
            found.statistic, found.p_value, found.effect = float(shift), float(p_value), float(effect)
    return made


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
