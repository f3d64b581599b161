"""Reading the broker's file off the loop: a few threads, each with a connection of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from trimtab.triggers.broker.store import file, reader

T = TypeVar("T")


class Reader:
    """Runs functions of a read-only connection. A function reads what it needs and returns: a reader that stays open
    would keep the write-ahead log from being emptied."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="broker-reader")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Answer `question`. Errors: StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    def close(self) -> None:
        """Finish what runs and close the connections."""
        self._threads.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with file(self._path).translated():
            return question(self._connection())

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = reader(self._path)
            self._opened.append(found)
        return found
