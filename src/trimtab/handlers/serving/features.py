"""What a model takes: its features by name, order, number and type, and requests checked against them.

A request's rows become a table that the model takes as it is: an array of float64 where every feature is a number, a
DataFrame where some are not (or the model looks columns up by name), or a list where nothing is known of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trimtab.errors import PermanentError

if TYPE_CHECKING:
    from trimtab.sketches import Schema

Table = Any
"""ndarray, DataFrame or list: `len` gives the rows."""
Finite = Literal["all", "nan", "any"]
_SHOWN = 8


class Features:
    """The features of one model. `names`, `count`, `kinds` are None where nothing is known.

    `finite` says which numbers the model takes: none but finite ones, NaN too, or any. `frame`: it wants a DataFrame.
    All methods raise PermanentError (400), naming row and feature.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        count: int | None = None,
        dtypes: Sequence[str] | None = None,
        *,
        finite: Finite = "any",
        frame: bool = False,
    ) -> None:
        self.names = list(names) if names is not None else None
        self.count = len(self.names) if self.names is not None else count
        self.dtypes = list(dtypes) if dtypes is not None else None
        self.finite, self.frame = finite, frame
        self.numeric = self.count is not None and all(map(_is_number, self.dtypes or ()))

    @classmethod
    def of(cls, model: Any, schema: Schema | None) -> Features:
        """Take from the logged schema what it says, and the rest from a scikit-learn model itself."""
        names = getattr(model, "feature_names_in_", None)
        count = getattr(model, "n_features_in_", None)
        dtypes = None
        if schema is not None:
            names, dtypes = schema.names, [_dtype(column) for column in schema.columns]
        elif names is not None and _by_name(model):
            dtypes = ["object"] * len(names)  # what they hold is the model's own secret
        named = [str(name) for name in names] if names is not None else None
        return cls(
            named,
            int(count) if isinstance(count, int | np.integer) else None,
            dtypes,
            finite=_finite(model),
            frame=named is not None and (_by_name(model) or not all(map(_is_number, dtypes or ()))),
        )

    # Rows

    def rows(self, inputs: Any, columns: Sequence[str] | None = None) -> Table:
        """Read rows: a list of lists, or an array of two dimensions. `columns` names them in the request's own order."""
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):
            return self.records(inputs)
        if not isinstance(inputs, list | np.ndarray) or len(inputs) == 0:
            raise _refuse("inputs", inputs, "a list of rows, at least one")
        if columns is not None:
            return self.records(list(_under(columns, inputs)))
        if self.count is None:
            return self._unknown(inputs)
        if self.numeric and (found := _numbers(inputs)) is not None and found.ndim == 2 and not _holds_bool(inputs):
            self._check_count(found.shape[1], None)
            return self._checked(found)
        rows = [_row(row, at) for at, row in enumerate(inputs)]
        for at, row in enumerate(rows):
            self._check_count(len(row), at)
        return self._columns([[row[index] for row in rows] for index in range(self.count)])

    def records(self, inputs: Sequence[Any]) -> Table:
        """Read rows that are mappings from names to values, in any order."""
        if len(inputs) == 0:
            raise _refuse("inputs", inputs, "a list of rows, at least one")
        if self.names is None:
            raise _refuse("inputs", inputs[0], "rows as lists: the names of this model's features are not known")
        wanted = set(self.names)
        for at, row in enumerate(inputs):
            if not isinstance(row, dict):
                raise _refuse(f"inputs[{at}]", row, "a mapping, as the first row is")
            if row.keys() != wanted:
                raise PermanentError(f"inputs[{at}]: {self._difference(row)}")
        return self._columns([[row[name] for row in inputs] for name in self.names])

    def tensors(self, tensors: Mapping[str, Any]) -> Table:
        """Read one tensor of all rows, or one for each feature, in any order."""
        if len(tensors) == 1:
            ((name, found),) = tensors.items()
            if found.ndim == 1 and (self.count != 1 or self.names == [name]) and self.count is not None:
                found = found[:, None]
            if found.ndim == 2:
                return self.rows(found)
            if self.count is None:
                return self._unknown(found)
            raise PermanentError(f"input {name!r}: found shape {list(found.shape)}, allowed: [rows, {self.count}]")
        if self.names is None:
            raise PermanentError(f"inputs: found {len(tensors)} tensors, allowed: one, of shape [rows, columns]")
        if tensors.keys() != set(self.names):
            raise PermanentError(f"inputs: {self._difference(tensors)}")
        lengths = {len(found) for found in tensors.values()}
        flat = {name: _flat(name, found) for name, found in tensors.items()}
        if len(lengths) != 1:
            raise PermanentError(f"inputs: found tensors of {_listed(lengths)} rows, allowed: the same number in each")
        if self.numeric and all(found.dtype.kind in "iuf" for found in flat.values()):
            return self._checked(np.column_stack([flat[name].astype(np.float64) for name in self.names]))
        return self._columns([flat[name].tolist() for name in self.names])

    def fast(self, rows: list[list[float]]) -> Table:
        """Read rows that were parsed as lists of numbers already."""
        try:
            found = np.array(rows, dtype=np.float64)
        except ValueError:
            return self.rows(rows)
        if found.ndim != 2 or found.shape[1] != self.count:
            return self.rows(rows)
        return self._checked(found)

    # Checks

    def _check_count(self, found: int, at: int | None) -> None:
        if found != self.count:
            where = "inputs" if at is None else f"inputs[{at}]"
            names = f": {_listed(self.names)}" if self.names is not None else ""
            raise PermanentError(f"{where}: found {found} columns, allowed: {self.count}{names}")

    def _checked(self, table: np.ndarray[Any, Any]) -> Table:
        if len(table) == 0:
            raise _refuse("inputs", [], "a list of rows, at least one")
        if self.finite != "any" and not np.isfinite(table).all():
            self._check_finite(table)
        if not self.frame:
            return table
        import pandas as pd

        return pd.DataFrame(table, columns=self.names)

    def _check_finite(self, table: np.ndarray[Any, Any]) -> None:
        bad = ~np.isfinite(table) if self.finite == "all" else np.isinf(table)
        if bad.any():
            row, column = (int(index) for index in np.argwhere(bad)[0])
            found = float(table[row, column])
            what = "a missing value (null or NaN)" if np.isnan(found) else "an infinity"
            raise PermanentError(f"inputs[{row}], {self._feature(column)}: found {what}, allowed: a finite number")

    def _columns(self, columns: list[list[Any]]) -> Table:
        """Make a table of columns, each checked by its type."""
        dtypes = self.dtypes or ["float64"] * len(columns)
        read = [
            self._column(index, dtype, values)
            for index, (dtype, values) in enumerate(zip(dtypes, columns, strict=True))
        ]
        if self.numeric:
            return self._checked(np.column_stack(read))
        import pandas as pd

        return pd.DataFrame(dict(zip(self.names or range(len(read)), read, strict=True)))

    def _column(self, index: int, dtype: str, values: list[Any]) -> Any:
        allowed, fits = _fits(dtype)
        for row, value in enumerate(values):
            if value is not None and not fits(value):
                raise _refuse(f"inputs[{row}], {self._feature(index)}", value, allowed)
        if _is_number(dtype):
            return np.array([np.nan if value is None else _number(value) for value in values], dtype=np.float64)
        import pandas as pd

        return pd.Series(values, dtype={"category": "category", "object": None}.get(dtype, "object"))

    def _unknown(self, inputs: Any) -> Table:
        if isinstance(inputs, np.ndarray):
            return inputs
        if not isinstance(inputs[0], list):
            if isinstance(inputs[0], str):
                return inputs  # texts, one a row
            raise _refuse("inputs", inputs[0], "a list of rows, each a list: [[...]] for one row")
        found = _numbers(inputs)
        return found if found is not None else inputs

    def _feature(self, index: int) -> str:
        return f"feature {self.names[index]!r} (column {index})" if self.names is not None else f"column {index}"

    def _difference(self, found: Mapping[str, Any]) -> str:
        names = self.names or []
        missing = [name for name in names if name not in found]
        unknown = [name for name in found if name not in names]
        parts = [f"missing: {_listed(missing)}"] * bool(missing) + [f"not a feature: {_listed(unknown)}"] * bool(
            unknown
        )
        return f"{'; '.join(parts)}; allowed: {_listed(names)}"


