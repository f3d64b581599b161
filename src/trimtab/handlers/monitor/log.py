"""All rows, for retraining: Parquet files partitioned by endpoint and hour, which any reader of Parquet understands.

    LOG/inference/endpoint=churn%2Frf/date=2026-11-25/hour=23/part-000000000001-000000000420.parquet
    LOG/label/endpoint=.../...

A file appears whole or not at all: it is written under a hidden name, synced, and renamed. Its name says of which events
it is made, so that making it again after a crash replaces it by the same rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
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
_TRIES = 5


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
        return [
            path for folder, hour in self._hours(kind, endpoint) if since <= hour < until for path in _current(folder)
        ]

    def read(self, kind: Kind, endpoint: str, since: float = 0.0, until: float = 2e10) -> pa.Table:
        """Read the hours that begin in this time; columns that only some files have are null in the others."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # compacted meanwhile
                return _joined(self.files(kind, endpoint, since, until))
        raise StoreError(f"the log of {endpoint} changed {_TRIES} times while it was read; read fewer hours at once")

    def compact(self, before: float) -> int:
        """Make one file of each hour that ended by then; give how many hours changed."""
        changed = 0
        with _explained(self.folder), self._alone():
            for kind, endpoint in self._partitions():
                for folder, hour in self._hours(kind, endpoint):
                    if hour + HOUR <= before:
                        changed += _compact(folder)
        return changed

    def prune(self, before: float) -> None:
        """Remove the hours that ended by then."""
        with _explained(self.folder), self._alone():
            for kind, endpoint in self._partitions():
                for folder, hour in self._hours(kind, endpoint):
                    if hour + HOUR <= before:
                        _remove(folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other replicas of this machine from compacting at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "compaction.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

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
    """Make one file of an hour. The hidden one is what counts from its rename on: `_settle` ends what was begun."""
    for half in folder.glob(".*.half"):  # left by a crash; this hour is over, so nobody is writing it
        half.unlink(missing_ok=True)
    _settle(folder)
    alike: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        alike.setdefault(str(_schema(path).remove_metadata()), []).append(path)
    changed = [parts for parts in alike.values() if len(parts) > 1]
    for parts in changed:  # one file for each version of a model whose columns differ
        names = sorted(set().union(*map(_made_of, parts)))
        table = _joined(parts)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _PARTS: "\n".join(names).encode()})
        _write(folder / f".whole-{names[0].removeprefix('part-')}", table)
    _settle(folder)
    return bool(changed)


def _settle(folder: Path) -> None:
    """Remove what other files hold too, then show what is hidden. Rows are gone for a moment, but never there twice."""
    current = _current(folder)
    for path in [*folder.glob("*.parquet"), *folder.glob(".whole-*.parquet")]:
        if path not in current:
            path.unlink(missing_ok=True)
    for path in current:
        if path.name.startswith("."):
            path.replace(path.with_name(path.name.removeprefix(".")))


def _current(folder: Path) -> list[Path]:
    """Give the files that hold each row once, whatever a compaction has done and not done yet."""
    whole = sorted(folder.glob("whole-*.parquet")) + sorted(folder.glob(".whole-*.parquet"))
    made = {path: _made_of(path) for path in [*whole, *sorted(folder.glob("part-*.parquet"))]}
    kept: list[Path] = []
    for path in sorted(made, key=lambda path: -len(made[path])):  # of two that are equal, the visible one comes first
        if not any(made[path] <= made[other] for other in kept):
            kept.append(path)
    return sorted(kept, key=lambda path: path.name.removeprefix("."))


def _made_of(path: Path) -> set[str]:
    if path.name.startswith("part-"):
        return {path.name}
    metadata = _schema(path).metadata or {}
    return set(metadata.get(_PARTS, b"").decode().splitlines())


def _schema(path: Path) -> pa.Schema:
    return pq.read_schema(path)  # type: ignore[no-untyped-call,unused-ignore]


def _joined(paths: list[Path]) -> pa.Table:
    """Put files one under the other. A column that has different types in them becomes text."""
    tables = [pq.read_table(path, partitioning=None) for path in paths]  # type: ignore[no-untyped-call,unused-ignore]
    types: dict[str, set[str]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(str(field.type))
    mixed = {name for name, found in types.items() if len(found) > 1}
    tables = [_as_text(table, mixed) for table in tables]
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for place, field in enumerate(table.schema):
        if field.name in names:
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    for empty in (folder, folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # it holds other hours
            empty.rmdir()


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
