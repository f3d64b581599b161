"""A record of inferences as a table: the model's inputs, what it answered, and how sure it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from trimtab.handlers.records import Inference
from trimtab.sketches.extend import blank, extend
from trimtab.sketches.levels import is_missing, level
from trimtab.sketches.reference import CategoricalReference, ColumnReference, NumericReference, Reference
from trimtab.sketches.schema import Schema

Task = Literal["classification", "regression"]

WIDEST = 16
"""Classes, or outputs, that get a column each; with more classes only the highest probability does."""
_BINS = 64


def watched(reference: Reference | None, record: Inference) -> Reference:
    """Give the reference of all columns of an endpoint: the training data's, and one for each output.

    Without training data the columns and their kinds are those of the record. A prediction is binned like the training
    data's predictions, where they are known, or like its labels.
    """
    if reference is None:
        reference = _learned(record)
    outputs = [*_predictions(reference, record), *_probabilities(record)]
    taken = set(reference.names)
    return extend(reference, [column for column in outputs if column.name not in taken])


def task(reference: Reference, record: Inference) -> Task:
    """Tell classification from regression.

    Classes, probabilities, and predictions that are text, booleans or whole numbers are a classifier's; numbers with a
    fraction are a regression's, unless they are all whole (3.0) and the training data's label has levels.
    """
    values = [value for value in record.predictions if not is_missing(value)]
    if record.classes or record.probabilities or any(isinstance(value, str | bool | int) for value in values):
        return "classification"
    leveled = any(isinstance(column, CategoricalReference) for column in _outcomes(reference))
    whole = all(isinstance(value, float) and value.is_integer() for value in values)
    return "classification" if leveled and whole else "regression"


def table(reference: Reference, record: Inference) -> dict[str, list[Any]]:
    """Give the record's values for each column of the reference; None where it has none."""
    found = dict(zip(record.columns, record.inputs, strict=True))
    nothing = [None] * record.rows
    outputs = {**_answers(record), **_certainties(record)}
    return {
        column.name: found.get(column.name, nothing) if column.role == "input" else outputs.get(column.name, nothing)
        for column in reference.columns
        if column.role != "label"
    }


def label_column(reference: Reference) -> ColumnReference:
    """Give the column that labels are counted by: the training data's label, or the prediction's bins or levels."""
    column = next((column for column in reference.columns if column.role == "label"), None)
    if column is not None:
        return column
    prediction = next((column for column in reference.columns if column.role == "prediction"), None)
    if prediction is None:
        return CategoricalReference(name="label", role="label")
    return blank(prediction, "label", "label")


def is_multiple(record: Inference) -> bool:
    """Say whether the model has several outputs for a row."""
    return any(isinstance(value, list) for value in record.predictions)


def _learned(record: Inference) -> Reference:
    described = Schema.of(dict(zip(record.columns, record.inputs, strict=True))).columns
    columns: list[ColumnReference] = [
        NumericReference(name=column.name)
        if column.kind == "numeric"
        else CategoricalReference(name=column.name, dtype="bool" if column.dtype == "bool" else "str")
        for column in described
    ]
    return Reference(columns=columns, rows=0)


def _outcomes(reference: Reference) -> list[ColumnReference]:
    """Give the training data's predictions and labels, those that it has, in this order."""
    return [column for role in ("prediction", "label") for column in reference.columns if column.role == role]


def _predictions(reference: Reference, record: Inference) -> list[ColumnReference]:
    if is_multiple(record):
        answers = _answers(record)
        return [_learned_output(name, values) for name, values in answers.items()]
    kind = CategoricalReference if task(reference, record) == "classification" else NumericReference
    known = next((column for column in _outcomes(reference) if isinstance(column, kind)), None)
    if known is not None:
        return [] if known.role == "prediction" else [blank(known, "prediction", "prediction")]
    if kind is NumericReference:
        return [NumericReference(name="prediction", role="prediction")]
    levels = sorted({level(value) or "" for value in record.classes or []})
    return [CategoricalReference(name="prediction", role="prediction", levels=levels, counts=[0] * len(levels))]


def _learned_output(name: str, values: list[Any]) -> ColumnReference:
    if Schema.of({name: values}).columns[0].kind == "numeric":
        return NumericReference(name=name, role="prediction")
    return CategoricalReference(name=name, role="prediction")


def _probabilities(record: Inference) -> list[ColumnReference]:
    edges = [place / _BINS for place in range(_BINS + 1)]
    return [
        NumericReference(name=name, role="probability", edges=edges, counts=[0] * _BINS)
        for name in _certainties(record)
    ]


def _answers(record: Inference) -> dict[str, list[Any]]:
    if not is_multiple(record):
        return {"prediction": record.predictions}
    rows = [value if isinstance(value, list) else [value] for value in record.predictions]
    return {f"prediction.{place}": [_at(row, place) for row in rows] for place in range(min(_width(rows), WIDEST))}


def _certainties(record: Inference) -> dict[str, list[Any]]:
    rows = record.probabilities
    if not rows:
        return {}
    names = [level(value) for value in record.classes or range(_width(rows))]
    if len(names) > WIDEST:
        return {"confidence": [max((p for p in row if p is not None), default=None) for row in rows]}
    return {f"probability:{name}": [_at(row, place) for row in rows] for place, name in enumerate(names)}


def _width(rows: Sequence[Sequence[Any]]) -> int:
    return max(map(len, rows), default=0)


def _at(row: Sequence[Any], place: int) -> Any:
    return row[place] if place < len(row) else None