def _refuse(where: str, found: Any, allowed: str) -> PermanentError:
    shown = "nothing" if found is None else repr(found)
    return PermanentError(f"{where}: found {shown if len(shown) <= 80 else shown[:80] + '...'}, allowed: {allowed}")


def _listed(names: Any) -> str:
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _row(row: Any, at: int) -> Sequence[Any]:
    if isinstance(row, list | tuple):
        return row
    if isinstance(row, np.ndarray) and row.ndim == 1:
        return row.tolist()  # type: ignore[no-any-return]
    raise _refuse(f"inputs[{at}]", row, "a list of values; one row alone is [[...]]")


def _numbers(inputs: Any) -> np.ndarray[Any, Any] | None:
    """Make an array of numbers of what holds nothing else; None for the rest."""
    try:
        found = np.asarray(inputs)
    except (ValueError, OverflowError):
        return None
    return found.astype(np.float64, copy=False) if found.dtype.kind in "iuf" else None


def _under(columns: Any, inputs: Any) -> Iterator[dict[str, Any]]:
    """Put the request's own column names over its rows."""
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise _refuse("columns", columns, "a list of names")
    for at, found in enumerate(inputs):
        row = _row(found, at)
        if len(row) != len(columns):
            raise PermanentError(f"inputs[{at}]: found {len(row)} values, allowed: {len(columns)}, as columns has")
        yield dict(zip(columns, row, strict=True))


