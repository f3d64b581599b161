"""Documents in one SQLite file: the embedded backend, for the processes of one machine."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import StoreError, StoreFull
from trimtab.handlers.documents.abc import Document, Documents
from trimtab.runtime.wal import write_ahead

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, text BLOB NOT NULL) STRICT"
)
_WAIT = 30.0
"""Seconds that a writer waits for the others."""


class SqliteDocuments(Documents):
    """One file. May be used from several threads, one at a time inside."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_WAIT, check_same_thread=False)
            write_ahead(self._db)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)

    def get(self, name: str) -> Document:
        """See Documents."""
        with self._translated():
            row = self._db.execute("SELECT text, version FROM document WHERE name = ?", (name,)).fetchone()
        return Document(*row) if row else Document(b"", 0)

    def put(self, name: str, text: bytes, version: int) -> bool:
        """See Documents."""
        with self._translated():
            if version == 0:
                statement = "INSERT INTO document VALUES (?, 1, ?) ON CONFLICT DO NOTHING"
                return self._db.execute(statement, (name, text)).rowcount == 1
            statement = "UPDATE document SET text = ?, version = version + 1 WHERE name = ? AND version = ?"
            return self._db.execute(statement, (text, name, version)).rowcount == 1

    def names(self, prefix: str = "") -> list[str]:
        """See Documents."""
        with self._translated():
            rows = self._db.execute("SELECT name FROM document ORDER BY name").fetchall()
        return [name for (name,) in rows if name.startswith(prefix)]

    def delete(self, name: str) -> None:
        """See Documents."""
        with self._translated():
            self._db.execute("DELETE FROM document WHERE name = ?", (name,))

    def close(self) -> None:
        """See Documents."""
        self._db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as exc:
            if "disk is full" in str(exc) or getattr(exc, "errno", None) == 28:
                raise StoreFull(f"{self._path}: the disk is full; free space, then try again") from exc
            raise StoreError(f"{self._path} cannot be used: {exc}") from exc
