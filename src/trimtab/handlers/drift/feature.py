"""What methods of one feature at a time share: the columns that they can judge, and what every answer tells of them."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.errors import DataError
from trimtab.handlers.drift.column import Categorical, Column, Numeric
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult

__all__ = ["by_kind", "levels_of", "numeric_only", "pairs", "started"]


def pairs(reference: Frame, current: Frame) -> list[tuple[Column, Column]]:
    """Pair the columns of both frames."""
    return [(left, current.columns[name]) for name, left in reference.columns.items()]


def by_kind(
    columns: Sequence[tuple[Column, Column]],
) -> tuple[list[tuple[Numeric, Numeric]], list[tuple[Categorical, Categorical]]]:
    """Part paired columns into those of numbers and those of levels; both sides are of one kind."""
    numbers, levels = [], []
    for left, right in columns:
        if isinstance(left, Numeric):
            assert isinstance(right, Numeric)
            numbers.append((left, right))
        else:
            assert not isinstance(right, Numeric)
            levels.append((left, right))
    return numbers, levels


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
