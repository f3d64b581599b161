"""The file of the embedded streams: one SQLite database, its schema, and how it is used off the event loop.

As in the broker's file, what publishers commit is synced to the disk. Consumers need not wait for it: an acknowledgement that
is lost with the power is a duplicate.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from trimtab import sqlite
from trimtab.errors import StoreError, StreamError
from trimtab.sqlite import transaction

T = TypeVar("T")

_VERSION = 1
_SCHEMA = """
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  key TEXT,
  time REAL NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX messages_stream ON messages (stream, seq);
CREATE TABLE groups (
  stream TEXT NOT NULL,
  name TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  seen REAL NOT NULL,
  PRIMARY KEY (stream, name)
) WITHOUT ROWID;
-- What is lent and not acked. After `lease` it is lent again.
CREATE TABLE lent (
  stream TEXT NOT NULL,
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  owner TEXT NOT NULL,
  lease REAL NOT NULL,
  PRIMARY KEY (stream, name, seq)
) WITHOUT ROWID;
"""


class File:
    """The file, used in a thread of its own."""

    def __init__(self, path: Path, *, synced: bool) -> None:
        self._synced = synced
        self._file = sqlite.File(
            path=path,
            what="the stream file",
            schema=_SCHEMA,
            version=_VERSION,
            full="nothing of this request was kept",
            damaged=f"start again for empty streams; `sqlite3 {path.name} .recover` may save what is readable",
        )
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, or make it. Errors: StreamError."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "stream")
        try:
            self._connection = await self._in_thread(self._connect)
        except StoreError as exc:
            raise StreamError(str(exc)) from exc

    async def close(self) -> None:
        """Close it; may be called twice."""
        if self._thread is not None:
            if self._connection is not None:
                await self._in_thread(self._connection.close)
            self._thread.shutdown(wait=False)
            self._thread = self._connection = None

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask something. Errors: StreamError."""
        return await self._do(question, write=False)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Change something, in one transaction. Errors: StreamError."""
        return await self._do(change, write=True)

    async def _do(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        connection = self._connection
        if connection is None:
            raise StreamError(f"the stream file {str(self._file.path)!r} is not open")

        def run() -> T:
            with self._file.translated():
                if not write:
                    return work(connection)
                with transaction(connection):
                    return work(connection)

        try:
            return await self._in_thread(run)
        except StoreError as exc:
            raise StreamError(str(exc)) from exc

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _connect(self) -> sqlite3.Connection:
        return self._file.open(synchronous="FULL" if self._synced else "NORMAL", check_same_thread=False)
