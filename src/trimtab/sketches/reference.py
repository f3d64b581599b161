"""What a model's training data looked like: fixed when the model is logged, and what every later window is binned by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from trimtab.errors import DataError
from trimtab.sketches.schema import Column, Schema

if TYPE_CHECKING:
    from trimtab.sketches.sketch import Sketch

BINS = 64
"""Bins of a numeric column: the test on them loses next to nothing against the raw values from 16 on, and 64 show tails."""
LEVELS = 256
"""Levels of a categorical column that are counted each; the rarest ones beyond are counted together."""
SAMPLE = 1000
"""Rows of the training data that are kept, for the tests that need rows."""

Role = Literal["input", "prediction", "probability", "label"]
"""What a column is to the model."""


class NumericReference(Struct, frozen=True, kw_only=True, tag="numeric"):
    """A column of numbers, in bins at its own quantiles.

    Bin j is edges[j] <= x < edges[j+1]; the last one is closed. A value that holds more than one bin's share of the rows
    (an atom) has a bin of its own: from the value to the next larger float64. There is no edge where the column held no
    finite number. Dates and durations are seconds (since 1970, UTC).
    """

    name: str
    dtype: str = "float64"
    role: Role = "input"
    edges: list[float] = []
    """Strictly increasing: one more than there are bins."""
    counts: list[int] = []
    """Rows by bin."""
    missing: int = 0
    """None, NaN, NaT."""
    invalid: int = 0
    """What is there and no number."""
    positive_infinite: int = 0
    negative_infinite: int = 0
    n: int = 0
    """Finite numbers; mean to max are of these, and None where there are none (or beyond float64)."""
    mean: float | None = None
    std: float | None = None
    """With n - 1 in the denominator."""
    min: float | None = None
    max: float | None = None


class CategoricalReference(Struct, frozen=True, kw_only=True, tag="categorical"):
    """A column of levels, by their text: True is "True", 3 and 3.0 are "3"."""

    name: str
    dtype: str = "str"
    role: Role = "input"
    levels: list[str] = []
    """The most frequent ones, at most 256, in order of their text."""
    counts: list[int] = []
    """Rows by level."""
    other: int = 0
    """Rows of levels that are not listed."""
    missing: int = 0


ColumnReference = NumericReference | CategoricalReference


class Reference(Struct, frozen=True, kw_only=True, dict=True):
    """The columns of the training data, and the sketch of its rows."""

    columns: list[ColumnReference]
    rows: int
    data: bytes = b""
    """The training data's own sketch, as `Sketch.to_bytes` gives it; read it by `sketch()`."""

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        names: Sequence[str] | None = None,
        schema: Schema | None = None,
        predictions: Any = None,
        labels: Any = None,
        bins: int = BINS,
        sample: int = SAMPLE,
    ) -> Reference:
        """Fix the bins and levels on training data: a DataFrame, a two-dimensional array, or a mapping of columns.

        `schema` says which columns there are and of which kind (without: `Schema.of(frame, names)`). `predictions` and
        `labels`, one for each row, become the columns "prediction" and "label", so that what the model answers, and what
        turns out to be true, can be compared later; whole numbers of at most 32 values are classes there. `bins` is the most, at least eight rows to each; `sample` the rows
        that are kept (0: none). Errors: DataError.
        """
        from trimtab.sketches.fit import fit

        return fit(frame, names=names, schema=schema, predictions=predictions, labels=labels, bins=bins, sample=sample)

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    @property
    def inputs(self) -> list[str]:
        """The names of the model's inputs, in order."""
        return [column.name for column in self.columns if column.role == "input"]

    @property
    def schema(self) -> Schema:
        """The inputs as a schema."""
        return Schema(
            [
                Column(
                    name=column.name,
                    kind="numeric" if isinstance(column, NumericReference) else "categorical",
                    dtype=column.dtype,
                )
                for column in self.columns
                if column.role == "input"
            ]
        )

    def __getitem__(self, name: str) -> ColumnReference:
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"the reference has no column {name!r}; it has {', '.join(self.names) or 'none'}", name)

    @cached_property
    def digest(self) -> str:
        """Name the bins and levels: only sketches of one digest can be merged or compared."""
        return hashlib.sha256(msgspec.json.encode(self.columns)).hexdigest()[:32]

    def sketch(self) -> Sketch:
        """Give the training data's own sketch. Errors: DataError, for a reference that was not fit to data."""
        from trimtab.sketches.sketch import Sketch

        if not self.data:
            raise DataError("this reference holds no sketch of its data; make it by Reference.fit")
        return Sketch.from_bytes(self.data, self)

    def to_json(self) -> bytes:
        """Write the reference down."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Reference:
        """Read what `to_json` wrote. Errors: DataError."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as exc:
            raise DataError(f"this is no reference of a model: {exc}. Log the model again") from exc
