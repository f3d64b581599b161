"""What is written down when an event comes in: the event, and a delivery for each subscription that is to get it."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.events import Envelope
from trimtab.triggers.broker.dead import bury
from trimtab.triggers.broker.entries import FIRST_TTL, Arrival, Entry, Try
from trimtab.triggers.broker.transaction import Transaction

HOP_LIMIT = "hop limit"
DIRECT = ""
"""The broker under which events stand in the log that were put in for one subscription alone (cron)."""


def enter(transaction: Transaction, entry: Entry, now: float) -> Arrival:
    """Log one event. At ttl 0 what would be its deliveries are dead letters at once."""
    seq = transaction.event(entry.broker, entry.envelope, ttl=entry.ttl, accepted=now)
    if entry.ttl <= 0:
        for route in entry.routes:
            bury(transaction, route.id, seq, HOP_LIMIT, now)
        return Arrival(seq, entry.broker, entry.envelope, 0, [], dead=[route.n for route in entry.routes])
    wanted = [
        route.n for route in entry.routes if not route.window or _first(transaction, route.n, entry.envelope, seq, now)
    ]
    for n in wanted:
        transaction.deliver(n, seq)
    return Arrival(seq, entry.broker, entry.envelope, entry.ttl, wanted, len(entry.routes) - len(wanted))


def enqueue(transaction: Transaction, n: int, envelope: Envelope, now: float) -> Arrival | None:
    """Put in an event for subscription number `n` alone; None when it knows the event's (source, id) already."""
    seq = transaction.upcoming()
    claimed = transaction.execute(
        "INSERT INTO known (subscription, source, id, event, state) VALUES (?, ?, ?, ?, 'pending')"
        " ON CONFLICT DO NOTHING",
        (n, envelope.source, envelope.id, seq),
    )
    if not claimed.rowcount:
        return None
    transaction.event(DIRECT, envelope, ttl=FIRST_TTL, accepted=now)
    transaction.deliver(n, seq)
    return Arrival(seq, DIRECT, envelope, FIRST_TTL, [n])


def give_up(
    transaction: Transaction, id: str, envelope: Envelope, reason: str, history: Sequence[Try], now: float
) -> int:
    """Log an event that others tried to deliver in vain, as a dead letter of one subscription."""
    seq = transaction.event(DIRECT, envelope, ttl=FIRST_TTL, accepted=now)
    bury(transaction, id, seq, reason, now, history)
    return seq


def _first(transaction: Transaction, n: int, envelope: Envelope, seq: int, now: float) -> bool:
    """Say whether subscription number `n` has not got, and is not about to get, an event with this (source, id)."""
    claimed = transaction.execute(
        "INSERT INTO known (subscription, source, id, event, state) VALUES (?, ?, ?, ?, 'pending')"
        " ON CONFLICT DO UPDATE SET event = excluded.event, state = 'pending', finished = NULL, detail = '', until = NULL"
        " WHERE known.until <= ?",
        (n, envelope.source, envelope.id, seq, now),
    )
    return bool(claimed.rowcount)
