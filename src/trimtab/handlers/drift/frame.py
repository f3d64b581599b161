"""A sample as every method sees it: typed columns, missing values counted, from whatever table the caller has.

Kinds and texts are those of `trimtab.sketches`: numbers, dates and durations (in seconds) are numeric; text, booleans and
pandas' categories are categorical, and compared by their text. None, NaN and NaT are missing. Infinities are values: the
smallest and the largest that there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.handlers.drift.column import Categorical, CategoricalCounts, Column, Numeric, NumericCounts
from trimtab.sketches.levels import level
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.reference import NumericReference, Reference
from trimtab.sketches.schema import Column as Described
from trimtab.sketches.sketch import Sketch
from trimtab.sketches.table import columns as taken_apart
from trimtab.sketches.table import describe, height, numbers, objects

__all__ = ["Frame", "paired"]

Floats = npt.NDArray[np.float64]

_SHOWN = 8  # names that a message lists
_BLOCK = 512  # rows that are turned at once: both sides of the copy stay in the processor's cache


class Frame:
    """Named, typed columns of one sample. `sketch` is what it was made of, where that is a sketch.

    `table` is what was sketched only to be counted by the other side's bins: methods that compare rows read it.
    """

    def __init__(
        self, columns: Mapping[str, Column], rows: int, sketch: Sketch | None = None, table: Any = None
    ) -> None:
        self.columns, self.rows, self.sketch, self.table = dict(columns), rows, sketch, table

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        names: Sequence[str] | None = None,
        role: str = "data",
        kinds: Mapping[str, Column] | None = None,
    ) -> Frame:
        """Read a table: a DataFrame, a Series, an array of rows, a list of rows or of numbers, a dict of columns, a sketch.

        `names` are the columns' names where the table has none (f0, f1 ... without them). `kinds` are the columns of the
        other sample, which decide how these are read. A `Frame` is returned as it is, with what it has computed already.
        Raises `DataError` where the table is none, or a column cannot be compared; `role` is what the message calls it.
        """
        if isinstance(data, Frame):
            return data
        if isinstance(data, Reference):
            data = data.sketch()
        if isinstance(data, Sketch):
            return cls({name: _counted(data, name) for name in data.reference.names}, data.rows, data)
        try:
            table = taken_apart(_shaped(data, names), names)
            return cls(_columns(table, kinds or {}), height(table))
        except DataError as exc:
            raise DataError(f"{role}: {exc}", exc.column) from exc

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
        return Frame({name: self.columns[name] for name in names}, self.rows, self.sketch, self.table)

    def matrix(self, *, role: str = "data") -> Floats:
        """Give the rows that are complete (no missing, no infinite value) as float64, of shape (rows, columns).

        Of a sketch these are the rows of its uniform sample. Raises `DataError` when a column is categorical.
        """
        if words := [column.name for column in self.categorical]:
            raise DataError(
                f"{role}: this method compares numbers, and {_list(words)} holds levels; "
                "encode them, or name the other columns with columns=[...]",
                words[0],
            )
        if self.sketch is not None:
            sampled = self.sketch.sample()
            arrays = [sampled[name] for name in self.columns]
        else:
            arrays = [column.values for column in self.numeric]
        table = np.column_stack(arrays) if arrays else np.empty((0, 0))
        whole = np.isfinite(table).all(axis=1)
        return table if whole.all() else table[whole]


def paired(reference: Any, current: Any, columns: Sequence[str] | None = None) -> tuple[Frame, Frame, str]:
    """Read both samples and see that they can be compared: the same columns, of the same kinds, in the same order.

    Gives both frames and a remark. The reference's kinds decide; where one side is a sketch, the other is counted by its
    bins. Columns that only `current` has are left out, and the remark names them. Raises `DataError` when `current` lacks
    a column of the reference.
    """
    wanted = [columns] if isinstance(columns, str) else columns
    left, right = _read(reference, current)
    if wanted is not None:
        return left.select(wanted, role="reference"), right.select(wanted, role="current"), ""
    if not left.columns:
        raise DataError("reference has no columns: there is nothing to compare")
    if lost := [name for name in left.names if name not in right.columns]:
        raise DataError(
            f"current has no column {_list(lost)}, which the reference has; it has {_list(right.names)}. "
            "Compare the others with columns=[...]",
            lost[0],
        )
    added = [name for name in right.names if name not in left.columns]
    remark = f"left out, as the reference has no such column: {_list(added)}" if added else ""
    return left, right.select(left.names), remark


def _read(reference: Any, current: Any) -> tuple[Frame, Frame]:
    sketched = [side for side in (_sketch(reference), _sketch(current)) if side is not None]
    if len(sketched) == 2 and sketched[0].reference.digest != sketched[1].reference.digest:
        raise DataError(
            "the sketches are of different references, so that their bins differ; sketch both by one reference"
        )
    if sketched:
        left, right = (_sketch_of(sketched[0].reference, side, role) for side, role in _roles(reference, current))
        live = _filled(left, right)
        return _framed(reference, left).select(live), _framed(current, right).select(live)
    left_frame = Frame.of(reference, role="reference")
    return left_frame, Frame.of(current, names=_borrowed(left_frame, current), role="current", kinds=left_frame.columns)


def _roles(reference: Any, current: Any) -> list[tuple[Any, str]]:
    return [(reference, "reference"), (current, "current")]


def _sketch(data: Any) -> Sketch | None:
    if isinstance(data, Frame):
        return data.sketch
    if isinstance(data, Reference):
        return data.sketch()
    return data if isinstance(data, Sketch) else None


def _sketch_of(reference: Reference, data: Any, role: str) -> Sketch:
    """Count a table by the other side's bins."""
    found = _sketch(data)
    if found is not None:
        return found
    if isinstance(data, Frame):
        raise DataError(f"{role}: a fitted frame cannot be compared with a sketch; give the table that it was made of")
    try:
        return Sketch.of(reference, _shaped(data, reference.inputs), sample=0)
    except DataError as exc:
        raise DataError(f"{role}: {exc}", exc.column) from exc


