"""Tables: written to files, read from them, and named by a digest of what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trimtab.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet")
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json", ".jsonl": "jsonl"}


def write(frame: pd.DataFrame, path: Path, format: str, *, index: bool) -> None:
    """Write a DataFrame. Errors: SpecError (format, or the package that it needs)."""
    if format == "csv":
        frame.to_csv(path, index=index, lineterminator="\n")
        return
    if format != "parquet":
        raise SpecError("format", format, " or ".join(map(repr, FORMATS)))
    try:
        frame.to_parquet(path, index=index, engine="pyarrow")
    except ImportError as exc:
        raise SpecError("format", format, "'csv', or install pyarrow: pip install 'trimtab[ml]'") from exc


def read(stream: IO[bytes], format: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table. Errors: SpecError (format, or the package that it needs)."""
    import pandas as pd

    if format == "csv":
        return pd.read_csv(stream, usecols=list(columns) if columns else None)
    if format == "parquet":
        try:
            return pd.read_parquet(stream, engine="pyarrow", columns=list(columns) if columns else None)
        except ImportError as exc:
            raise SpecError("format", format, "'csv', or install pyarrow: pip install 'trimtab[ml]'") from exc
    if format in ("json", "jsonl"):
        frame = pd.read_json(stream, lines=format == "jsonl")
        return frame if columns is None else frame[list(columns)]
    raise SpecError("format", format or None, "csv, parquet, json or jsonl", hint="Say which: as_df(format='csv')")


def format_of(name: str) -> str:
    """Tell a table's format by its file's name; empty where it does not show."""
    return _SUFFIXES.get(Path(name).suffix.lower(), "")


def digest(frame: pd.DataFrame) -> str:
    """Name a table by its columns' names, types and values, in order; the index does not count."""
    import pandas as pd

    total = hashlib.sha256()
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        total.update(f"{name}\0{column.dtype}\0{len(column)}\0".encode())
        try:
            values = pd.util.hash_pandas_object(column, index=False)
        except TypeError:  # lists and other things that pandas cannot hash
            values = pd.util.hash_pandas_object(column.map(repr), index=False)
        total.update(values.to_numpy().tobytes())
    return total.hexdigest()
