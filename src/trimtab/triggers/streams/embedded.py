"""The embedded stream: a log in one SQLite file, for one machine. What is published is synced to the disk.

Consumers and publishers are different processes. A group has a cursor (what it was lent) and a row for each message that
is lent and not acked. What every live group has acked may be forgotten, but the last 100,000 messages are kept for replay.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from trimtab.errors import StoreError
from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams.abc import Lag, Message, Options, Publisher, Record, Start, Stream
from trimtab.triggers.streams.embeddedfile import File

KEPT = 100_000
"""Messages of a stream that are kept although everybody has acked them."""
GONE = 7 * 86400.0
"""Seconds without a consumer after which a group no longer keeps messages from being forgotten."""
_SWEEP_EVERY = 10_000
_POLL = (0.002, 0.05)
"""Seconds between two looks for new messages, at first and at most."""
_AGAIN = """
SELECT seq, key, time, headers, body FROM messages WHERE seq IN
(SELECT seq FROM lent WHERE stream = ? AND name = ? AND lease <= ? ORDER BY seq LIMIT ?) ORDER BY seq"""
_FRESH = """
SELECT seq, key, time, headers, body FROM messages
WHERE stream = ?1 AND seq > (SELECT cursor FROM groups WHERE stream = ?1 AND name = ?2) ORDER BY seq LIMIT ?3"""


class EmbeddedStream(Stream):
    """A group of an embedded stream."""

    positions: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def __init__(self, url: StreamUrl, options: Options, path: Path) -> None:
        self._stream, self._group, self._options = url.stream, url.group, options
        # A lost acknowledgement is a duplicate, so this side need not wait for the disk.
        self._file = File(path, synced=False)
        self._version = -1

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        await self._file.open()
        now = time.time()

        def enter(connection: sqlite3.Connection) -> None:
            cursor = _before(connection, self._stream, self._options.start)
            connection.execute(
                "INSERT INTO groups (stream, name, cursor, seen) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET seen = excluded.seen",
                (self._stream, self._group, cursor, now),
            )
            if not held:
                connection.execute(
                    "UPDATE lent SET lease = 0 WHERE stream = ? AND name = ? AND owner = ?",
                    (self._stream, self._group, self._options.consumer),
                )

        await self._file.write(enter)

    async def close(self) -> None:
        """See Stream."""
        await self._file.close()

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        deadline, pause = time.monotonic() + wait, _POLL[0]
        while True:
            if messages := await self._file.write(lambda connection: self._lend(connection, most)):
                return messages
            while not await self._file.read(self._changed):
                if time.monotonic() + pause > deadline:
                    return []
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _POLL[1])

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        rows = [(self._stream, self._group, message.token) for message in messages]
        await self._file.write(
            lambda connection: connection.executemany(
                "DELETE FROM lent WHERE stream = ? AND name = ? AND seq = ?", rows
            )
        )

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        await self._lease(messages, 0.0)

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        await self._lease(messages, time.time() + self._options.lease)

    async def lag(self) -> Lag:
        """See Stream."""
        here = (self._stream, self._group)
        seen = (time.time(), *here)

        def look(connection: sqlite3.Connection) -> Lag:
            connection.execute("UPDATE groups SET seen = ? WHERE stream = ? AND name = ?", seen)
            waiting = connection.execute(
                "SELECT count(*) FROM messages WHERE stream = ?1 AND seq >"
                " (SELECT cursor FROM groups WHERE stream = ?1 AND name = ?2)",
                here,
            ).fetchone()[0]
            pending = connection.execute("SELECT count(*) FROM lent WHERE stream = ? AND name = ?", here).fetchone()[0]
            return Lag(waiting=waiting, pending=pending)

        return await self._file.write(look)

    async def seek(self, start: Start) -> None:
        """See Stream."""

        def move(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM lent WHERE stream = ? AND name = ?", (self._stream, self._group))
            connection.execute(
                "UPDATE groups SET cursor = ? WHERE stream = ? AND name = ?",
                (_before(connection, self._stream, start), self._stream, self._group),
            )

        await self._file.write(move)

    def _changed(self, connection: sqlite3.Connection) -> bool:
        """Tell whether somebody else wrote to the file, or a lease may have run out."""
        version, self._version = self._version, connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            return True
        expired = "SELECT 1 FROM lent WHERE stream = ? AND name = ? AND lease <= ? LIMIT 1"
        return connection.execute(expired, (self._stream, self._group, time.time())).fetchone() is not None

    def _lend(self, connection: sqlite3.Connection, most: int) -> list[Message]:
        here, now = (self._stream, self._group), time.time()
        again = connection.execute(_AGAIN, (*here, now, most)).fetchall()
        fresh = connection.execute(_FRESH, (*here, most - len(again))).fetchall()
        if fresh:
            connection.execute("UPDATE groups SET cursor = ? WHERE stream = ? AND name = ?", (fresh[-1][0], *here))
        connection.executemany(
            "INSERT INTO lent (stream, name, seq, owner, lease) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET owner = excluded.owner, lease = excluded.lease",
            [(*here, row[0], self._options.consumer, now + self._options.lease) for row in again + fresh],
        )
        return [_message(row, redelivered=True) for row in again] + [_message(row, redelivered=False) for row in fresh]

    async def _lease(self, messages: Sequence[Message], until: float) -> None:
        rows = [(until, self._stream, self._group, message.token, self._options.consumer) for message in messages]
        await self._file.write(
            lambda connection: connection.executemany(
                "UPDATE lent SET lease = ? WHERE stream = ? AND name = ? AND seq = ? AND owner = ?", rows
            )
        )


class EmbeddedPublisher(Publisher):
    """Adds to an embedded stream."""

    def __init__(self, url: StreamUrl, path: Path) -> None:
        self._stream = url.stream
        self._file = File(path, synced=True)
        self._count = 0

    async def open(self) -> None:
        """See Publisher."""
        await self._file.open()

    async def close(self) -> None:
        """See Publisher."""
        await self._file.close()

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        now = time.time()
        rows = [
            (self._stream, record.key, now, msgspec.json.encode(record.headers).decode(), record.body)
            for record in records
        ]
        self._count += len(rows)
        sweep, self._count = self._count >= _SWEEP_EVERY, self._count % _SWEEP_EVERY

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO messages (stream, key, time, headers, body) VALUES (?, ?, ?, ?, ?)", rows
            )
            if sweep:
                _sweep(connection, self._stream, now)

        await self._file.write(add)


def _before(connection: sqlite3.Connection, stream: str, start: Start) -> int:
    """Give the number after which a group begins."""
    if start.at == "earliest":
        return 0
    if start.offset is not None:
        if not start.offset.isdecimal():
            raise StoreError(f"offset {start.offset!r} of stream {stream!r} is not a number, as in an event's `offset`")
        return int(start.offset) - 1
    until = "" if start.time is None else "AND time < ?"
    parameters = (stream,) if start.time is None else (stream, start.time)
    found = connection.execute(f"SELECT max(seq) FROM messages WHERE stream = ? {until}", parameters)  # noqa: S608
    return found.fetchone()[0] or 0


def _sweep(connection: sqlite3.Connection, stream: str, now: float) -> None:
    floor = connection.execute(
        "SELECT min(coalesce((SELECT min(seq) FROM lent WHERE lent.stream = groups.stream AND lent.name = groups.name),"
        " cursor + 1)) FROM groups WHERE stream = ? AND seen > ?",
        (stream, now - GONE),
    ).fetchone()[0]
    kept = connection.execute(
        "SELECT seq FROM messages WHERE stream = ? ORDER BY seq DESC LIMIT 1 OFFSET ?", (stream, KEPT)
    ).fetchone()
    if kept is not None:
        last = kept[0] if floor is None else min(kept[0], floor - 1)
        connection.execute("DELETE FROM messages WHERE stream = ? AND seq <= ?", (stream, last))


def _message(row: tuple[int, str | None, float, str, bytes], *, redelivered: bool) -> Message:
    seq, key, moment, headers, body = row
    return Message(
        body=body,
        headers=msgspec.json.decode(headers, type=dict[str, str]),
        key=key,
        position=str(seq),
        offset=str(seq),
        time=moment,
        redelivered=redelivered,
        token=seq,
    )
