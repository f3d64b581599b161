"""A sample as every method sees it: typed columns, missing values counted, from whatever table the caller has.

Numbers (and dates are not numbers) are numeric; text, booleans and pandas' categories are categorical, and compared by
their text. NaN, None and NaT are missing. Infinities are values: the largest and the smallest that there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError

__all__ = ["Categorical", "Column", "Frame", "Numeric", "paired"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_SHOWN = 8  # names that a message lists
_LEVELS = 256  # different numbers of a column that can still be read as levels


class Numeric:
    """A column of numbers. `values` holds every row as float64, NaN where the value is missing."""

    kind = "numeric"

    def __init__(self, name: str, values: Floats, dtype: str) -> None:
        self.name, self.values, self.dtype = name, values, dtype

    @cached_property
    def present(self) -> Floats:
        """The values that are not missing, in the order of the rows; infinities among them."""
        mask = np.isnan(self.values)
        return self.values[~mask] if mask.any() else self.values

    @cached_property
    def finite(self) -> Floats:
        """The values that are neither missing nor infinite."""
        mask = np.isfinite(self.present)
        return self.present if mask.all() else self.present[mask]

    @cached_property
    def ordered(self) -> Floats:
        """`present`, sorted. A reference that is kept as a `Frame` is sorted once."""
        return np.sort(self.present)

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return len(self.values) - len(self.present)

    @cached_property
    def levelled(self) -> Categorical:
        """The same column with each value a level. Raises `DataError` where there are too many to be levels."""
        levels, places = np.unique(self.present, return_inverse=True)
        if len(levels) > _LEVELS:
            raise DataError(
                f"column {self.name!r} has {len(levels)} different numbers, too many to be levels (at most {_LEVELS}); "
                "compare it with 'ks' or 'tabular', or make text of it if its numbers are names",
                self.name,
            )
        codes = np.full(len(self.values), -1, np.intp)
        codes[~np.isnan(self.values)] = places
        return Categorical(self.name, *_sorted(codes, [f"{level:g}" for level in levels]), self.dtype)


class Categorical:
    """A column of levels. `codes` points into `levels` (text, sorted) for every row, -1 where the value is missing."""

    kind = "categorical"

    def __init__(self, name: str, codes: Codes, levels: list[str], dtype: str) -> None:
        self.name, self.codes, self.levels, self.dtype = name, codes, levels, dtype

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each level."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels))
        return found.astype(np.int64)

    @cached_property
    def missing(self) -> int:
        """Rows without a value."""
        return int(np.count_nonzero(self.codes < 0))

    @property
    def levelled(self) -> Categorical:
        """The column itself."""
        return self


Column = Numeric | Categorical


class Frame:
    """Named, typed columns of one sample."""

    def __init__(self, columns: Mapping[str, Column], rows: int) -> None:
        self.columns, self.rows = dict(columns), rows

    @classmethod
    def of(cls, data: Any, *, names: Sequence[str] | None = None, role: str = "data") -> Frame:
        """Read a table: a DataFrame, a Series, an array of rows, a list of rows or numbers, a dict of columns.

        `names` are the columns' names where the table has none (`x0`, `x1` ... without them). A `Frame` is returned as it
        is, with what it has computed already. Raises `DataError` where the table is none, or a column has a type that
        cannot be compared; `role` is what the message calls it.
        """
        if isinstance(data, Frame):
            return data
        arrays = _arrays(data, names, role)
        columns = {name: _column(name, values, role) for name, values in arrays.items()}
        return cls(columns, _rows(arrays, role))

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return list(self.columns)

    @property
    def numeric(self) -> list[Numeric]:
        """The columns of numbers."""
        return [column for column in self.columns.values() if isinstance(column, Numeric)]

    @property
    def categorical(self) -> list[Categorical]:
        """The columns of levels."""
        return [column for column in self.columns.values() if isinstance(column, Categorical)]

    def select(self, names: Sequence[str], *, role: str = "data") -> Frame:
        """Give the frame of these columns alone, in this order."""
        if lost := [name for name in names if name not in self.columns]:
            raise DataError(f"{role} has no column {_list(lost)}; it has {_list(self.names)}", lost[0])
        return Frame({name: self.columns[name] for name in names}, self.rows)

    def matrix(self, *, role: str = "data") -> Floats:
        """Give the rows that are complete (no missing, no infinite value) as float64, of shape (rows, columns).

        Raises `DataError` when a column is categorical.
        """
        if words := [column.name for column in self.categorical]:
            raise DataError(
                f"{role}: this method compares numbers, and {_list(words)} holds levels; "
                f"encode them, or name the other columns with columns=[...]",
                words[0],
            )
        table = np.column_stack([column.values for column in self.numeric]) if self.columns else np.empty((0, 0))
        whole = np.isfinite(table).all(axis=1)
        return table if whole.all() else table[whole]


def paired(reference: Any, current: Any, columns: Sequence[str] | None = None) -> tuple[Frame, Frame, str]:
    """Read both samples and see that they can be compared: the same columns, of the same kinds, in the same order.

    Gives both frames and a remark. Columns that only `current` has are left out, and the remark names them. Raises
    `DataError` when `current` lacks a column of the reference, or has another kind of values in it.
    """
    left = Frame.of(reference, role="reference")
    right = Frame.of(current, names=_borrowed(left, current), role="current")
    if columns is not None:
        columns = [columns] if isinstance(columns, str) else list(columns)
        left, right, added = left.select(columns, role="reference"), right.select(columns, role="current"), []
    else:
        if not left.columns:
            raise DataError("reference has no columns: there is nothing to compare")
        if lost := [name for name in left.names if name not in right.columns]:
            raise DataError(
                f"current has no column {_list(lost)}, which the reference has; "
                f"it has {_list(right.names)}. Compare the others with columns=[...]",
                lost[0],
            )
        added = [name for name in right.names if name not in left.columns]
        right = right.select(left.names)
    for name, column in left.columns.items():
        right.columns[name] = _same_kind(column, right.columns[name])
    return left, right, f"left out, as the reference has no such column: {_list(added)}" if added else ""


def _same_kind(expected: Column, found: Column) -> Column:
    if type(expected) is type(found) or _empty(found):
        return _retyped(expected, found)
    if isinstance(found, Categorical):
        sample = f", such as {found.levels[0]!r}" if found.levels else ""
        raise DataError(
            f"column {expected.name!r} is numeric in the reference ({expected.dtype}) and holds levels in current "
            f"({found.dtype}{sample}); convert it to numbers",
            expected.name,
        )
    raise DataError(
        f"column {expected.name!r} holds levels in the reference ({expected.dtype}) and numbers in current "
        f"({found.dtype}); convert it to text",
        expected.name,
    )


def _empty(column: Column) -> bool:
    """A column without any value has no kind of its own: None throughout is read as float by one library, object by another."""
    return column.missing == (len(column.values) if isinstance(column, Numeric) else len(column.codes))


def _retyped(expected: Column, found: Column) -> Column:
    if type(expected) is type(found):
        return found
    rows = found.missing
    if isinstance(expected, Numeric):
        return Numeric(found.name, np.full(rows, np.nan), found.dtype)
    return Categorical(found.name, np.full(rows, -1, np.intp), [], found.dtype)


def _borrowed(reference: Frame, current: Any) -> list[str] | None:
    """Rows without names are named by the reference, when there are as many columns."""
    if isinstance(current, Frame | Mapping) or hasattr(current, "columns"):
        return None
    return reference.names


def _arrays(data: Any, names: Sequence[str] | None, role: str) -> dict[str, Any]:
    if hasattr(data, "columns") and hasattr(data, "dtypes"):  # a DataFrame, without importing pandas to ask
        _unique([str(name) for name in data.columns], role)
        return {str(name): data.iloc[:, place] for place, name in enumerate(data.columns)}
    if isinstance(data, Mapping):
        return {str(name): _series(values) for name, values in data.items()}
    if hasattr(data, "to_numpy") and hasattr(data, "name"):  # a Series
        return {names[0] if names and len(names) == 1 else str(data.name or "x0"): data}
    if isinstance(data, str | bytes) or not (isinstance(data, Sequence) or hasattr(data, "__array__")):
        raise DataError(
            f"{role} is a {type(data).__name__}; allowed: a DataFrame, an array, a list of rows or of numbers, "
            "a dict of columns, a Frame, a sketch"
        )
    return _of_rows(data, names, role)


def _of_rows(data: Any, names: Sequence[str] | None, role: str) -> dict[str, Any]:
    try:
        table = np.asarray(data)
    except ValueError as exc:
        raise DataError(
            f"{role}: its rows differ in length; every row needs a value, or None, for each column"
        ) from exc
    if table.dtype.kind in "US" and not hasattr(data, "__array__"):
        table = np.asarray(data, dtype=object)  # a list of numbers and words stays what it is
    if table.ndim > 2 or table.ndim == 0:
        raise DataError(f"{role} has {table.ndim} dimensions; allowed: 1 (one column) or 2 (rows, columns)")
    table = table.reshape(len(table), -1) if table.size else table.reshape(0, table.shape[1] if table.ndim == 2 else 1)
    if not table.size and names:
        table = table.reshape(0, len(names)) if table.shape[1] <= 1 else table
    wanted = list(names) if names else [f"x{place}" for place in range(table.shape[1])]
    if len(wanted) != table.shape[1]:
        raise DataError(f"{role} has {table.shape[1]} columns, and there are {len(wanted)} names: {_list(wanted)}")
    return {name: table[:, place] for place, name in enumerate(wanted)}


def _series(values: Any) -> Any:
    if hasattr(values, "dtype"):
        return values
    array = np.asarray(values)
    return np.asarray(values, dtype=object) if array.dtype.kind in "US" else array


def _unique(names: Sequence[str], role: str) -> None:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"{role} has more than one column {_list(twice)}; names must be unique", twice[0])


def _rows(arrays: Mapping[str, Any], role: str) -> int:
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:_SHOWN])
        raise DataError(f"{role}: its columns differ in length: {told}")
    return next(iter(lengths.values()), 0)


def _column(name: str, values: Any, role: str) -> Column:
    dtype = values.dtype
    kind = getattr(dtype, "kind", "O")
    if getattr(values, "ndim", 1) != 1:
        raise DataError(f"{role}: column {name!r} has {values.ndim} dimensions; allowed: 1", name)
    if kind in "iuf" and str(dtype) != "category":
        if isinstance(values, np.ndarray) or isinstance(dtype, np.dtype):
            return Numeric(name, np.asarray(values, dtype=np.float64), str(dtype))
        return Numeric(name, values.to_numpy(dtype=np.float64, na_value=np.nan), str(dtype))  # pandas' Int64, Float64
    if kind in "mMc":
        raise DataError(
            f"{role}: column {name!r} is {dtype}; allowed: numbers, text, booleans, categories. "
            "Convert it to a number (hours, days), or leave it out with columns=[...]",
            name,
        )
    return _of_objects(name, values, str(dtype), role)


def _of_objects(name: str, values: Any, dtype: str, role: str) -> Column:
    """Read text, booleans, categories, and objects of which only a look says what they are."""
    if dtype in {"object", "O"}:
        items = np.asarray(values, dtype=object)
        known = [value for value in items if not _absent(value)]
        if all(_is_number(value) for value in known):  # of nothing, too: a column of None has no kind of its own
            return Numeric(name, np.array([np.nan if _absent(value) else float(value) for value in items]), dtype)
        if any(_is_number(value) for value in known):
            word = next(value for value in known if not _is_number(value))
            number = next(value for value in known if _is_number(value))
            raise DataError(
                f"{role}: column {name!r} mixes numbers and other values ({number!r}, {word!r}); "
                "make them all numbers or all text",
                name,
            )
    return _categorical(name, values, dtype)


def _categorical(name: str, values: Any, dtype: str) -> Categorical:
    if dtype == "category":
        codes, levels = np.asarray(values.cat.codes, dtype=np.intp), [str(level) for level in values.cat.categories]
    elif dtype in {"bool", "boolean"} and isinstance(values, np.ndarray):
        codes, levels = values.astype(np.intp), ["False", "True"]
    else:
        import pandas as pd

        found, uniques = pd.factorize(np.asarray(values, dtype=object), use_na_sentinel=True)
        codes, levels = np.asarray(found, dtype=np.intp), [str(level) for level in uniques]
    return Categorical(name, *_sorted(codes, levels), dtype)


def _sorted(codes: Codes, levels: list[str]) -> tuple[Codes, list[str]]:
    """Sort the levels by their text, and make equal texts one level."""
    if not levels:
        return codes, []
    names, places = np.unique(np.array(levels, dtype=object), return_inverse=True)
    moved = np.append(places.astype(np.intp), -1)  # the last one is where -1 points
    return moved[codes], [str(name) for name in names]


def _absent(value: Any) -> bool:
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or bool(value != value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
