"""What is written down after a try: done, again later, or dead. Each is one step of a transaction, so that an answer's
events enter the log exactly when the delivery they answer leaves the queue."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from trimtab.triggers.broker.accept import enter
from trimtab.triggers.broker.dead import bury
from trimtab.triggers.broker.entries import Arrival, Delivery, Entry
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.transaction import Outcome, Transaction

REMEMBERED = 30 * 86400.0
"""Seconds for which an event that was put in by `enqueue` is known after its end, so that it is not put in again."""


class Ending(Struct, frozen=True, kw_only=True):
    """How a try ended: when, in words, and the events it was answered with."""

    at: float
    text: str
    replies: Sequence[Entry] = ()


def delivered(transaction: Transaction, line: Line, delivery: Delivery, ending: Ending) -> list[Arrival]:
    """The function took the event."""
    _leave(transaction, line, delivery)
    transaction.outcome(Outcome(line.n, ending.at, ending.text, delivered=True))
    if line.remembers:
        _remember(transaction, line, delivery, "delivered", ending)
    return [enter(transaction, entry, ending.at) for entry in ending.replies]


def put_off(transaction: Transaction, line: Line, delivery: Delivery, ending: Ending, due: float) -> None:
    """The delivery is tried again at `due`."""
    transaction.execute(
        "UPDATE deliveries SET due = ?, attempt = ?, history = ? WHERE subscription = ? AND event = ?",
        (due, delivery.tries, msgspec.json.encode(delivery.history).decode(), line.n, delivery.seq),
    )
    transaction.outcome(Outcome(line.n, ending.at, ending.text, delivered=False))
    if line.subscription.broker is None:
        transaction.execute(
            "UPDATE known SET attempts = ?, detail = ? WHERE subscription = ? AND source = ? AND id = ? AND event = ?",
            (delivery.tries, ending.text, line.n, *_key(delivery), delivery.seq),
        )


def given_up(transaction: Transaction, line: Line, delivery: Delivery, ending: Ending, reason: str | None) -> None:
    """No further try; `reason` None: a dead letter sink has taken the event, else it becomes a dead letter of ours."""
    _leave(transaction, line, delivery)
    transaction.outcome(Outcome(line.n, ending.at, ending.text, delivered=False))
    if reason is not None:
        bury(transaction, line.subscription.id, delivery.seq, reason, ending.at, delivery.history)
    if line.subscription.broker is None:
        _remember(transaction, line, delivery, "dead", ending)
    elif line.remembers:
        _forget(transaction, line, delivery)


def _leave(transaction: Transaction, line: Line, delivery: Delivery) -> None:
    transaction.done(line.n, delivery.seq)
    if line.leaving:
        # Removing the subscription made a dead letter of it while it was in flight; it has got its own end now.
        transaction.execute(
            "DELETE FROM dead WHERE subscription = ? AND event = ?", (line.subscription.id, delivery.seq)
        )


def _remember(transaction: Transaction, line: Line, delivery: Delivery, state: str, ending: Ending) -> None:
    kept = line.subscription.deduplicate or REMEMBERED
    transaction.execute(
        "UPDATE known SET state = ?, attempts = ?, finished = ?, detail = ?, until = ?"
        " WHERE subscription = ? AND source = ? AND id = ? AND event = ?",
        (state, delivery.tries, ending.at, ending.text, ending.at + kept, line.n, *_key(delivery), delivery.seq),
    )


def _forget(transaction: Transaction, line: Line, delivery: Delivery) -> None:
    transaction.execute(
        "DELETE FROM known WHERE subscription = ? AND source = ? AND id = ? AND event = ?",
        (line.n, *_key(delivery), delivery.seq),
    )


def _key(delivery: Delivery) -> tuple[str, str]:
    return delivery.envelope.source, delivery.envelope.id
