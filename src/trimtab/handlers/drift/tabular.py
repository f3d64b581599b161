"""Tables of mixed types: each feature by the test that fits it."""

from __future__ import annotations

from typing import Literal

from trimtab.errors import SpecError
from trimtab.handlers.drift import chi2, cvm, ks
from trimtab.handlers.drift.feature import by_kind, pairs
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import Result
from trimtab.handlers.drift.verdict import LEAST_ROWS, judged

__all__ = ["tabular"]


def tabular(
    reference: Frame,
    current: Frame,
    *,
    numeric: Literal["ks", "cvm"] = "ks",
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
) -> Result:
    """Test every feature of a table: numbers by Kolmogorov-Smirnov, levels by two-sample chi-squared.

    Equations and sources are those of `ks` (or `cvm`, when `numeric` says so) and `chi2`; a feature of two levels with a
    small expected count is tested by Fisher's exact test. The alarm is Holm's over all features, the list of features
    Benjamini and Hochberg's.

    `alpha` is the table's level, `min_rows` the values that a feature needs on both sides for a verdict.
    """
    if numeric not in ("ks", "cvm"):
        raise SpecError("tabular.numeric", numeric, "ks, cvm")
    test = ks.feature if numeric == "ks" else cvm.feature
    numbers, levels = by_kind(pairs(reference, current))
    found = {feature.name: feature for feature in chi2.features(levels)}
    found.update((left.name, test(left, right)) for left, right in numbers)
    features = [found[name] for name in reference.names]
    return judged("tabular", features, (reference, current), alpha=alpha, min_rows=min_rows)
