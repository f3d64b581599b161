"""The broker's file: one SQLite database, its schema, and how connections to it are opened.

The database is in WAL mode with `synchronous=FULL`: every commit syncs the log, so what was committed survives a power
loss (https://sqlite.org/pragma.html#pragma_synchronous). One thread writes; readers have connections of their own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from trimtab.errors import StoreError, StoreFull

VERSION = 1
CHECKED_SIZE = 64 * 2**20
"""Files up to this many bytes are checked page by page when they are opened; it costs some 5 ms per MB."""

_SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  broker TEXT NOT NULL,
  accepted REAL NOT NULL,
  ttl INTEGER NOT NULL,
  attributes TEXT NOT NULL,
  data BLOB
);
CREATE TABLE subscriptions (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  delivered INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  last REAL,
  outcome TEXT
);
-- One row per event and subscription that is still to be delivered. due = 0: never tried; else when to try (again).
CREATE TABLE deliveries (
  subscription INTEGER NOT NULL,
  event INTEGER NOT NULL,
  due REAL NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0,
  history TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (subscription, event)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (subscription, due) WHERE due > 0;
CREATE TABLE dead (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  subscription TEXT NOT NULL,
  event INTEGER NOT NULL,
  reason TEXT NOT NULL,
  died REAL NOT NULL,
  history TEXT NOT NULL
);
CREATE INDEX dead_event ON dead (event);
CREATE INDEX dead_subscription ON dead (subscription);
-- Events a subscription must not get twice, and what became of them. until NULL: still to be delivered.
CREATE TABLE known (
  subscription INTEGER NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  event INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  finished REAL,
  detail TEXT NOT NULL DEFAULT '',
  until REAL,
  PRIMARY KEY (subscription, source, id)
) WITHOUT ROWID;
CREATE INDEX known_until ON known (until) WHERE until IS NOT NULL;
"""


def create(path: Path) -> sqlite3.Connection:
    """Open the file for writing and bring its schema up to date; a missing one is made, for its owner's eyes alone.

    The connection may be used by one thread other than the caller's. Errors: StoreError naming the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    _sync_folder(path.parent)
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    path.touch(mode=0o600)
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = 1")
        return connection


def last_event(connection: sqlite3.Connection) -> int:
    """Give the highest sequence number that an event ever had."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError and StoreFull, which name the file."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _explain(exc, path) from exc


def _explain(exc: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no room to write {str(path)!r}: {exc}. Free disk space; nothing of this request was kept")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreError(
            f"the broker's file {str(path)!r} is damaged ({exc}). Move it away together with {path.name + '-wal'!r} and "
            f"start again for an empty broker; `sqlite3 {path.name} .recover` may save what is readable"
        )
    return StoreError(f"the broker's file {str(path)!r} cannot be used: {exc}. Check its permissions and the disk")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(
            f"the broker's file {str(path)!r} has schema version {version}, this Trimtab knows {VERSION}. "
            "Use the Trimtab that wrote it, or a later one"
        )
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    _check(connection, path)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size > CHECKED_SIZE:
        return
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable too: SQLite syncs the folder for its journals, not for the database itself."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
