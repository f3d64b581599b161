"""Documents in one SQLite file: the embedded backend, for the processes of one machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.handlers.documents.abc import Document, Documents
from trimtab.sqlite import File

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, version INTEGER NOT NULL, text BLOB NOT NULL) STRICT;"
)


class SqliteDocuments(Documents):
    """One file. May be used from several threads, one at a time inside."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = File(
            path=path,
            what="the file of documents",
            schema=_SCHEMA,
            full="nothing of this change was kept",
            damaged="start again: loops and changed models begin anew",
        )
        self._db = self._file.open(check_same_thread=False)

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
        with self._lock, self._file.translated():
            yield
