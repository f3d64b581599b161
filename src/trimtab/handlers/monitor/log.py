"""All rows, for retraining: Parquet files partitioned by endpoint and hour, which any reader of Parquet understands.

    LOG/inference/endpoint=churn%2Frf/date=2026-11-25/hour=23/part-000000000001-000000000420.parquet
    LOG/label/endpoint=.../...

A file appears whole or not at all: it is written under a hidden name, synced, and renamed. Its name says of which events
it is made, so that making it again after a crash replaces it by the same rows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.errors import StoreError, StoreFull

Kind = Literal["inference", "label"]

HOUR = 3600.0
_FULL = (28, 122)
"""ENOSPC, EDQUOT."""
_PARTS = b"trimtab.parts"
"""In a compacted file's metadata: the names of the files it was made of."""


class Log:
    """The folder. Errors of all methods that write: StoreError, StoreFull."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, kind: Kind, endpoint: str, hour: float, name: str, table: pa.Table) -> Path:
        """Write one file; one of this name is replaced."""
        folder = self._hour(kind, endpoint, hour)
        path = folder / f"part-{name}.parquet"
        with _explained(path):
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, table)
        return path

    def files(self, kind: Kind, endpoint: str, since: float = 0.0, until: float = 2e10) -> list[Path]:
        """Give the files of the hours that begin in this time, in order."""
        found: list[Path] = []
        for folder, hour in self._hours(kind, endpoint):
            if since <= hour < until:
                _recover(folder)
                found += _visible(folder)
        return found

    def read(self, kind: Kind, endpoint: str, since: float = 0.0, until: float = 2e10) -> pa.Table:
        """Read the hours that begin in this time; columns that only some files have are null in the others."""
        tables = [pq.read_table(path, partitioning=None) for path in self.files(kind, endpoint, since, until)]  # type: ignore[no-untyped-call,unused-ignore]
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})

    def compact(self, before: float) -> int:
        """Make one file of each hour that ended by then; give how many hours changed."""
        changed = 0
        for kind, endpoint in self._partitions():
            for folder, hour in self._hours(kind, endpoint):
                if hour + HOUR <= before:
                    with _explained(folder):
                        changed += _compact(folder)
        return changed

    def prune(self, before: float) -> None:
        """Remove the hours that ended by then."""
        for kind, endpoint in self._partitions():
            for folder, hour in self._hours(kind, endpoint):
                if hour + HOUR <= before:
                    for path in folder.iterdir():
                        path.unlink(missing_ok=True)
                    for empty in (folder, folder.parent, folder.parent.parent):
                        with contextlib.suppress(OSError):  # it holds other hours
                            empty.rmdir()

    def _hour(self, kind: Kind, endpoint: str, hour: float) -> Path:
        moment = datetime.fromtimestamp(hour, UTC)
        return self._endpoint(kind, endpoint) / f"date={moment:%Y-%m-%d}" / f"hour={moment:%H}"

    def _endpoint(self, kind: Kind, endpoint: str) -> Path:
        return self.folder / kind / f"endpoint={quote(endpoint, safe='')}"

    def _partitions(self) -> Iterator[tuple[Kind, str]]:
        kinds: tuple[Kind, ...] = ("inference", "label")
        for kind in kinds:
            for folder in sorted((self.folder / kind).glob("endpoint=*")):
                yield kind, unquote(folder.name.removeprefix("endpoint="))

    def _hours(self, kind: Kind, endpoint: str) -> Iterator[tuple[Path, float]]:
        for folder in sorted(self._endpoint(kind, endpoint).glob("date=*/hour=*")):
            text = f"{folder.parent.name.removeprefix('date=')} {folder.name.removeprefix('hour=')}+0000"
            with contextlib.suppress(ValueError):  # a folder that is none of ours
                yield folder, datetime.strptime(text, "%Y-%m-%d %H%z").timestamp()


def _write(path: Path, table: pa.Table) -> None:
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}.half")
    try:
        pq.write_table(table, half, compression="zstd")  # type: ignore[no-untyped-call,unused-ignore]
        _sync(half)
        half.replace(path)
        _sync(path.parent)
    finally:
        half.unlink(missing_ok=True)


def _compact(folder: Path) -> bool:
    """Make one file of an hour. The hidden one is what counts from its rename on: `_recover` ends what was begun."""
    _sweep(folder)
    _recover(folder)
    parts = _visible(folder)
    if len(parts) < 2:
        return False
    table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in parts], promote_options="permissive")  # type: ignore[no-untyped-call,unused-ignore]
    names = {name for path in parts for name in (_made_of(path) or [path.name])}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _PARTS: "\n".join(sorted(names)).encode()})
    _write(folder / f".whole-{parts[0].name.removeprefix('part-').removeprefix('whole-')}", table)
    _recover(folder)
    return True


def _recover(folder: Path) -> None:
    """End a compaction: remove what the whole file is made of, then show it. Never are rows seen twice."""
    for hidden in folder.glob(".whole-*.parquet"):
        for path in _visible(folder):
            if path.name in (names := _made_of(hidden)) or set(_made_of(path)) & set(names):
                path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another replica was faster
            hidden.replace(hidden.with_name(hidden.name.removeprefix(".")))
    whole = {name for path in folder.glob("whole-*.parquet") for name in _made_of(path)}
    for path in folder.glob("part-*.parquet"):
        if path.name in whole:  # written once more, by one who was slow
            path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a crash left of files that never appeared."""
    for path in folder.glob(".*.half"):
        path.unlink(missing_ok=True)


def _made_of(path: Path) -> list[str]:
    try:
        metadata = pq.read_schema(path).metadata or {}  # type: ignore[no-untyped-call,unused-ignore]
    except FileNotFoundError:
        return []
    return metadata.get(_PARTS, b"").decode().splitlines()


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreFull(f"no room to write {str(path)!r}: {exc.strerror}. Free disk space; the rows wait") from exc
        raise StoreError(f"the log cannot write {str(path)!r}: {exc}. Check its permissions; the rows wait") from exc


def rows(names: list[str], columns: list[Any]) -> pa.Table:
    """Make a table of arrays."""
    return pa.table(columns, names=names)
