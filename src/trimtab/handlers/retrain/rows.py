"""Rows that were answered and whose truth is known: for the training, and, kept apart from it, for the comparison.

Which of the two a row is for follows from its id alone, so that neither a later training nor another process ever sees a
held-out row, and the same row is on the same side for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.sketches.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from trimtab.artifacts import ModelSpec
    from trimtab.handlers.monitor.log import Log

LABEL = "label"
"""The label's column where the model does not name it."""
EVER = 2e10
_HOUR = 3600.0


class Rows:
    """The labelled rows of some endpoints, which serve versions of one model. `label` is the label's column."""

    def __init__(self, log: Log, endpoints: Sequence[str], schema: Schema, label: Column) -> None:
        self._log, self._endpoints = log, endpoints
        self.schema, self.label = schema, label

    def read(self, since: float = 0.0, until: float = EVER) -> pd.DataFrame:
        """Read the rows that were answered in a time and have a label.

        The columns are the schema's, in its types where they allow what is missing, and the label's; the index is the
        row's id, and each id is there once: its first answer with its first label.
        """
        import pandas as pd

        parts = [self._of(endpoint, since, until) for endpoint in self._endpoints]
        parts = [part for part in parts if len(part)]
        if not parts:
            return pd.DataFrame(columns=[*self.schema.names, self.label.name])
        found = pd.concat(parts, ignore_index=True).drop_duplicates("_id").set_index("_id").sort_index()
        columns = {column.name: _typed(_column(found, column.name), column) for column in self.schema.columns}
        return pd.DataFrame({**columns, self.label.name: _typed(found["_label"], self.label)}, index=found.index)

    def predictions(self, endpoint: str, since: float) -> pd.Series[Any]:
        """Read what one endpoint answered since a moment, by the rows' ids."""
        found = self._answered(endpoint, since, EVER)
        return found.set_index("_id")["_prediction"]

    def _of(self, endpoint: str, since: float, until: float) -> pd.DataFrame:
        import pandas as pd

        answered = self._answered(endpoint, since, until)
        labels = self._log.read("label", endpoint, max(0.0, since - since % _HOUR - _HOUR)).to_pandas()
        if not len(answered) or not len(labels):
            return pd.DataFrame()
        known = labels.dropna(subset=["_label"]).drop_duplicates("_id")[["_id", "_label"]]
        return answered.merge(known, on="_id")

    def _answered(self, endpoint: str, since: float, until: float) -> pd.DataFrame:
        import pandas as pd

        # Late rows lie under the hour they arrived in, so only the beginning bounds what is read.
        found = self._log.read("inference", endpoint, since - since % _HOUR).to_pandas()
        if not len(found):
            return pd.DataFrame({"_id": [], "_prediction": []})
        times = found["_time"].astype("int64") / (1e9 if "ns" in str(found["_time"].dtype) else 1e6)
        return found[(times >= since) & (times < until)].drop_duplicates("_id")


def label_column(spec: ModelSpec) -> Column:
    """Give the column of a model's label, as it was logged."""
    if spec.label is not None:
        return spec.label
    return Column(name=spec.label_column or LABEL, kind="categorical", dtype="object")


def is_held_out(identity: str, share: float) -> bool:
    """Whether a row is kept out of every training, by its id."""
    drawn = int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")
    return drawn < share * 2**64


def split(frame: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part rows into those to train on and those held out, by their ids, which are the index."""
    held = [is_held_out(str(identity), share) for identity in frame.index]
    inside = [not each for each in held]
    return frame[inside], frame[held]


def _column(frame: pd.DataFrame, name: str) -> Any:
    """An input whose name begins with an underscore has another one in the log."""
    return frame[f"input.{name}" if name.startswith("_") else name]


def _typed(values: Any, column: Column) -> Any:
    """Give values the type in which they were logged with the model: the log knows numbers and texts."""
    if column.dtype in ("bool", "boolean"):
        return values.map({"True": True, "False": False, True: True, False: False})
    whole = column.dtype.startswith(("int", "uint")) and not values.isna().any()
    if whole or column.dtype == "float32":
        return values.astype("float64").astype(column.dtype)
    if column.kind == "numeric" and not column.dtype.startswith("datetime"):
        return values.astype("float64")
    return values
