"""Subscriptions in the file: which there are, and what becomes of the deliveries of one that is taken away."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trimtab.triggers.broker.transaction import Transaction

REMOVED = "subscription removed"


class Standing(Struct, frozen=True, kw_only=True):
    """What the file knows about one subscription. `waiting` is when each retry is due."""

    n: int
    pending: int = 0
    waiting: list[float] = []
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    last: float | None = None
    outcome: str | None = None


def replace(transaction: Transaction, windows: Mapping[str, float], now: float) -> dict[str, Standing]:
    """Make `windows` (id -> seconds for which events are remembered) all the subscriptions there are.

    Deliveries of those that go are moved to the dead letters. Gives the standing of each that stays or is new.
    """
    transaction.flush()
    known = dict(transaction.execute("SELECT id, n FROM subscriptions").fetchall())
    for name, n in known.items():
        if name not in windows:
            _remove(transaction, name, n, now)
    standings: dict[str, Standing] = {}
    for name, window in windows.items():
        if name not in known:
            transaction.execute("INSERT INTO subscriptions (id) VALUES (?)", (name,))
        standings[name] = _standing(transaction, name)
        if not window:
            transaction.execute("DELETE FROM known WHERE subscription = ?", (standings[name].n,))
    return standings


def _remove(transaction: Transaction, id: str, n: int, now: float) -> None:
    transaction.execute(
        "INSERT INTO dead (subscription, event, reason, died, history)"
        " SELECT ?, event, ?, ?, history FROM deliveries WHERE subscription = ? ORDER BY event",
        (id, REMOVED, now, n),
    )
    for table, column in (("deliveries", "subscription"), ("known", "subscription"), ("subscriptions", "n")):
        transaction.execute(f"DELETE FROM {table} WHERE {column} = ?", (n,))  # noqa: S608 - fixed names


def _standing(transaction: Transaction, id: str) -> Standing:
    n, delivered, failed, last, outcome = transaction.execute(
        "SELECT n, delivered, failed, last, outcome FROM subscriptions WHERE id = ?", (id,)
    ).fetchone()
    pending = transaction.execute("SELECT count(*) FROM deliveries WHERE subscription = ?", (n,)).fetchone()[0]
    waiting = transaction.execute("SELECT due FROM deliveries WHERE subscription = ? AND due > 0", (n,)).fetchall()
    dead = transaction.execute("SELECT count(*) FROM dead WHERE subscription = ?", (id,)).fetchone()[0]
    return Standing(
        n=n,
        pending=pending,
        waiting=[due for (due,) in waiting],
        delivered=delivered,
        failed=failed,
        dead=dead,
        last=last,
        outcome=outcome,
    )
