"""What methods of one feature at a time share: the columns that they can judge, and what every answer tells of them."""

from __future__ import annotations

from trimtab.errors import DataError
from trimtab.handlers.drift.column import Categorical, Column, Numeric
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult

__all__ = ["levels_of", "numeric_only", "pairs", "started"]


def pairs(reference: Frame, current: Frame) -> list[tuple[Column, Column]]:
    """Pair the columns of both frames."""
    return [(left, current.columns[name]) for name, left in reference.columns.items()]


def numeric_only(method: str, reference: Frame, current: Frame) -> list[tuple[Numeric, Numeric]]:
    """Pair the columns for a method that compares numbers; a column of levels is refused with what to do about it."""
    found = []
    for left, right in pairs(reference, current):
        if not (isinstance(left, Numeric) and isinstance(right, Numeric)):
            raise DataError(
                f"{method} compares numbers, and column {left.name!r} holds levels ({left.dtype}); "
                "use 'tabular' or 'chi2', or name the numeric columns with columns=[...]",
                left.name,
            )
        found.append((left, right))
    return found


def levels_of(reference: Frame, current: Frame) -> list[tuple[Categorical, Categorical]]:
    """Pair the columns for a method that compares counts; numbers are read as levels, one for each value."""
    return [(left.levelled, right.levelled) for left, right in pairs(reference, current)]


def started(reference: Column, current: Column) -> FeatureResult:
    """Begin a feature's answer: its name and how many values there are."""
    return FeatureResult(
        name=reference.name,
        statistic=None,
        n_reference=reference.n,
        n_current=current.n,
        missing_reference=reference.missing,
        missing_current=current.missing,
    )
