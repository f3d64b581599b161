"""What a record looks like in the log: the inputs under their own names, and what else is known under `_` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trimtab.handlers.monitor.outputs import label_column
from trimtab.handlers.records import Inference, Label
from trimtab.sketches.levels import texts
from trimtab.sketches.reference import ColumnReference, NumericReference, Reference
from trimtab.sketches.table import numbers


def inferences(reference: Reference, records: list[tuple[str, Inference]]) -> pa.Table:
    """Make the rows of records, which come with their events' identities.

    Numeric columns are float64 (dates: timestamps), others text; what is missing, or no number in a numeric column, is
    null. An input whose name begins with `_` gets `input.` in front.
    """
    found: dict[str, Any] = {
        "_event": pa.array([name for name, record in records for _ in range(record.rows)], pa.string()),
        "_id": pa.array([name for _, record in records for name in record.ids], pa.string()),
        "_request": pa.array([name for _, record in records for name in record.requests], pa.string()),
        "_time": _timestamps(np.array([time for _, record in records for time in record.times], dtype=np.float64)),
        "_latency_us": pa.array([value for _, record in records for value in record.latency_us], pa.int64()),
        "_model": pa.array([record.model for _, record in records for _ in range(record.rows)], pa.string()),
        "_version": pa.array([record.model_version for _, record in records for _ in range(record.rows)], pa.string()),
        "_prediction": _predictions(reference, records),
        "_probabilities": pa.array(
            [row for _, record in records for row in _certainties(record)],
            pa.list_(pa.float64()),
        ),
    }
    for column in reference.columns:
        if column.role == "input":
            name = f"input.{column.name}" if column.name.startswith("_") else column.name
            found[name] = _column(column, _values(column.name, records))
    return pa.table(found)


def labels(reference: Reference | None, records: list[tuple[str, Label]]) -> pa.Table:
    """Make the rows of labels, whose type follows the reference's label (without one: text)."""
    values = [value for _, record in records for value in record.labels]
    column = label_column(reference) if reference is not None else None
    return pa.table(
        {
            "_event": pa.array([name for name, record in records for _ in record.ids], pa.string()),
            "_id": pa.array([name for _, record in records for name in record.ids], pa.string()),
            "_label": _texts(values) if column is None else _column(column, values),
        }
    )


def _predictions(reference: Reference, records: list[tuple[str, Inference]]) -> pa.Array[Any]:
    values = [value for _, record in records for value in record.predictions]
    column = next((column for column in reference.columns if column.name == "prediction"), None)
    if column is None or column.role != "prediction":  # several outputs: as text, one for each row
        return _texts(values)
    return _column(column, values)


def _certainties(record: Inference) -> Sequence[list[float | None] | None]:
    return record.probabilities or [None] * record.rows


def _values(name: str, records: list[tuple[str, Inference]]) -> list[Any]:
    found: list[Any] = []
    for _, record in records:
        place = record.columns.index(name) if name in record.columns else None
        found += [None] * record.rows if place is None else record.inputs[place]
    return found


def _column(column: ColumnReference, values: list[Any]) -> pa.Array[Any]:
    if not isinstance(column, NumericReference):
        return _texts(values, column.dtype)
    found, _ = numbers(values, column.dtype)
    if column.dtype.startswith("datetime"):
        return _timestamps(found)
    return pa.array(found, pa.float64(), from_pandas=True)


def _texts(values: list[Any], dtype: str = "") -> pa.Array[Any]:
    return pa.array(texts(values, dtype), pa.string())


def _timestamps(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Array[Any]:
    finite = np.isfinite(seconds) & (np.abs(seconds) < 2**43)  # what fits in microseconds
    ticks = np.round(np.where(finite, seconds, 0.0) * 1e6).astype(np.int64)
    return pa.array(ticks, mask=~finite).cast(pa.timestamp("us", "UTC"))
