"""SQLite's write-ahead logging, for files that several processes open at the same time."""

from __future__ import annotations

import sqlite3
import time

_WAIT = 30.0
"""Seconds until others must have let go."""
_PAUSE = 0.02


def write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a file to write-ahead logging. Here SQLite does not wait for the others by itself, whatever its timeout.

    Errors: sqlite3.Error, when it stays locked for half a minute.
    """
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