def _framed(data: Any, sketch: Sketch) -> Frame:
    """Give a side's frame: the one that it is, or that of its sketch with the table that was sketched."""
    if isinstance(data, Frame):
        return data
    frame = Frame.of(sketch)
    frame.table = None if _sketch(data) is not None else _shaped(data, sketch.reference.inputs)
    return frame


def _filled(left: Sketch, right: Sketch) -> list[str]:
    """Name the columns to compare: the inputs, and what else (predictions, labels) both sides have seen."""
    inputs = set(left.reference.inputs)
    return [
        name
        for name in left.reference.names
        if name in inputs or all(side.columns[name].rows or not side.rows for side in (left, right))
    ]


def _counted(sketch: Sketch, name: str) -> Column:
    column, found = sketch.reference[name], sketch.columns[name]
    if isinstance(column, NumericReference):
        assert isinstance(found, NumericSketch)
        return NumericCounts(column, found)
    assert not isinstance(found, NumericSketch)
    return CategoricalCounts(column, found)


def _borrowed(reference: Frame, current: Any) -> list[str] | None:
    """Rows without names are named by the reference."""
    return None if isinstance(current, Frame | Mapping) or hasattr(current, "columns") else reference.names


def _shaped(data: Any, names: Sequence[str] | None) -> Any:
    """Give a DataFrame or a mapping as it is, and everything else as an array of rows."""
    if hasattr(data, "columns") and hasattr(data, "dtypes"):
        return _turned(data)
    if isinstance(data, Mapping):
        return data
    if hasattr(data, "to_numpy") and hasattr(data, "name"):  # a Series
        return {names[0] if names and len(names) == 1 else str(data.name if data.name is not None else "f0"): data}
    if isinstance(data, str | bytes) or not (isinstance(data, Sequence) or hasattr(data, "__array__")):
        raise DataError(
            f"found a {type(data).__name__}, allowed: a DataFrame, an array, a list of rows or of numbers, "
            "a dict of columns, a sketch"
        )
    return _rows(data, names)


def _rows(data: Any, names: Sequence[str] | None) -> npt.NDArray[Any]:
    try:
        table = np.asarray(data)
    except ValueError as exc:
        raise DataError("its rows differ in length; every row needs a value, or None, for each column") from exc
    if table.dtype.kind in "US" and not hasattr(data, "__array__"):
        table = np.asarray(data, dtype=object)  # a list of numbers and words stays what it is
    if table.ndim not in (1, 2):
        raise DataError(f"found {table.ndim} dimensions, allowed: 1 (one column) or 2 (rows x columns)")
    if not table.size and table.shape[-1] == 0:
        return table.reshape(0, len(names) if names else 1)
    return table.reshape(len(table), -1) if table.ndim == 1 else table


def _turned(frame: Any) -> Any:
    """Give a DataFrame of float64 throughout as contiguous columns; any other as it is.

    pandas keeps a frame that was made of an array row by row, so that each column would be read with a stride.
    """
    names = [str(name) for name in frame.columns]
    if not names or len(set(names)) < len(names) or any(dtype != np.float64 for dtype in frame.dtypes):
        return frame
    table = frame.to_numpy()
    turned = table.T
    if not turned.flags.c_contiguous:
        turned = np.empty(table.shape[::-1])
        for start in range(0, len(table), _BLOCK):
            turned[:, start : start + _BLOCK] = table[start : start + _BLOCK].T
    return dict(zip(names, turned, strict=True))


def _columns(table: Mapping[str, Any], kinds: Mapping[str, Column]) -> dict[str, Column]:
    return {column.name: _column(column, table[column.name], kinds.get(column.name)) for column in describe(table)}


def _column(described: Described, values: Any, like: Column | None) -> Column:
    """Read a column, as the reference's is where there is one."""
    name, dtype = described.name, described.dtype
    numeric = described.kind == "numeric" if like is None else isinstance(like, Numeric)
    if not numeric:
        return _categorical(name, values, dtype if like is None else like.dtype)
    found, invalid = numbers(values, dtype if like is None else like.dtype)
    if invalid:
        places = np.flatnonzero(np.isnan(found))
        words = [value for value in (objects(values)[place] for place in places) if level(value) is not None]
        raise DataError(
            f"column {name!r} is numeric in the reference, and {invalid} of its {len(found)} values here are no numbers, "
            f"such as {words[0]!r}; convert them, or make them missing",
            name,
        )
    return Numeric(name, found, dtype)


def _categorical(name: str, values: Any, dtype: str) -> Categorical:
    places: dict[str, int] = {}
    known: dict[tuple[type, Any], int] = {}
    codes = np.empty(len(values), np.intp)
    for place, value in enumerate(objects(values)):
        try:
            key = type(value), value
            code = known.get(key)
        except TypeError:  # lists and dicts have no hash
            key = type(value), repr(value)
            code = known.get(key)
        if code is None:
            text = level(value, dtype)
            code = known[key] = -1 if text is None else places.setdefault(text, len(places))
        codes[place] = code
    return Categorical(name, codes, list(places), dtype)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
