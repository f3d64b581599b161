"""The durable queue: what is accepted, what is still to be delivered, and what each try came to.

Every method that writes returns when the change is on the disk; `after` is called on the loop in the order of commits,
before the method returns. What is in flight is not written down: there is one daemon, so a delivery that was in flight
when it died is simply still to be delivered.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from trimtab.errors import StoreFull
from trimtab.events import Envelope
from trimtab.triggers.broker import accept, dead, log, settle, subscriptions
from trimtab.triggers.broker.entries import Arrival, Delivery, Entry, Try
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.pages import Page, page
from trimtab.triggers.broker.reader import Reader
from trimtab.triggers.broker.settle import Ending
from trimtab.triggers.broker.store import create
from trimtab.triggers.broker.subscriptions import Standing
from trimtab.triggers.broker.transaction import Transaction
from trimtab.triggers.broker.writer import Operation, Writer

T = TypeVar("T")


RESERVE = 16 * 2**20
"""Bytes: the write-ahead log grows to 4 MiB between checkpoints, and the file by as much at one."""


class Firing(Struct, frozen=True, kw_only=True):
    """What became of an event that was put in by `enqueue`: `state` is pending, delivered or dead."""

    state: str
    attempts: int = 0
    finished: float | None = None
    detail: str = ""


class Queue:
    """The broker's file, opened. Errors of all methods: StoreError, StoreFull (nothing was changed).

    Events are refused (StoreFull) while the disk has less than `reserve` bytes left, so that what was accepted before
    can still be delivered and done with.
    """

    def __init__(self, path: Path, *, reserve: int = RESERVE) -> None:
        self.path, self._reserve = path, reserve
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    async def open(self) -> None:
        """Open the file, or make it. Errors: StoreError when it is damaged or from a later version."""
        connection = await asyncio.to_thread(create, self.path)
        self._writer = Writer(connection, self.path, asyncio.get_running_loop())
        self._reader = Reader(self.path)

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        if self._writer is not None and self._reader is not None:
            self._writer.closing = True
            await asyncio.to_thread(self._reader.close)
            await asyncio.to_thread(self._writer.close)

    @property
    def writer(self) -> Writer:
        """The group commit."""
        assert self._writer is not None, "the queue is not open"
        return self._writer

    async def subscribe(
        self, windows: Mapping[str, float], now: float, after: Callable[[dict[str, Standing]], None]
    ) -> dict[str, Standing]:
        """Replace the subscriptions; see `subscriptions.replace`."""
        return await self._write(lambda transaction: subscriptions.replace(transaction, windows, now), after=after)

    async def accept(
        self, entries: Sequence[Entry], now: float, after: Callable[[list[Arrival]], None]
    ) -> list[Arrival]:
        """Log events and write down who is to get them, all or none."""

        def operation(transaction: Transaction) -> list[Arrival]:
            self._require_room(transaction)
            return [accept.enter(transaction, entry, now) for entry in entries]

        return await self._write(operation, sum(entry.weight for entry in entries), after)

    async def enqueue(
        self, n: int, envelope: Envelope, now: float, after: Callable[[Arrival | None], None]
    ) -> Arrival | None:
        """Put in an event for one subscription; see `accept.enqueue`."""

        def operation(transaction: Transaction) -> Arrival | None:
            self._require_room(transaction)
            return accept.enqueue(transaction, n, envelope, now)

        return await self._write(operation, after=after)

    async def give_up(
        self, id: str, envelope: Envelope, reason: str, history: Sequence[Try], now: float, after: Callable[[int], None]
    ) -> int:
        """Keep a dead letter of an event that others tried to deliver."""

        def operation(transaction: Transaction) -> int:
            self._require_room(transaction)
            return accept.give_up(transaction, id, envelope, reason, history, now)

        return await self._write(operation, after=after)

    async def delivered(
        self, line: Line, delivery: Delivery, ending: Ending, after: Callable[[list[Arrival]], None]
    ) -> None:
        """Take a delivery out and let the events it was answered with in, both or neither."""

        def operation(transaction: Transaction) -> list[Arrival]:
            if ending.replies:
                self._require_room(transaction)
            return settle.delivered(transaction, line, delivery, ending)

        await self._write(operation, sum(entry.weight for entry in ending.replies), after)

    async def put_off(
        self, line: Line, delivery: Delivery, ending: Ending, due: float, after: Callable[[None], None]
    ) -> None:
        """Leave a delivery for its next try."""
        await self._write(lambda transaction: settle.put_off(transaction, line, delivery, ending, due), after=after)

    async def given_up(
        self, line: Line, delivery: Delivery, ending: Ending, reason: str | None, after: Callable[[None], None]
    ) -> None:
        """Take a delivery out for good; see `settle.given_up`."""
        await self._write(lambda transaction: settle.given_up(transaction, line, delivery, ending, reason), after=after)

    async def page(self, line: Line, after: int, now: float) -> Page:
        """Read what comes next for a subscription."""
        claimed = frozenset(line.claimed)
        return await self._read(lambda connection: page(connection, line.n, after=after, now=now, claimed=claimed))

    async def firing(self, n: int, source: str, id: str) -> Firing | None:
        """Say what became of an event that was put in by `enqueue`; None for one that is not known."""
        return await self._read(lambda connection: _firing(connection, n, source, id))

    async def letters(self, ids: Sequence[int] | None = None, function: str | None = None) -> list[dead.Letter]:
        """Read dead letters, oldest first."""
        return await self._read(lambda connection: dead.letters(connection, ids, function))

    async def redrive(
        self,
        ids: Sequence[int] | None,
        function: str | None,
        now: float,
        after: Callable[[dict[str, int]], None],
    ) -> dict[str, int]:
        """Put dead letters back; gives their number by subscription."""
        return await self._write(lambda transaction: dead.redrive(transaction, ids, function, now), after=after)

    async def drop(
        self, ids: Sequence[int] | None, function: str | None, after: Callable[[dict[str, int]], None]
    ) -> dict[str, int]:
        """Forget dead letters; gives their number by subscription."""
        return await self._write(lambda transaction: dead.drop(transaction, ids, function), after=after)

    async def latest(self, broker: str, count: int, type: str | None = None) -> list[log.Logged]:
        """Read the last events of a broker; see `log.latest`."""
        return await self._read(lambda connection: log.latest(connection, broker, count, type))

    async def following(self, broker: str, after: int, count: int, type: str | None = None) -> list[log.Logged]:
        """Read events of a broker in order; see `log.following`."""
        return await self._read(lambda connection: log.following(connection, broker, after, count, type))

    async def sweep(self, start: int, keep: int, cutoff: float) -> int:
        """Forget old events; see `log.sweep`."""
        return await self._write(lambda transaction: log.sweep(transaction, start, keep, cutoff))

    async def forget(self, now: float) -> None:
        """Forget what deduplication need not know any longer, and shrink the file."""
        await self._write(lambda transaction: log.forget(transaction, now))

    def _require_room(self, transaction: Transaction) -> None:
        disk = os.statvfs(self.path)
        left = disk.f_bavail * disk.f_frsize
        if left < self._reserve and left + transaction.spare() < self._reserve:
            raise StoreFull(
                f"no new events while the disk of {str(self.path)!r} has {left >> 10} KiB left, less than the "
                f"{self._reserve >> 10} KiB that the events accepted before may need. Free disk space"
            )

    async def _write(self, operation: Operation[T], weight: int = 0, after: Callable[[T], None] | None = None) -> T:
        return await self.writer.write(operation, weight=weight, after=after)

    async def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        assert self._reader is not None, "the queue is not open"
        return await self._reader.read(question)


def _firing(connection: sqlite3.Connection, n: int, source: str, id: str) -> Firing | None:
    row = connection.execute(
        "SELECT state, attempts, finished, detail FROM known WHERE subscription = ? AND source = ? AND id = ?",
        (n, source, id),
    ).fetchone()
    return Firing(state=row[0], attempts=row[1], finished=row[2], detail=row[3]) if row else None
