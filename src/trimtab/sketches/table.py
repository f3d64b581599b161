"""A table, whatever it came as (DataFrame, array, mapping of columns), read column by column as numbers or as levels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.sketches.levels import is_missing
from trimtab.sketches.schema import Column, Kind

Floats = npt.NDArray[np.float64]

_NARROW = {"float16": np.float16, "float32": np.float32}
_LOOK = 10_000
"""Values of a column of objects that decide its kind, the first ones that are not missing."""


def columns(frame: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Take a table apart into its columns, by name and in order. Errors: DataError."""
    if isinstance(frame, Mapping):
        found = [(str(name), values) for name, values in frame.items()]
    elif hasattr(frame, "columns") and hasattr(frame, "iloc"):
        found = _of_frame(frame)
    else:
        found = _of_array(frame, names)
    table = dict(found)
    if len(table) < len(found):
        listed = [name for name, _ in found]
        twice = next(name for name in listed if listed.count(name) > 1)
        raise DataError(f"two columns are named {twice!r}; give every column a name of its own", twice)
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the columns differ in length: {lengths}; a table has the same number of values in each")
    return table


def height(table: Mapping[str, Any]) -> int:
    """Count the rows of a table that was taken apart."""
    return next((len(values) for values in table.values()), 0)


def describe(frame: Any, names: Sequence[str] | None = None) -> list[Column]:
    """Say of each column what kind it is. Errors: DataError."""
    return [_column(name, values) for name, values in columns(frame, names).items()]


def numbers(values: Any, dtype: str = "float64") -> tuple[Floats, int]:
    """Give a column as float64, NaN for what is missing or no number, and how many of those are no numbers.

    Dates become seconds since 1970 (those without a zone are UTC), durations seconds, True 1 and text what `float`
    makes of it. Where the column was logged as float32 or float16, values are rounded to that first: 0.1 from JSON then
    meets the 0.1 of the reference.
    """
    array = _plain(values)
    if array.dtype.kind in "fiub":
        found, invalid = array.astype(np.float64, copy=False), 0
    elif array.dtype.kind in "Mm":
        found, invalid = _seconds(array), 0
    else:
        found, invalid = _parsed(array, dates=_is_time(dtype))
    if dtype in _NARROW and array.dtype != _NARROW[dtype]:
        with np.errstate(over="ignore"):
            found = found.astype(_NARROW[dtype]).astype(np.float64)
    return np.ascontiguousarray(found), invalid


def objects(values: Any) -> list[Any]:
    """Give a column as a list of Python objects."""
    if isinstance(values, list):
        return values
    if hasattr(values, "categories") or hasattr(values, "cat"):
        return list(values)
    array = _plain(values)
    return list((array.astype("datetime64[us]") if array.dtype.kind == "M" else array).tolist())


def _of_frame(frame: Any) -> list[tuple[str, Any]]:
    return [(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]


def _of_array(frame: Any, names: Sequence[str] | None) -> list[tuple[str, Any]]:
    if not isinstance(frame, np.ndarray):
        raise DataError(
            f"found a {type(frame).__name__}, allowed: a DataFrame, a two-dimensional array, or a mapping of names to columns"
        )
    if frame.ndim != 2:
        raise DataError(f"found an array of {frame.ndim} dimensions, allowed: 2 (rows x columns); reshape it")
    if names is not None and len(names) != frame.shape[1]:
        raise DataError(f"found {len(names)} names for an array of {frame.shape[1]} columns; give one for each")
    turned = np.ascontiguousarray(frame.T)
    given = names if names is not None else [f"f{place}" for place in range(len(turned))]
    return list(zip(map(str, given), turned, strict=True))


def _column(name: str, values: Any) -> Column:
    dtype = _dtype(values)
    if dtype.startswith(("complex", "Sparse[complex")):
        raise DataError(f"column {name!r} holds complex numbers; split it into its real and imaginary part", name)
    return Column(name=name, kind=_kind(values, dtype), dtype=dtype)


def _dtype(values: Any) -> str:
    dtype = getattr(values, "dtype", None)
    if dtype is None:
        return _dtype(_plain(values))
    name = str(dtype)
    return "str" if re.match(r"[<>|]?[US]\d|string|str", name) else name


def _is_time(dtype: str) -> bool:
    """Tell types that are seconds here: numpy's, pandas' and Arrow's dates and durations."""
    return dtype.startswith(("datetime", "timedelta", "timestamp", "duration", "date32", "date64"))


def _kind(values: Any, dtype: str) -> Kind:
    lowered = dtype.lower().removeprefix("sparse[")
    if re.match(r"(float|double|halffloat|longdouble|decimal|u?int\d)", lowered) or _is_time(lowered):
        return "numeric"
    if dtype != "object":
        return "categorical"
    some = (value for value in objects(values) if not is_missing(value))
    shown = [value for value, _ in zip(some, range(_LOOK), strict=False)]
    return "numeric" if all(_is_number(value) for value in shown) else "categorical"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_ | str | bytes):
        return False
    if isinstance(value, date | timedelta | np.datetime64 | np.timedelta64):
        return True
    return hasattr(value, "__float__") and not isinstance(value, complex) and np.ndim(value) == 0


def _plain(values: Any) -> npt.NDArray[Any]:
    """Give a column as an array of numpy's own types: pandas' nullable numbers as floats, its dates as UTC."""
    if isinstance(values, np.ndarray):
        return values
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype):
        return np.asarray(values)
    if dtype is None:
        return _listed(values)
    if getattr(dtype, "tz", None) is not None:
        return np.asarray(values.astype("datetime64[us, UTC]").to_numpy(dtype="datetime64[us]"))
    if getattr(dtype, "kind", "O") in "fiub":
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(values, dtype=object)


def _listed(values: Any) -> npt.NDArray[Any]:
    """Make an array of a list: of floats where numpy sees numbers alone, otherwise of the objects as they are."""
    values = list(values)
    kinds = set(map(type, values))
    if kinds <= {int, float, type(None)} and kinds != {type(None)} and kinds:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:  # an integer beyond float64
            pass
    return np.fromiter(values, dtype=object, count=len(values))


def _seconds(array: npt.NDArray[Any]) -> Floats:
    unit = "datetime64[us]" if array.dtype.kind == "M" else "timedelta64[us]"
    ticks = array.astype(unit)
    found = ticks.astype(np.int64) / 1e6
    found[np.isnat(ticks)] = np.nan
    return np.asarray(found, dtype=np.float64)


def _parsed(array: npt.NDArray[Any], *, dates: bool) -> tuple[Floats, int]:
    found, invalid = np.full(len(array), np.nan), 0
    for place, value in enumerate(array.tolist()):
        if is_missing(value):
            continue
        number = _number(value, dates=dates)
        if number is None:
            invalid += 1
        else:
            found[place] = number
    return found, invalid


def _number(value: Any, *, dates: bool) -> float | None:
    """Read one object as a number; None if it is none."""
    try:
        if dates and isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        if isinstance(value, timedelta):
            return value.total_seconds()
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
