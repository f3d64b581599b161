"""The durable queue: what is accepted, what is still to be delivered, and what each try came to.

Every method that writes returns when the change is on the disk. What is in flight is not written down: there is one
daemon, so a delivery that was in flight when it died is simply still to be delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from trimtab.errors import NotFound
from trimtab.events import Envelope
from trimtab.triggers.broker.entries import FIRST_TTL, Arrival, Delivery, Entry, Route, Try
from trimtab.triggers.broker.reader import Reader
from trimtab.triggers.broker.store import create
from trimtab.triggers.broker.transaction import Outcome, Transaction
from trimtab.triggers.broker.writer import Operation, Writer

T = TypeVar("T")

REMEMBERED = 30 * 86400.0
"""Seconds for which an event that was put in by `enqueue` is known after it ended, so that it is not put in again."""
PAGE_ROWS = 256
PAGE_BYTES = 4 * 2**20


class Standing(Struct, frozen=True, kw_only=True):
    """What the file knows about one subscription."""

    n: int
    pending: int = 0
    waiting: list[float] = []
    """When each retry is due."""
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    last: float | None = None
    outcome: str | None = None


class Page(Struct, frozen=True):
    """Deliveries read from the file; `more` says that the same question has further answers."""

    deliveries: list[Delivery]
    more: bool


class Firing(Struct, frozen=True, kw_only=True):
    """What became of an event that was put in by `enqueue`: `state` is pending, delivered or dead."""

    state: str
    attempts: int = 0
    finished: float | None = None
    detail: str = ""


class Queue:
    """The broker's file, opened. Errors of all methods: StoreError, StoreFull (nothing was changed)."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            await asyncio.to_thread(self._reader.close)
            await asyncio.to_thread(self._writer.close)
            self._writer = self._reader = None

    @property
    def writer(self) -> Writer:
        """The group commit."""
        assert self._writer is not None, "the queue is not open"
        return self._writer

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask a read-only connection, off the loop."""
        assert self._reader is not None, "the queue is not open"
        return await self._reader.read(question)

    async def accept(
        self, entries: Sequence[Entry], now: float, after: Callable[[list[Arrival]], None]
    ) -> list[Arrival]:
        """Log events and write down who is to get them, all or none."""

        def operation(transaction: Transaction) -> list[Arrival]:
            return [enter(transaction, entry, now) for entry in entries]

        return await self.writer.write(operation, weight=sum(entry.weight for entry in entries), after=after)

    async def page(self, n: int, after: int) -> Page:
        """Read deliveries of subscription number `n` that were never tried, of events after `after`, in order."""
        statement = f"{_PAGE} WHERE d.subscription = ? AND d.event > ? AND d.due = 0 ORDER BY d.event LIMIT ?"
        return await self.read(lambda connection: _page(connection, statement, (n, after), frozenset()))

    async def due(self, n: int, now: float, claimed: Collection[int]) -> Page:
        """Read deliveries of subscription number `n` whose next try is due, those longest due first, less `claimed`."""
        statement = f"{_PAGE} WHERE d.subscription = ? AND d.due > 0 AND d.due <= ? ORDER BY d.due LIMIT ?"
        return await self.read(lambda connection: _page(connection, statement, (n, now), frozenset(claimed)))

    async def standings(self, ids: Collection[str]) -> dict[str, Standing]:
        """Look up subscriptions; those the file does not know are left out."""
        return await self.read(lambda connection: _standings(connection, ids))


def enter(transaction: Transaction, entry: Entry, now: float) -> Arrival:
    """Log one event; at ttl 0 its deliveries go straight to the dead letters."""
    seq = transaction.event(entry.broker, entry.envelope, ttl=entry.ttl, accepted=now)
    if entry.ttl <= 0:
        for route in entry.routes:
            bury(transaction, route.id, seq, "hop limit", now, [])
        return Arrival(seq, entry.envelope, 0, [], dead=[route.n for route in entry.routes])
    wanted = [route.n for route in entry.routes if not route.window or _first(transaction, route.n, entry, seq, now)]
    for n in wanted:
        transaction.deliver(n, seq)
    return Arrival(seq, entry.envelope, entry.ttl, wanted, len(entry.routes) - len(wanted))


def bury(
    transaction: Transaction, subscription: str, event: int, reason: str, now: float, history: Sequence[Try]
) -> None:
    """Write a dead letter."""
    transaction.execute(
        "INSERT INTO dead (subscription, event, reason, died, history) VALUES (?, ?, ?, ?, ?)",
        (subscription, event, reason, now, msgspec.json.encode(history).decode()),
    )
