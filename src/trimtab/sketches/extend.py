"""A reference with more columns than the training data had: those of what a model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trimtab.sketches.reference import CategoricalReference, ColumnReference, NumericReference, Reference, Role

if TYPE_CHECKING:
    from trimtab.sketches.sketch import Sketch


def extend(reference: Reference, columns: Sequence[ColumnReference]) -> Reference:
    """Add columns to a reference; its sketch goes with it, and holds no row in them. Names must be new."""
    extended = replace(reference, columns=[*reference.columns, *columns], data=b"")
    return replace(extended, data=_widened(reference, extended).to_bytes()) if reference.data else extended


def blank(column: ColumnReference, name: str, role: Role) -> ColumnReference:
    """Give a column with the bins or levels of another one, and no counts."""
    if isinstance(column, CategoricalReference):
        return CategoricalReference(
            name=name, dtype=column.dtype, role=role, levels=column.levels, counts=[0] * len(column.levels)
        )
    return NumericReference(
        name=name, dtype=column.dtype, role=role, edges=column.edges, counts=[0] * len(column.counts)
    )


def _widened(reference: Reference, extended: Reference) -> Sketch:
    from trimtab.sketches.sketch import Sketch

    own, wide = reference.sketch(), Sketch.empty(extended)
    nothing = tuple(
        float("nan") if isinstance(column, NumericReference) else None
        for column in extended.columns[len(reference.columns) :]
    )
    wide.columns.update(own.columns)
    wide.rows = own.rows
    wide.reservoir = replace(own.reservoir, rows=[(*row, *nothing) for row in own.reservoir.rows])
    return wide
