"""What methods of one feature at a time share: the columns that they can judge."""

from __future__ import annotations

from trimtab.errors import DataError
from trimtab.handlers.drift.frame import Categorical, Frame, Numeric

__all__ = ["levels_of", "numeric_only"]


def numeric_only(method: str, reference: Frame, current: Frame) -> list[tuple[Numeric, Numeric]]:
    """Pair the columns of a method that compares numbers; a column of levels is refused with what to do about it."""
    pairs = []
    for name, left in reference.columns.items():
        right = current.columns[name]
        if not (isinstance(left, Numeric) and isinstance(right, Numeric)):
            raise DataError(
                f"{method} compares numbers, and column {name!r} holds levels ({left.dtype}); "
                "use 'tabular' or 'chi2', or name the numeric columns with columns=[...]",
                name,
            )
        pairs.append((left, right))
    return pairs


def levels_of(reference: Frame, current: Frame) -> list[tuple[Categorical, Categorical]]:
    """Pair the columns for a method that compares counts; numbers are read as levels, one for each value."""
    return [(left.levelled, current.columns[name].levelled) for name, left in reference.columns.items()]
