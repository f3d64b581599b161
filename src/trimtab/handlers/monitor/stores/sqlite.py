"""A monitor's state in one SQLite file: for replicas on one machine.

WAL mode with `synchronous=FULL`: every commit is on the disk when it returns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trimtab.handlers.monitor.stores.abc import Change, Entry, Journaled, Limits, Store, Stream
from trimtab.sqlite import Execute, File, transaction

VERSION = 1
_AT_ONCE = 500
"""Names in one statement."""

_SCHEMA = """
CREATE TABLE journal (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  identity TEXT NOT NULL,
  label INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  at REAL NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX journal_stream ON journal (stream, number);
CREATE TABLE seen (identity TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);
CREATE TABLE versions (stream TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (stream TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (stream, key));
CREATE TABLE waiting (
  stream TEXT NOT NULL,
  id TEXT NOT NULL,
  at REAL NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (stream, id)
) WITHOUT ROWID;
CREATE INDEX waiting_at ON waiting (stream, at);
"""


class SQLiteStore(Store):
    """See Store. One connection, one thread at a time."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(limits)
        self._lock = threading.Lock()
        self._file = File(
            path=path,
            what="the monitor's file",
            schema=_SCHEMA,
            version=VERSION,
            full="nothing of this request was kept",
            damaged="start again; the log of all rows is not in it",
        )
        self._connection = self._file.open(check_same_thread=False, cached_statements=64)

    def append(self, entries: list[Entry]) -> list[bool]:
        """See Store."""
        with self._transaction() as execute:
            return [_append(execute, entry) for entry in entries]

    def streams(self) -> list[Stream]:
        """See Store."""
        with self._transaction("BEGIN") as execute:
            waiting = execute(
                "SELECT stream, COUNT(*), SUM(rows), SUM(LENGTH(data)), MIN(at) FROM journal GROUP BY stream"
            )
            found = {row[0]: Stream(*row) for row in waiting}
            for (name,) in execute("SELECT stream FROM versions"):
                found.setdefault(name, Stream(name=name))
        return [found[name] for name in sorted(found)]

    def pending(self, stream: str, *, upto: int = 0, rows: int = 0, bytes: int = 0) -> list[Journaled]:
        """See Store."""
        statement = "SELECT number, identity, label, rows, at, data FROM journal WHERE stream = ? AND number <= ? ORDER BY number"
        found: list[Journaled] = []
        seen_rows = seen_bytes = 0
        with self._transaction("BEGIN") as execute:
            for number, identity, label, count, at, data in execute(statement, (stream, upto or 2**62)):
                entry = Entry(stream=stream, identity=identity, label=bool(label), rows=count, at=at, data=data)
                found.append(Journaled(number=number, entry=entry))
                seen_rows, seen_bytes = seen_rows + count, seen_bytes + len(data)
                if (rows and seen_rows >= rows) or (bytes and seen_bytes >= bytes):
                    break
        return found

    def read(self, stream: str, keys: Iterable[str]) -> tuple[int, dict[str, bytes]]:
        """See Store."""
        with self._transaction("BEGIN") as execute:
            version = _version(execute, stream)
            return version, _named(execute, "SELECT key, data FROM documents WHERE stream = ? AND key", stream, keys)

    def keys(self, stream: str, prefix: str) -> list[str]:
        """See Store."""
        with self._transaction("BEGIN") as execute:
            found = execute(
                "SELECT key FROM documents WHERE stream = ? AND substr(key, 1, ?) = ? ORDER BY key",
                (stream, len(prefix), prefix),
            )
            return [key for (key,) in found]

    def rows(self, stream: str, ids: Iterable[str]) -> dict[str, bytes]:
        """See Store."""
        with self._transaction("BEGIN") as execute:
            return _named(execute, "SELECT id, data FROM waiting WHERE stream = ? AND id", stream, ids)

    def commit(self, stream: str, version: int, change: Change) -> bool:
        """See Store."""
        with self._transaction() as execute:
            if _version(execute, stream) != version:
                return False
            many = self._connection.executemany
            execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (stream, version + 1))
            many("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", [(stream, *pair) for pair in change.put.items()])
            many("DELETE FROM documents WHERE stream = ? AND key = ?", [(stream, key) for key in change.delete])
            many(
                "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)",
                [(stream, name, change.at, data) for name, data in change.rows.items()],
            )
            execute("DELETE FROM journal WHERE stream = ? AND number <= ?", (stream, change.upto))
            return True

    def sweep(self, now: float) -> None:
        """See Store."""
        limits = self.limits
        with self._transaction() as execute:
            execute("DELETE FROM seen WHERE at < ?", (now - limits.seen_seconds,))
            execute(
                "DELETE FROM seen WHERE at <= (SELECT at FROM seen ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (limits.seen_events,),
            )
            for (stream,) in execute("SELECT stream FROM versions").fetchall():
                execute("DELETE FROM waiting WHERE stream = ? AND at < ?", (stream, now - limits.row_seconds))
                execute(
                    "DELETE FROM waiting WHERE stream = ?1 AND at <= "
                    "(SELECT at FROM waiting WHERE stream = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
                    (stream, limits.rows),
                )

    def drop(self, stream: str, version: int) -> bool:
        """See Store."""
        with self._transaction() as execute:
            waiting = execute("SELECT 1 FROM journal WHERE stream = ? LIMIT 1", (stream,)).fetchone()
            if waiting or _version(execute, stream) != version:
                return False
            for table in ("versions", "documents", "waiting"):
                execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))  # noqa: S608
            return True

    def close(self) -> None:
        """See Store."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[Execute]:
        with self._lock, self._file.translated(), transaction(self._connection, begin) as execute:
            yield execute


def _append(execute: Execute, entry: Entry) -> bool:
    if not execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (entry.identity, entry.at)).rowcount:
        return False
    execute(
        "INSERT INTO journal (stream, identity, label, rows, at, data) VALUES (?, ?, ?, ?, ?, ?)",
        (entry.stream, entry.identity, entry.label, entry.rows, entry.at, entry.data),
    )
    return True


def _version(execute: Execute, stream: str) -> int:
    found = execute("SELECT version FROM versions WHERE stream = ?", (stream,)).fetchone()
    return int(found[0]) if found else 0


def _named(execute: Execute, select: str, stream: str, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    wanted = list(dict.fromkeys(names))
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        found.update(execute(f"{select} IN ({', '.join('?' * len(some))})", (stream, *some)).fetchall())
    return found
