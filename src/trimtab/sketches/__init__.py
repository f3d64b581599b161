"""What is kept of data instead of the data: a schema, a reference fixed when a model is logged, and sketches that add up.

Read `schema.py` and `reference.py` first. They load without numpy; `Sketch` needs it, and loads when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.sketches.reference import CategoricalReference, ColumnReference, NumericReference, Reference, Role
from trimtab.sketches.schema import Column, Schema

if TYPE_CHECKING:
    from trimtab.sketches.sketch import Sketch

__all__ = [
    "CategoricalReference",
    "Column",
    "ColumnReference",
    "NumericReference",
    "Reference",
    "Role",
    "Schema",
    "Sketch",
]


def __getattr__(name: str) -> Any:
    if name != "Sketch":
        raise AttributeError(f"module 'trimtab.sketches' has no attribute {name!r}")
    from trimtab.sketches.sketch import Sketch

    return Sketch