def _holds_bool(inputs: Any) -> bool:
    """Tell whether a list has true or false among its numbers, which numpy takes for 1 and 0."""
    return isinstance(inputs, list) and any(type(value) is bool for row in inputs for value in row)


def _number(value: Any) -> float:
    return {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}[value] if isinstance(value, str) else float(value)


def _flat(name: str, found: Any) -> Any:
    if found.ndim == 2 and found.shape[1] == 1:
        return found[:, 0]
    if found.ndim != 1:
        raise PermanentError(f"input {name!r}: found shape {list(found.shape)}, allowed: [rows] or [rows, 1]")
    return found


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("float", "int", "uint", "Float", "Int", "UInt"))


def _fits(dtype: str) -> tuple[str, Any]:
    """Say what a column of this type holds, in words and as a test."""
    if _is_number(dtype):
        return (
            "a number",
            lambda value: (
                (isinstance(value, int | float) and not isinstance(value, bool))
                or value in ("NaN", "Infinity", "-Infinity")
            ),
        )
    if dtype.lower().startswith("bool"):
        return "true or false", lambda value: isinstance(value, bool)
    if dtype.startswith(("str", "<U")):
        return "text", lambda value: isinstance(value, str)
    return "text, a number, true or false", lambda value: isinstance(value, str | int | float)


def _dtype(column: Any) -> str:
    return "float64" if column.kind == "numeric" and column.dtype == "object" else str(column.dtype)


def _finite(model: Any) -> Finite:
    tags = getattr(model, "__sklearn_tags__", None)
    if tags is None:
        return "any"
    try:
        return "nan" if tags().input_tags.allow_nan else "all"
    except Exception:  # an estimator of somebody's own, whose tags are not what scikit-learn's are
        return "any"


def _by_name(model: Any) -> bool:
    """Tell whether a model looks columns up by name, as a ColumnTransformer does anywhere in a pipeline."""
    steps = getattr(model, "steps", None)
    if isinstance(steps, list):
        return any(_by_name(step) for _, step in steps)
    return any(hasattr(model, name) for name in ("transformers", "transformer_list")) or not (
        type(model).__module__.startswith(("sklearn.", "xgboost.", "lightgbm."))
    )
