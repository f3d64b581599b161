"""The broker's file: one SQLite database, its schema, and how connections to it are opened.

Every commit is synced to the disk. One thread writes; readers have connections of their own.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from trimtab.sqlite import File

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


def file(path: Path) -> File:
    """Describe the file at `path`."""
    return File(
        path=path,
        what="the broker's file",
        schema=_SCHEMA,
        version=VERSION,
        full="nothing of this request was kept",
        damaged=f"start again for an empty broker; `sqlite3 {path.name} .recover` may save what is readable",
    )


def create(path: Path) -> sqlite3.Connection:
    """Open the file for writing; a missing one is made. One that is small enough is checked page by page.

    The connection may be used by one thread other than the caller's. Errors: StoreError naming the file.
    """
    made = file(path)
    connection = made.open(pragmas=("auto_vacuum = INCREMENTAL",), check_same_thread=False, cached_statements=256)
    try:
        with made.translated():
            _check(connection, path)
    except BaseException:
        connection.close()
        raise
    _sync_folder(path.parent)
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    path.touch(mode=0o600)
    with file(path).translated():
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = 1")
        return connection


def last_event(connection: sqlite3.Connection) -> int:
    """Give the highest sequence number that an event ever had."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


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
