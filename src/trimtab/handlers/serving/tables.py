"""Tables of several requests joined into one, and what came of it split again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def joined(found: Sequence[Any]) -> Any:
    """Join tables of one kind, row by row. Errors: ValueError for tables that do not go together."""
    first = found[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(found)
    if isinstance(first, list):
        return [row for table in found for row in table]
    import pandas as pd

    return pd.concat(found, ignore_index=True)


def split(outputs: dict[str, Any], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Give each request its rows of every output. Errors: ValueError where an output has not one item a row."""
    total = sum(lengths)
    for name, output in outputs.items():
        if len(output) != total:
            raise ValueError(f"output {name!r} has {len(output)} items for {total} rows")
    ends = np.cumsum([0, *lengths]).tolist()
    return [{name: output[begin:end] for name, output in outputs.items()} for begin, end in pairwise(ends)]


def split_any(outputs: Any, lengths: Sequence[int]) -> list[Any]:
    """Split what a user's class gave: a list, an array or a dict of such. Errors: as `split`."""
    if isinstance(outputs, dict):
        return list(split(outputs, lengths))
    return [part["outputs"] for part in split({"outputs": outputs}, lengths)]


def columns(table: Any, names: Sequence[str] | None) -> tuple[list[str], list[list[Any]]]:
    """Give a table by columns: names and values."""
    if isinstance(table, np.ndarray):
        flat = table if table.ndim == 2 else table.reshape(len(table), -1)
        return _named(names, flat.shape[1]), flat.T.tolist()
    if isinstance(table, list):
        if table and all(isinstance(row, list) and len(row) == len(table[0]) for row in table):
            return _named(names, len(table[0])), [list(column) for column in zip(*table, strict=True)]
        if table and all(isinstance(row, dict) and row.keys() == table[0].keys() for row in table):
            keys = [str(name) for name in table[0]]
            return keys, [[row[name] for row in table] for name in table[0]]
        return ["input"], [list(table)]
    return [str(name) for name in table.columns], [table[name].tolist() for name in table.columns]


def _named(names: Sequence[str] | None, count: int) -> list[str]:
    return list(names) if names is not None and len(names) == count else [f"f{index}" for index in range(count)]
