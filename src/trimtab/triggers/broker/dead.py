"""Dead letters: events that could not be delivered, with the reason and every try."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.events import Envelope, to_json
from trimtab.triggers.broker.entries import FIRST_TTL, Try
from trimtab.triggers.broker.transaction import Transaction


class Letter(Struct, kw_only=True):
    """One dead letter. `event` is in CloudEvents' JSON format, `died` in seconds since the epoch."""

    id: int
    function: str
    trigger: str
    event: dict[str, Any]
    reason: str
    died: float
    history: list[Try] = []


def bury(
    transaction: Transaction, subscription: str, event: int, reason: str, now: float, history: Sequence[Try] = ()
) -> None:
    """Write a dead letter."""
    transaction.execute(
        "INSERT INTO dead (subscription, event, reason, died, history) VALUES (?, ?, ?, ?, ?)",
        (subscription, event, reason, now, msgspec.json.encode(history).decode()),
    )


def letters(connection: sqlite3.Connection, ids: Sequence[int] | None, function: str | None) -> list[Letter]:
    """Read dead letters, oldest first: those of `ids` (None: all), of one function or of all."""
    where, parameters = _where(ids, function)
    rows = connection.execute(
        "SELECT dead.id, dead.subscription, dead.reason, dead.died, dead.history, events.attributes, events.data"  # noqa: S608 - fixed text
        f" FROM dead JOIN events ON events.seq = dead.event WHERE {where} ORDER BY dead.id",
        parameters,
    )
    return [_letter(*row) for row in rows.fetchall()]


def redrive(transaction: Transaction, ids: Sequence[int] | None, function: str | None, now: float) -> dict[str, int]:
    """Put dead letters back as deliveries that are due now, their history kept; those whose subscription is gone stay.

    Gives the number of letters by subscription.
    """
    transaction.flush()
    where, parameters = _where(ids, function)
    where = f"{where} AND dead.subscription IN (SELECT id FROM subscriptions)"  # noqa: S608 - fixed text
    count = _count(transaction, where, parameters)
    transaction.execute(
        "INSERT OR IGNORE INTO deliveries (subscription, event, due, attempt, history)"  # noqa: S608 - fixed text
        " SELECT subscriptions.n, dead.event, ?, 0, dead.history"
        f" FROM dead JOIN subscriptions ON subscriptions.id = dead.subscription WHERE {where}",
        (now, *parameters),
    )
    chosen = f"(SELECT dead.event FROM dead WHERE {where})"  # noqa: S608 - fixed text
    transaction.execute(f"UPDATE events SET ttl = ? WHERE ttl <= 0 AND seq IN {chosen}", (FIRST_TTL, *parameters))  # noqa: S608 - fixed text
    transaction.execute(
        "UPDATE known SET state = 'pending', until = NULL WHERE state = 'dead' AND (subscription, event) IN"  # noqa: S608 - fixed text
        " (SELECT subscriptions.n, dead.event"
        f" FROM dead JOIN subscriptions ON subscriptions.id = dead.subscription WHERE {where})",
        parameters,
    )
    transaction.execute(f"DELETE FROM dead WHERE {where}", parameters)  # noqa: S608 - fixed text
    return count


def drop(transaction: Transaction, ids: Sequence[int] | None, function: str | None) -> dict[str, int]:
    """Forget dead letters; gives their number by subscription."""
    where, parameters = _where(ids, function)
    transaction.flush()
    count = _count(transaction, where, parameters)
    transaction.execute(f"DELETE FROM dead WHERE {where}", parameters)  # noqa: S608 - fixed text
    return count


def _where(ids: Sequence[int] | None, function: str | None) -> tuple[str, list[Any]]:
    """Give a condition on table `dead`; a subscription's id is `<function>/<trigger>`, and "0" follows "/"."""
    conditions, parameters = ["1"], list[Any]()
    if ids is not None:
        conditions.append("dead.id IN (SELECT value FROM json_each(?))")
        parameters.append(msgspec.json.encode(ids).decode())
    if function is not None:
        conditions.append("dead.subscription > ? AND dead.subscription < ?")
        parameters += [f"{function}/", f"{function}0"]
    return " AND ".join(conditions), parameters


def _count(transaction: Transaction, where: str, parameters: Sequence[Any]) -> dict[str, int]:
    statement = f"SELECT subscription, count(*) FROM dead WHERE {where} GROUP BY subscription"  # noqa: S608 - fixed text
    return dict(transaction.execute(statement, parameters).fetchall())


def _letter(
    id: int, subscription: str, reason: str, died: float, history: str, attributes: str, data: bytes | None
) -> Letter:
    function, _, trigger = subscription.partition("/")
    envelope = Envelope(msgspec.json.decode(attributes, type=dict[str, str]), data)
    return Letter(
        id=id,
        function=function,
        trigger=trigger,
        event=to_json(envelope),
        reason=reason,
        died=died,
        history=msgspec.json.decode(history, type=list[Try]),
    )
