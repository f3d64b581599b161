"""One open transaction: rows gather here and go to SQLite as few statements with many rows each.

Every step of a statement gives the interpreter's lock away and has to win it back from a busy event loop, so a
statement per row would make a group of a hundred events wait a hundred times (measured: ten times slower).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.events import Envelope

_ROWS = 128
_EXACT = 32
"""Statements hold so many rows, what remains goes in statements of up to so many: few texts, so that prepared statements
are found again, and few statements for the small groups that are the rule."""


class Outcome(Struct, frozen=True):
    """What a try of one delivery came to, as `trimtab trigger ls` shows it."""

    subscription: int
    at: float
    text: str
    delivered: bool


class Transaction:
    """Buffers of what is to be inserted and deleted, and the connection for everything else."""

    def __init__(self, connection: sqlite3.Connection, sequence: int = 0) -> None:
        self.sequence = sequence
        """The last event's number."""
        self._connection = connection
        self._events: list[tuple[Any, ...]] = []
        self._deliveries: list[tuple[int, int]] = []
        self._done: dict[int, list[int]] = {}
        self._outcomes: list[Outcome] = []

    def event(self, broker: str, envelope: Envelope, *, ttl: int, accepted: float) -> int:
        """Add an event to the log and return its sequence number."""
        self.sequence = seq = self.upcoming()
        attributes = msgspec.json.encode(envelope.attributes).decode()
        self._events.append((seq, broker, accepted, ttl, attributes, envelope.data))
        return seq

    def upcoming(self) -> int:
        """The sequence number that the next event gets."""
        return self.sequence + 1

    def deliver(self, subscription: int, event: int) -> None:
        """Add a delivery that was never tried."""
        self._deliveries.append((subscription, event))

    def done(self, subscription: int, event: int) -> None:
        """Remove a delivery."""
        self._done.setdefault(subscription, []).append(event)

    def outcome(self, outcome: Outcome) -> None:
        """Count a try."""
        self._outcomes.append(outcome)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run any other statement. It sees what was buffered only after `flush`."""
        return self._connection.execute(statement, parameters)

    def spare(self) -> int:
        """Bytes in the file that are free to be written again."""
        pages: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        size: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
        return pages * size

    def flush(self) -> None:
        """Send what was buffered."""
        events, self._events = self._events, []
        self._insert("INSERT INTO events (seq, broker, accepted, ttl, attributes, data) VALUES ", events)
        deliveries, self._deliveries = self._deliveries, []
        self._insert("INSERT INTO deliveries (subscription, event) VALUES ", deliveries)
        done, self._done = self._done, {}
        for subscription, numbers in done.items():
            for chunk in _chunks(numbers):
                marks = ",".join("?" * len(chunk))
                statement = f"DELETE FROM deliveries WHERE subscription = ? AND event IN ({marks})"  # noqa: S608
                self._connection.execute(statement, (subscription, *chunk))
        outcomes, self._outcomes = self._outcomes, []
        self._count(outcomes)

    def _insert(self, statement: str, rows: list[Any]) -> None:
        for chunk in _chunks(rows):
            marks = "(" + ",".join("?" * len(chunk[0])) + ")"
            self._connection.execute(statement + ",".join([marks] * len(chunk)), tuple(chain.from_iterable(chunk)))

    def _count(self, outcomes: list[Outcome]) -> None:
        delivered = Counter(outcome.subscription for outcome in outcomes if outcome.delivered)
        failed = Counter(outcome.subscription for outcome in outcomes if not outcome.delivered)
        for last in {outcome.subscription: outcome for outcome in outcomes}.values():
            n = last.subscription
            self._connection.execute(
                "UPDATE subscriptions SET delivered = delivered + ?, failed = failed + ?, last = ?, outcome = ?"
                " WHERE n = ?",
                (delivered[n], failed[n], last.at, last.text, n),
            )


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    start = 0
    while left := len(rows) - start:
        size = _ROWS if left >= _ROWS else min(left, _EXACT)
        yield rows[start : start + size]
        start += size
