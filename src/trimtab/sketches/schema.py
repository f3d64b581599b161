"""What columns a table has: their names, in order, and whether each is counted by size or by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["numeric", "categorical"]


class Column(Struct, frozen=True, kw_only=True):
    """One column. Numbers, dates and durations are numeric; text, booleans and pandas' categories are categorical."""

    name: str
    kind: Kind
    dtype: str = "float64"
    """The numpy or pandas name of the type as it was logged: float64, float32, int64, bool, str, category, object,
    datetime64[us] ..."""


class Schema(Struct, frozen=True):
    """The columns of a table, in order."""

    columns: list[Column]

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    @classmethod
    def of(cls, frame: Any, names: Sequence[str] | None = None) -> Schema:
        """Describe a DataFrame, a two-dimensional array, or a mapping of names to columns.

        `names` are those of an array's columns (without: f0, f1 ...). A column of objects is numeric if all that is not
        missing in it is a number. Errors: DataError (no table, two columns of one name, complex numbers).
        """
        from trimtab.sketches.table import describe

        return cls(describe(frame, names))
