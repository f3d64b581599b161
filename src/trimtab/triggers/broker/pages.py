"""Reading deliveries from the file, a page at a time."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.events import Envelope
from trimtab.triggers.broker.entries import Delivery, Try

ROWS = 256
BYTES = 4 * 2**20
"""A page ends when it holds so many rows, or more than so many bytes."""

_SELECT = """
SELECT d.event, e.attributes, e.data, e.ttl, d.attempt, d.due, d.history
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.subscription = ? """
_FRESH = _SELECT + "AND d.event > ? AND d.due = 0 ORDER BY d.event"
_AGAIN = _SELECT + "AND d.due > 0 AND d.due <= ? ORDER BY d.due"
_NEXT = "SELECT min(due) FROM deliveries WHERE subscription = ? AND due > 0 AND due > ?"


class Page(Struct, frozen=True, kw_only=True):
    """What comes next: `fresh` were never tried (in order of acceptance), `again` are retries that are due.

    `more`: there are further fresh ones. `next_due`: when the first retry that is not in `again` is due.
    """

    fresh: list[Delivery]
    again: list[Delivery]
    more: bool
    next_due: float


def page(connection: sqlite3.Connection, n: int, *, after: int, now: float, claimed: Collection[int]) -> Page:
    """Read the deliveries of subscription number `n`: fresh ones of events after `after`, and due ones less `claimed`."""
    fresh, more = _take(connection.execute(_FRESH, (n, after)), frozenset())
    again, more_again = _take(connection.execute(_AGAIN, (n, now)), claimed)
    upcoming = connection.execute(_NEXT, (n, now)).fetchone()[0]
    next_due = now if more_again else math.inf if upcoming is None else upcoming
    return Page(fresh=fresh, again=again, more=more, next_due=next_due)


def _take(rows: sqlite3.Cursor, claimed: Collection[int]) -> tuple[list[Delivery], bool]:
    taken: list[Delivery] = []
    weight = 0
    for row in rows:
        if row[0] in claimed:
            continue
        if len(taken) == ROWS or weight > BYTES:
            rows.close()
            return taken, True
        taken.append(_delivery(row))
        weight += taken[-1].weight
    return taken, False


def _delivery(row: tuple[Any, ...]) -> Delivery:
    seq, attributes, data, ttl, tries, due, history = row
    envelope = Envelope(msgspec.json.decode(attributes, type=dict[str, str]), data)
    return Delivery(seq, envelope, ttl, tries, due, msgspec.json.decode(history, type=list[Try]))
