"""A sketch in figures that people read: what each column held, beside what the reference held."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.reference import CategoricalReference, NumericReference, Role
from trimtab.sketches.sketch import Sketch

SHARES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
_MOST = 20
"""Unseen levels that are shown."""


class NumericSummary(Struct, frozen=True, kw_only=True, tag="numeric"):
    """A numeric column; None where there is no number."""

    name: str
    role: Role
    rows: int
    missing: int
    invalid: int
    positive_infinite: int
    negative_infinite: int
    under: int
    over: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    quantiles: dict[str, float] | None
    quantile_error: float
    """The largest relative error of a quantile."""
    edges: list[float]
    counts: list[int]
    expected: list[int]
    """The reference's counts."""


class CategoricalSummary(Struct, frozen=True, kw_only=True, tag="categorical"):
    """A categorical column."""

    name: str
    role: Role
    rows: int
    missing: int
    levels: dict[str, int]
    expected: dict[str, int]
    """The reference's counts."""
    unseen: int
    unseen_levels: int
    """How many; an estimate (to 6 %) above 256."""
    examples: dict[str, int]
    """The most frequent unseen levels among those that are counted each."""


def summary(sketch: Sketch) -> list[NumericSummary | CategoricalSummary]:
    """Summarise each column."""
    return [_column(column, sketch.columns[column.name]) for column in sketch.reference.columns]


def _column(column: Any, found: NumericSketch | CategoricalSketch) -> NumericSummary | CategoricalSummary:
    if isinstance(found, NumericSketch):
        return _numeric(column, found)
    return _categorical(column, found)


def _numeric(column: NumericReference, found: NumericSketch) -> NumericSummary:
    quantiles = found.quantiles(SHARES)
    return NumericSummary(
        name=column.name,
        role=column.role,
        rows=found.rows,
        missing=found.missing,
        invalid=found.invalid,
        positive_infinite=found.positive_infinite,
        negative_infinite=found.negative_infinite,
        under=found.under,
        over=found.over,
        mean=found.mean if found.n and math.isfinite(found.mean) else None,
        std=found.std,
        min=found.min if found.n else None,
        max=found.max if found.n else None,
        quantiles=None if quantiles is None else {f"{share:g}": q for share, q in zip(SHARES, quantiles, strict=True)},
        quantile_error=found.buckets.error,
        edges=column.edges,
        counts=found.inner.tolist(),
        expected=column.counts,
    )


def _categorical(column: CategoricalReference, found: CategoricalSketch) -> CategoricalSummary:
    frequent = sorted(found.kept.items(), key=lambda item: (-item[1], item[0]))[:_MOST]
    counts = column.counts or [0] * len(column.levels)
    return CategoricalSummary(
        name=column.name,
        role=column.role,
        rows=found.rows,
        missing=found.missing,
        levels=dict(zip(column.levels, found.counts.tolist(), strict=True)),
        expected=dict(zip(column.levels, counts, strict=True)),
        unseen=found.unseen,
        unseen_levels=found.distinct,
        examples=dict(frequent),
    )
