"""The default test of a table: what a monitor judges each window by. It needs no more than a sketch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct

from trimtab.errors import SpecError
from trimtab.handlers.drift import bins as binned_ks
from trimtab.handlers.drift import chi2
from trimtab.handlers.drift.column import Categorical, Numeric
from trimtab.handlers.drift.feature import by_kind, pairs, started
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.tables import binned
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["EFFECT", "SHARE", "default"]

BINS = 64
EFFECT = 0.05
"""The share of rows that has to have moved, beyond what chance moves, for a feature to be drifted."""
SHARE = 0.01
"""The same for the share of missing values, and of infinite ones."""


class _Signal(Struct):
    """One way in which a feature can drift: its p-value, how far it has moved, and whether that is far enough."""

    feature: str
    what: str
    p_value: float
    effect: float
    large: bool


def default(
    reference: Frame,
    current: Frame,
    *,
    bins: int = BINS,
    alpha: float = 0.05,
    effect: float = EFFECT,
    share: float = SHARE,
    min_rows: int = LEAST_ROWS,
) -> Result:
    """Test every feature as a monitor does, by what a sketch holds.

    Numbers: the Kolmogorov-Smirnov test on 64 quantile bins of the reference (see `bins`), infinite values in the outer
    ones; besides, the share of missing and of infinite values, each by the exact test of a 2 x 2 table. Levels: the
    two-sample chi-squared test, unseen levels and missing values among them (see `chi2`). A feature's p-value is the
    smallest of its signals' times their number (Bonferroni); signals that neither side shows are none. The table's alarm
    is Holm's over the features, the list of features Benjamini and Hochberg's.

    A feature drifts only when it has moved far enough too: by `effect` in total variation distance above its mean without
    drift, on 16 groups of bins or on levels, or by `share` in missing or infinite values. So a million rows make no alarm of a
    trifle. `statistic` is D or X2, `effect` the distance; `message` says what else has changed.

    `alpha` is the table's level, `min_rows` the rows that a feature needs on both sides for a verdict.
    """
    if bins < 2:
        raise SpecError("default.bins", bins, "2 or more")
    columns = pairs(reference, current)
    numbers, levels = by_kind(columns)
    found = {left.name: started(left, right) for left, right in columns}
    found.update((feature.name, feature) for feature in chi2.features(levels))
    signals: dict[str, list[_Signal]] = {name: [] for name in found}
    for signal in chain(
        _numbers(numbers, found, bins, effect), _levels(levels, found, effect), _shares(numbers, share)
    ):
        signals[signal.feature].append(signal)
    for name, own in signals.items():
        _decide(found[name], own)
    large = {name for name, own in signals.items() if any(signal.large for signal in own)}
    return judged("default", found.values(), (reference, current), alpha=alpha, min_rows=min_rows, large=large)


def _numbers(
    columns: Sequence[tuple[Numeric, Numeric]], found: dict[str, FeatureResult], bins: int, floor: float
) -> Iterator[_Signal]:
    """Test where the numbers lie."""
    counts = {left.name: binned(left, right, bins) for left, right in columns if left.n and right.n}
    if not counts:
        return
    pairs_ = list(counts.values())
    for name, distance, p_value, moved in zip(counts, *binned_ks.tests(pairs_), binned_ks.effects(pairs_), strict=True):
        found[name].statistic, found[name].effect = float(distance), float(moved)
        yield _Signal(name, "values", float(p_value), float(moved), bool(moved >= floor))


def _levels(
    columns: Sequence[tuple[Categorical, Categorical]], found: dict[str, FeatureResult], floor: float
) -> Iterator[_Signal]:
    """Read how many rows have which level off the test of that."""
    for left, _ in columns:
        feature = found[left.name]
        if feature.p_value is not None and feature.effect is not None:
            yield _Signal(left.name, "values", feature.p_value, feature.effect, feature.effect >= floor)


def _shares(columns: Sequence[tuple[Numeric, Numeric]], floor: float) -> Iterator[_Signal]:
    """Test how many numbers are missing, and how many are infinite, where any are."""
    named, tables = [], []
    for left, right in columns:
        n, m = left.n + left.missing, right.n + right.missing
        for what, one, two in (
            ("missing", left.missing, right.missing),
            ("infinite", sum(left.infinite), sum(right.infinite)),
        ):
            if (one or two) and n and m:
                named.append((left.name, what))
                tables.append((one, n, two, m))
    for (name, what), table, p_value in zip(named, tables, binned_ks.share_p_values(tables), strict=True):
        before, now = table[0] / table[1], table[2] / table[3]
        told = f"{what}: {before:.2%} in the reference, {now:.2%} in current"
        yield _Signal(name, told, p_value, abs(now - before), abs(now - before) >= floor)


def _decide(feature: FeatureResult, signals: list[_Signal]) -> None:
    """Give a feature the p-value of its signals, and count its rows rather than its values."""
    feature.n_reference += feature.missing_reference
    feature.n_current += feature.missing_current
    if not signals or not (feature.n_reference and feature.n_current):
        return
    counted = [signal for signal in signals if signal.large] or signals
    first = min(counted, key=lambda signal: signal.p_value)
    feature.p_value = min(1.0, first.p_value * len(signals))
    if first.what != "values":
        feature.effect = first.effect
        feature.message = "; ".join(text for text in (first.what, feature.message) if text)
