"""Group commit: everything that is written goes through one thread, which puts what has gathered into one transaction.

While one sync of the disk runs, the next operations gather; so a hundred concurrent requests share one sync, and a
lone one waits for nobody.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from trimtab.errors import StoreError
from trimtab.sqlite import transaction
from trimtab.triggers.broker.store import file, last_event
from trimtab.triggers.broker.transaction import Transaction

T = TypeVar("T")
Operation = Callable[[Transaction], T]

GROUP = 256
"""Operations in one transaction at most: the bound on how long the first of them waits for the last."""


class Job(Generic[T]):
    """One operation on its way to the disk."""

    __slots__ = ("after", "error", "future", "operation", "result", "weight")

    def __init__(
        self, operation: Operation[T], weight: int, after: Callable[[T], None] | None, future: asyncio.Future[T]
    ) -> None:
        self.operation, self.weight, self.after, self.future = operation, weight, after, future
        self.result: T | None = None
        self.error: Exception | None = None


class Writer:
    """The thread that writes. An operation is a function of the open Transaction; what it returns is given to the
    caller once the commit is on the disk. `after` runs on the loop, in the order of commits, before any caller goes on.

    An operation that raises takes nothing of the others with it: the group is rolled back and each is tried alone.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting = 0
        """The weights (bytes, roughly) of everything that was submitted and is not committed."""
        self.commits = self.operations = 0
        self.closing = False
        """Set on the loop, before `close` is called: what is submitted after that is refused."""
        self._connection, self._file, self._loop = connection, file(path), loop
        self._sequence = last_event(connection)
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="broker-writer", daemon=True)
        self._thread.start()

    async def write(self, operation: Operation[T], *, weight: int = 0, after: Callable[[T], None] | None = None) -> T:
        """Do `operation` and return its result when it is durable. Errors: StoreError, StoreFull.

        Cancelling the caller does not take the operation back.
        """
        if self.closing:
            raise StoreError(f"the broker's file {str(self._file.path)!r} was closed")
        job = Job(operation, weight, after, self._loop.create_future())
        self.waiting += weight
        self._jobs.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what was submitted, end the thread and close the connection."""
        self._jobs.put(None)
        self._thread.join()
        with self._file.translated():
            self._connection.close()

    def _run(self) -> None:
        while (group := self._gather())[0] is not None:
            jobs = [job for job in group if job is not None]
            self._commit(jobs)
            self._loop.call_soon_threadsafe(self._settle, jobs)
            if group[-1] is None:
                return

    def _gather(self) -> list[Job[Any] | None]:
        group = [self._jobs.get()]
        while group[-1] is not None and len(group) < GROUP:
            try:
                group.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return group

    def _commit(self, jobs: list[Job[Any]]) -> None:
        try:
            self._transact(jobs)
        except Exception as exc:
            if len(jobs) == 1:
                jobs[0].error = exc  # whatever an operation raises belongs to its caller
                return
            for job in jobs:
                self._commit([job])

    def _transact(self, jobs: list[Job[Any]]) -> None:
        with self._file.translated(), transaction(self._connection):
            changes = Transaction(self._connection, self._sequence)
            for job in jobs:
                job.result = job.operation(changes)
            changes.flush()
        self._sequence = changes.sequence
        self.commits += 1
        self.operations += len(jobs)

    def _settle(self, jobs: list[Job[Any]]) -> None:
        for job in jobs:
            self.waiting -= job.weight
            if job.error is None and job.after is not None:
                try:
                    job.after(job.result)
                except Exception as exc:
                    job.error = exc  # what is on the disk stays, but the others must not wait for ever
        for job in jobs:
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
