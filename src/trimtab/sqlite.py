"""Files of SQLite that state is kept in: how they are opened, their schema's version, transactions, and errors in words.

All are in WAL mode and may be open in several processes. What `synchronous` promises: with FULL a commit survives a power
loss, with NORMAL it survives the process (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from trimtab.errors import StoreError, StoreFull

Execute = Callable[..., sqlite3.Cursor]

_WAIT = 30.0
"""Seconds until others must have let go."""
_PAUSE = 0.02
_JOURNAL = 64 * 2**20
"""Bytes that the write-ahead log keeps on the disk when it was larger for a while."""


class File(Struct, frozen=True, kw_only=True):
    """A file and what is in it. `what` is its name for people ("the broker's file")."""

    path: Path
    what: str
    schema: str
    """Statements that make version 1 of an empty file."""
    version: int = 1
    full: str
    """What becomes of a write that finds no room, after "Free disk space; "."""
    damaged: str
    """What to do after "Move it away together with its log and "."""

    def open(
        self, *, synchronous: Literal["FULL", "NORMAL"] = "FULL", pragmas: tuple[str, ...] = (), **options: Any
    ) -> sqlite3.Connection:
        """Open the file, for its owner's eyes alone; one that is missing or empty gets the schema.

        `pragmas` come first; `options` are sqlite3.connect's. Errors: StoreError, StoreFull.
        """
        with self.translated():
            self._touch()
            connection: sqlite3.Connection = sqlite3.connect(
                self.path, isolation_level=None, **{"timeout": _WAIT, **options}
            )
            try:
                for pragma in (*pragmas, f"synchronous = {synchronous}", f"journal_size_limit = {_JOURNAL}"):
                    connection.execute(f"PRAGMA {pragma}")
                _write_ahead(connection)
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLite's errors into StoreError and StoreFull, which name the file."""
        try:
            yield
        except sqlite3.Error as exc:
            raise self._explained(exc) from exc

    def _touch(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
        except OSError as exc:
            raise StoreError(f"{self.what} {str(self.path)!r} cannot be made: {exc.strerror}") from exc

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with transaction(connection) as execute:
            version = execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _statements(self.schema):
                    execute(statement)
                execute(f"PRAGMA user_version = {self.version}")
        if version > self.version:
            raise StoreError(
                f"{self.what} {str(self.path)!r} has schema version {version}, this Trimtab knows {self.version}. "
                "Use the Trimtab that wrote it, or a later one"
            )

    def _explained(self, exc: sqlite3.Error) -> StoreError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        name = str(self.path)
        if code == sqlite3.SQLITE_FULL:
            return StoreFull(f"no room to write {name!r}: {exc}. Free disk space; {self.full}")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            log = f"{self.path.name}-wal"
            return StoreError(
                f"{self.what} {name!r} is damaged ({exc}). Move it away together with {log!r} and {self.damaged}"
            )
        return StoreError(f"{self.what} {name!r} cannot be used: {exc}. Check its permissions and the disk")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[Execute]:
    """Do what is executed all or not at all. Errors: sqlite3.Error."""
    connection.execute(begin)
    try:
        yield connection.execute
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Part a script; `executescript` would end the transaction that it is to be a part of."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    yield statement


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. Here SQLite does not wait for others by itself, whatever its timeout."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
