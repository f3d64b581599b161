"""What is kept of the rows of a window: it grows with the columns, not with the traffic, and windows add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trimtab.errors import DataError
from trimtab.sketches import wire
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.levels import level
from trimtab.sketches.numeric import NumericSketch, bounds
from trimtab.sketches.reference import SAMPLE, ColumnReference, NumericReference, Reference
from trimtab.sketches.reservoir import Priorities, Reservoir, priorities, scattered
from trimtab.sketches.table import columns, height, numbers, objects

__all__ = ["ColumnSketch", "Sketch", "priorities"]

ColumnSketch = NumericSketch | CategoricalSketch


class Sketch:
    """A window of rows, counted by the bins and levels of one reference.

    Merging is associative and commutative, and equal to one pass over all rows: exactly in every count, extreme, bucket
    and sampled row, to rounding in means and standard deviations.
    """

    def __init__(
        self, reference: Reference, columns: dict[str, ColumnSketch], reservoir: Reservoir, rows: int = 0
    ) -> None:
        self.reference, self.columns, self.reservoir, self.rows = reference, columns, reservoir, rows
        self._lookups: dict[str, Any] | None = None

    @classmethod
    def empty(cls, reference: Reference, *, sample: int = SAMPLE) -> Sketch:
        """Start without rows; `sample` of them will be kept as they are."""
        made = {column.name: _empty(column) for column in reference.columns}
        return cls(reference, made, Reservoir.empty(sample))

    @classmethod
    def of(cls, reference: Reference, frame: Any, *, sample: int = SAMPLE) -> Sketch:
        """Sketch one table. Errors: DataError."""
        sketch = cls.empty(reference, sample=sample)
        sketch.update(frame)
        return sketch

    def update(self, frame: Any, *, names: Sequence[str] | None = None, priorities: Priorities | None = None) -> None:
        """Add the rows of a DataFrame, a two-dimensional array or a mapping of names to columns.

        Columns that the reference does not have are passed over; its inputs must be there, its other columns may be.
        `names` are those of an array's columns (without: the reference's inputs). `priorities` decide which rows are
        kept in the sample, one for each (`priorities(event_id, rows)`); without, the rows' places do, which is as good
        for a sketch that stands alone. Errors: DataError; nothing is changed then.
        """
        table = self._table(frame, names)
        rows = height(table) if table or priorities is None else len(priorities)  # rows may be without any column
        if priorities is None:
            priorities = scattered(self.rows, rows)
        elif len(priorities) != rows:
            raise DataError(f"found {len(priorities)} priorities for {rows} rows; give one for each")
        picked = self.reservoir.candidates(priorities)
        sampled = [self._update(column, table.get(column.name), picked) for column in self.reference.columns]
        self.reservoir = self.reservoir.add(
            priorities[picked], list(zip(*sampled, strict=True)) if sampled else [()] * len(picked)
        )
        self.rows += rows

    def merge(self, other: Sketch) -> Sketch:
        """Add up two sketches of one reference; neither is changed. The smaller one of two samples sets its size.

        Errors: DataError.
        """
        if self.reference.digest != other.reference.digest:
            raise DataError(
                f"sketches of different references cannot be merged: {self.reference.digest} and {other.reference.digest}"
            )
        merged = {name: _merged(found, other.columns[name]) for name, found in self.columns.items()}
        return Sketch(self.reference, merged, self.reservoir.merge(other.reservoir), self.rows + other.rows)

    @classmethod
    def total(cls, sketches: Iterable[Sketch]) -> Sketch:
        """Add up one sketch or more. Errors: DataError."""
        found: Sketch | None = None
        for sketch in sketches:
            found = sketch if found is None else found.merge(sketch)
        if found is None:
            raise DataError("there is no sketch to add up; give one at least")
        return found

    def sample(self) -> dict[str, Any]:
        """Give the sampled rows by column: a float64 array (NaN: missing) or a list of levels (None: missing)."""
        turned = list(zip(*self.reservoir.rows, strict=True)) or [()] * len(self.reference.columns)
        return {
            column.name: np.array(values, dtype=np.float64) if isinstance(column, NumericReference) else list(values)
            for column, values in zip(self.reference.columns, turned, strict=True)
        }

    def to_bytes(self) -> bytes:
        """Write the sketch down: compressed, with a version and a checksum, without the reference."""
        return wire.write(self.reference.digest, self.rows, list(self.columns.values()), self.reservoir)

    @classmethod
    def from_bytes(cls, data: bytes, reference: Reference) -> Sketch:
        """Read what `to_bytes` wrote. Errors: DataError (damaged, of another version, of another reference)."""
        rows, found, reservoir = wire.read(data, reference.digest)
        return cls(reference, dict(zip(reference.names, found, strict=True)), reservoir, rows)

    def _table(self, frame: Any, names: Sequence[str] | None) -> dict[str, Any]:
        if names is None and isinstance(frame, np.ndarray):
            names = self.reference.inputs
        table = columns(frame, names)
        missing = [name for name in self.reference.inputs if name not in table]
        if missing:
            raise DataError(
                f"found no column {', '.join(map(repr, missing))}; the reference's inputs are "
                f"{', '.join(self.reference.inputs)}",
                missing[0],
            )
        return table

    def _update(self, column: ColumnReference, values: Any, picked: Any) -> list[Any]:
        """Add one column, and give its part of the rows that could be sampled."""
        sketch = self.columns[column.name]
        if isinstance(sketch, NumericSketch):
            if values is None:
                return [float("nan")] * len(picked)
            found, invalid = numbers(values, column.dtype)
            sketch.update(found, self._lookup(column), invalid)
            return list(found[picked].tolist())
        if values is None:
            return [None] * len(picked)
        listed = objects(values)
        sketch.update(listed, self._lookup(column), column.dtype)
        return [level(listed[place], column.dtype) for place in picked]

    def _lookup(self, column: ColumnReference) -> Any:
        """Give what a column's values are looked up in; made when the first rows come."""
        if self._lookups is None:
            self._lookups = {found.name: _looked_up(found) for found in self.reference.columns}
        return self._lookups[column.name]


def _empty(column: ColumnReference) -> ColumnSketch:
    if isinstance(column, NumericReference):
        return NumericSketch.empty(column)
    return CategoricalSketch.empty(column)


def _merged(one: ColumnSketch, two: ColumnSketch) -> ColumnSketch:
    if isinstance(one, NumericSketch):
        assert isinstance(two, NumericSketch)
        return one.merge(two)
    assert isinstance(two, CategoricalSketch)
    return one.merge(two)


def _looked_up(column: ColumnReference) -> Any:
    if isinstance(column, NumericReference):
        return bounds(column)
    return {text: place for place, text in enumerate(column.levels)}
