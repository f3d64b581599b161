"""Fix the bins and levels of a reference on training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trimtab.errors import DataError
from trimtab.sketches.levels import tally
from trimtab.sketches.reference import (
    LEVELS,
    CategoricalReference,
    ColumnReference,
    NumericReference,
    Reference,
    Role,
)
from trimtab.sketches.schema import Column, Schema
from trimtab.sketches.sketch import Sketch
from trimtab.sketches.table import columns, describe, height, numbers, objects

Floats = npt.NDArray[np.float64]

_LEAST = 8
"""Rows to a bin at least: with fewer, rows like those of the training data would miss every bin."""
_CLASSES = 32
"""Whole numbers as predictions or labels are classes up to so many different ones; above, they are amounts."""
_LARGEST = float(np.finfo(np.float64).max)


def fit(
    frame: Any,
    *,
    names: Sequence[str] | None,
    schema: Schema | None,
    predictions: Any,
    labels: Any,
    bins: int,
    sample: int,
) -> Reference:
    """Fit a reference; see Reference.fit."""
    if bins < 1 or sample < 0:
        raise DataError(f"found bins={bins} and sample={sample}, allowed: bins from 1, sample from 0")
    if schema is not None and names is None and isinstance(frame, np.ndarray):
        names = schema.names
    table = columns(frame, names)
    described: list[tuple[Column, Role]] = [(column, "input") for column in _described(table, schema)]
    for name, role, values in (("prediction", "prediction", predictions), ("label", "label", labels)):
        if values is not None:
            described.append((_named(name, values, table, [column for column, _ in described]), role))  # type: ignore[arg-type]
            table[name] = values
    fixed = [_fixed(column, role, table[column.name], bins) for column, role in described]
    empty = Reference(columns=fixed, rows=height(table))
    reference = Reference(columns=_filled(Sketch.of(empty, table, sample=0)), rows=empty.rows)
    own = Sketch.of(reference, table, sample=sample)
    return Reference(columns=reference.columns, rows=reference.rows, data=own.to_bytes())


def edges(values: Floats, bins: int = 64) -> list[float]:
    """Place edges for finite values: at quantiles, with a bin of its own for every value that holds a bin's share."""
    n = len(values)
    if not n:
        return []
    ordered = np.sort(values) + 0.0  # + 0.0: there is one zero
    bins = max(1, min(bins, n // _LEAST))
    found, counts = np.unique(ordered, return_counts=True)
    atoms = found if len(found) == 1 else found[counts > max(n / bins, 1)]
    inner = ordered[(np.arange(bins + 1) * n) // bins - (np.arange(bins + 1) == bins)]
    with np.errstate(over="ignore"):
        after = np.nextafter(atoms, np.inf)
    placed = np.concatenate((inner, atoms, after[after <= _LARGEST], np.nextafter(atoms[atoms == _LARGEST], 0)))
    return [float(edge) for edge in np.unique(placed)]


def _described(table: dict[str, Any], schema: Schema | None) -> list[Column]:
    if schema is None:
        return describe(table)
    absent = [name for name in schema.names if name not in table]
    if absent:
        raise DataError(
            f"found no column {', '.join(map(repr, absent))}; the table has {', '.join(table) or 'none'}", absent[0]
        )
    return schema.columns


def _named(name: str, values: Any, table: dict[str, Any], taken: list[Column]) -> Column:
    if any(column.name == name for column in taken):
        raise DataError(f"an input is named {name!r}, which is kept for the model's {name}; rename the input", name)
    if len(values) != height(table):
        raise DataError(f"found {len(values)} {name}s for {height(table)} rows; give one for each", name)
    column = describe({name: values})[0]
    if column.dtype.lower().startswith(("int", "uint")) and len(tally(objects(values))[0]) <= _CLASSES:
        return replace(column, kind="categorical")
    return column


def _fixed(column: Column, role: Role, values: Any, bins: int) -> ColumnReference:
    """Give a column's bins or levels, without counts."""
    if column.kind == "numeric":
        found, _ = numbers(values, column.dtype)
        placed = edges(found[np.isfinite(found)], bins)
        return NumericReference(name=column.name, dtype=column.dtype, role=role, edges=placed)
    counts, _ = tally(objects(values), column.dtype)
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:LEVELS]
    return CategoricalReference(name=column.name, dtype=column.dtype, role=role, levels=sorted(frequent))


def _filled(sketch: Sketch) -> list[ColumnReference]:
    """Write what was counted into the reference's columns."""
    return [_counted(column, sketch) for column in sketch.reference.columns]


def _counted(column: ColumnReference, sketch: Sketch) -> ColumnReference:
    found: Any = sketch.columns[column.name]
    if isinstance(column, CategoricalReference):
        return replace(column, counts=found.counts.tolist(), other=found.unseen, missing=found.missing)
    return replace(
        column,
        counts=found.inner.tolist(),
        missing=found.missing,
        invalid=found.invalid,
        positive_infinite=found.positive_infinite,
        negative_infinite=found.negative_infinite,
        n=found.n,
        mean=found.mean if found.n and math.isfinite(found.mean) else None,
        std=found.std,
        min=found.min if found.n else None,
        max=found.max if found.n else None,
    )
