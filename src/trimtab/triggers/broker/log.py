"""The log of accepted events: reading it, and forgetting what is old and delivered."""

from __future__ import annotations

import sqlite3

import msgspec

from trimtab.events import Envelope
from trimtab.triggers.broker.transaction import Transaction

SWEEP = 500
"""Events looked at in one transaction of a sweep: it holds up the others for a few milliseconds at most."""
SPARE_PAGES = 2048
"""Free pages (4 KiB) that the file keeps for what comes next; more are given back to the disk."""

_OF_TYPE = "AND (? IS NULL OR json_extract(attributes, '$.type') = ?)"

Logged = tuple[int, Envelope]


def latest(connection: sqlite3.Connection, broker: str, count: int, type: str | None = None) -> list[Logged]:
    """Read the last `count` events of a broker, of one type only if it is given, oldest first."""
    rows = connection.execute(
        f"SELECT seq, attributes, data FROM events WHERE broker = ? {_OF_TYPE} ORDER BY seq DESC LIMIT ?",  # noqa: S608  no input
        (broker, type, type, count),
    ).fetchall()
    return [_logged(row) for row in reversed(rows)]


def following(
    connection: sqlite3.Connection, broker: str, after: int, count: int, type: str | None = None
) -> list[Logged]:
    """Read the next `count` events of a broker after sequence number `after`, of one type only if it is given."""
    rows = connection.execute(
        f"SELECT seq, attributes, data FROM events WHERE seq > ? AND broker = ? {_OF_TYPE} ORDER BY seq LIMIT ?",  # noqa: S608  no input
        (after, broker, type, type, count),
    ).fetchall()
    return [_logged(row) for row in rows]


def sweep(transaction: Transaction, start: int, keep: int, cutoff: float) -> int:
    """Forget events from sequence number `start` on that nobody waits for: all but the last `keep`, and those accepted
    before `cutoff`. Looks at `SWEEP` of them; gives where to go on, 0 at the end.
    """
    transaction.flush()
    first, last = transaction.execute("SELECT min(seq), max(seq) FROM events WHERE seq >= ?", (start,)).fetchone()
    if first is None:
        return 0
    transaction.execute(
        "DELETE FROM events WHERE seq >= ? AND seq < ? AND (seq <= ? OR accepted < ?)"
        " AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.event = events.seq)"
        " AND NOT EXISTS (SELECT 1 FROM subscriptions AS s CROSS JOIN deliveries AS d"
        " ON d.subscription = s.n AND d.event = events.seq)",
        (first, first + SWEEP, last - keep, cutoff),
    )
    after = first + SWEEP
    oldest = transaction.execute("SELECT accepted FROM events WHERE seq >= ? LIMIT 1", (after,)).fetchone()
    ended = oldest is None or (after > last - keep and oldest[0] >= cutoff)
    return 0 if ended else after


def forget(transaction: Transaction, now: float) -> None:
    """Forget events that need not be known any longer, and give spare pages back: a bounded amount at a time."""
    transaction.execute(
        "DELETE FROM known WHERE (subscription, source, id) IN"
        " (SELECT subscription, source, id FROM known WHERE until <= ? LIMIT ?)",
        (now, SWEEP),
    )
    spare = transaction.execute("PRAGMA freelist_count").fetchone()[0] - SPARE_PAGES
    if spare > 0:
        transaction.execute(f"PRAGMA incremental_vacuum({min(spare, SWEEP)})").fetchall()


def _logged(row: tuple[int, str, bytes | None]) -> Logged:
    return row[0], Envelope(msgspec.json.decode(row[1], type=dict[str, str]), row[2])
