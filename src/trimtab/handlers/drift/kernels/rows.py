"""Methods that compare rows take sketches as well, by the uniform sample of rows that a sketch keeps; beside one, a table has its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from trimtab.errors import DataError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import Result

__all__ = ["on_rows", "sampled"]

P = ParamSpec("P")
Test = Callable[Concatenate[Frame, Frame, P], Result]


def on_rows(method: Test[P]) -> Test[P]:
    """Give the method the sampled rows in the place of a sketch; its answer counts all rows, and says how many it saw."""

    @wraps(method)
    def tested(reference: Frame, current: Frame, /, *args: P.args, **params: P.kwargs) -> Result:
        left, right = sampled(reference, "reference"), sampled(current, "current")
        result = method(left, right, *args, **params)
        told = [
            f"{after.rows} sampled of {before.rows} rows of {role}"
            for role, before, after in (("the reference", reference, left), ("current", current, right))
            if before.sketch is not None and before.table is None
        ]
        result.n_reference, result.n_current = reference.rows, current.rows
        result.message = "; ".join(text for text in (result.message, " and ".join(told)) if text)
        return result

    return tested


def sampled(frame: Frame, role: str) -> Frame:
    """Give a sketch's sampled rows as a frame; any other frame as it is. Errors: DataError (none were sampled)."""
    if frame.sketch is None:
        return frame
    if frame.table is not None:
        names = frame.sketch.reference.inputs
        return Frame.of(frame.table, names=names, role=role, kinds=frame.columns).select(frame.names)
    table = frame.sketch.sample()
    chosen = {name: table[name] for name in frame.names}
    if frame.rows and not any(len(values) for values in chosen.values()):
        raise DataError(
            f"{role}: no rows were sampled when it was sketched, and this method compares rows; "
            "give tables on both sides, or sketches with sample= above 0"
        )
    return Frame.of(chosen, role=role, kinds=frame.columns)
