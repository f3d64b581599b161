"""Redis Streams by consumer groups (Redis 6.2 or later).

What we were lent and have not acked is in the group's list of pending entries under our name, so it outlives us and the
connection. Entries of consumers that have not been heard of for a lease are claimed (XAUTOCLAIM). A stream's length limit
does not know of groups: entries that are trimmed before they were read, or while they were pending, are gone. They are
counted as lost, and our own publisher sets no limit unless `maxlen` is in the URL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams import tls
from trimtab.triggers.streams.abc import Lag, Message, Options, Publisher, Record, Start, Stream, StreamError
from trimtab.triggers.streams.faults import fault

DATA, KEY = "data", "key"
"""The fields of an entry that hold body and key. An entry without `data` is an object, and its fields are the members."""
_DATA, _KEY = DATA.encode(), KEY.encode()
_HEADERS = (b"ce-", b"content-type", b"traceparent")
_CLAIMED = 500
_TIMEOUT = 10.0


class RedisStream(Stream):
    """A consumer of a group."""

    positions: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def __init__(self, url: StreamUrl, options: Options) -> None:
        self._url, self._options = url, options
        self._redis: Redis | None = None
        self._mine = "0"
        """The last of our own pending entries that was read again; empty when all were."""
        self._claimed = 0.0
        self._lost = self._gap = 0

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        self._redis = _connect(self._url)
        self._mine, self._claimed = "0", 0.0
        async with _translated():
            try:
                start = await self._id(self._options.start)
                await self._redis.xgroup_create(self._url.stream, self._url.group, start, mkstream=True)
            except ResponseError as exc:
                if not str(exc).startswith("BUSYGROUP"):
                    raise

    async def close(self) -> None:
        """See Stream."""
        redis, self._redis = self._redis, None
        await _close(redis)

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        async with _translated():
            while self._mine:
                if found := await self._again(most):
                    return found
            if time.monotonic() > self._claimed and (found := await self._claim(most)):
                return found
            return await self._fresh(most, wait)

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        async with _translated():
            await self._client.xack(self._url.stream, self._url.group, *(message.token for message in messages))

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream. Redis has no word for it: entries of an idle time beyond any lease are claimed by whoever asks."""
        self._claimed = 0.0
        async with _translated():
            for some in _parts(messages):
                await self._client.xclaim(
                    self._url.stream,
                    self._url.group,
                    self._options.consumer,
                    0,
                    [message.token for message in some],
                    idle=round(self._options.lease * 1000) + 1,
                    justid=True,
                )

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        async with _translated():
            for some in _parts(messages):
                await self._client.xclaim(
                    self._url.stream,
                    self._url.group,
                    self._options.consumer,
                    0,
                    [message.token for message in some],
                    justid=True,
                )

    async def lag(self) -> Lag:
        """See Stream."""
        async with _translated():
            groups = await self._client.xinfo_groups(self._url.stream)
            group = next((found for found in groups if _text(found["name"]) == self._url.group), None)
            if group is None:
                raise StreamError(f"{self._url}: the group {self._url.group!r} is gone")
            await self._notice(group)
            waiting = None if group.get("lag") is None else max(0, group["lag"] - self._gap)
            if waiting is None:
                waiting = await self._count_after(_text(group["last-delivered-id"]))
            return Lag(waiting=waiting, pending=group["pending"], lost=self._lost)

    async def seek(self, start: Start) -> None:
        """See Stream."""
        async with _translated():
            stream, group = self._url.stream, self._url.group
            identity = await self._id(start)
            while pending := await self._client.xpending_range(stream, group, "-", "+", 1000):
                await self._client.xack(stream, group, *(entry["message_id"] for entry in pending))
            await self._client.xgroup_setid(stream, group, identity)

    @property
    def _client(self) -> Redis:
        if self._redis is None:
            raise StreamError(f"{self._url}: not connected")
        return self._redis

    async def _id(self, start: Start) -> str:
        """Give the entry after which to begin."""
        if start.at == "earliest":
            return "0"
        if start.time is not None:
            return _previous(f"{round(start.time * 1000)}-0")
        if start.offset is not None:
            return _previous(start.offset)
        # Not "$", which is resolved when the group is made: a moment later, and again after a restart.
        newest = await self._client.xrevrange(self._url.stream, count=1)
        return _text(newest[0][0]) if newest else "0"

    async def _again(self, most: int) -> list[Message]:
        """Read what was lent to our name before; entries that were deleted meanwhile are lost."""
        found = await self._read(self._mine, most, None)
        self._mine = _text(found[-1][0]) if found else ""
        return await self._messages(found, redelivered=True)

    async def _claim(self, most: int) -> list[Message]:
        """Take over what others have not been heard of for a lease."""
        least = round(self._options.lease * 1000)
        answer = await self._client.xautoclaim(
            self._url.stream, self._url.group, self._options.consumer, least, "0-0", count=min(most, _CLAIMED)
        )
        self._lost += len(answer[2]) if len(answer) > 2 else 0
        found = [(entry, fields) for entry, fields in answer[1] if fields is not None]
        if not found:
            self._claimed = time.monotonic() + self._options.lease / 3
        return await self._messages(found, redelivered=True)

    async def _fresh(self, most: int, wait: float) -> list[Message]:
        found = await self._read(">", most, max(1, round(wait * 1000)))
        return await self._messages(found, redelivered=False)

    async def _read(self, after: str, most: int, block: int | None) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
        answer: Any = await self._client.xreadgroup(
            self._url.group, self._options.consumer, {self._url.stream: after}, count=most, block=block
        )
        if not answer:
            return []
        streams = list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer]
        entries: list[Any] = streams[0]
        return entries[0] if entries and isinstance(entries[0], list) else entries

    async def _messages(
        self, entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]], *, redelivered: bool
    ) -> list[Message]:
        gone = [entry for entry, fields in entries if not fields]
        if gone:
            self._lost += len(gone)
            await self._client.xack(self._url.stream, self._url.group, *gone)
        return [_message(entry, fields, redelivered=redelivered) for entry, fields in entries if fields]

    async def _notice(self, group: dict[str, Any]) -> None:
        """Count what was trimmed before the group read it: by how much the oldest entry is ahead of what was read.

        Both numbers are of Redis 7. Where entries were deleted one by one (XDEL), it cannot be told.
        """
        read = group.get("entries-read")
        info: dict[str, Any] = await self._client.xinfo_stream(self._url.stream)
        added = info.get("entries-added")
        if read is None or added is None or _text(info.get("max-deleted-entry-id")) != "0-0":
            return
        gap = max(0, added - info["length"] - read)
        self._lost += max(0, gap - self._gap)
        self._gap = gap

    async def _count_after(self, last: str) -> int:
        """Count by walking, where the server does not know (before Redis 7, or after XDEL)."""
        count, low = 0, f"({last}"
        while count < 100_000:
            found: list[Any] = await self._client.xrange(self._url.stream, low, "+", 1000) or []
            count += len(found)
            if len(found) < 1000:
                break
            low = f"({_text(found[-1][0])}"
        return count


class RedisPublisher(Publisher):
    """Adds to a stream; one round trip for all records of a call."""

    def __init__(self, url: StreamUrl) -> None:
        self._url = url
        self._redis: Redis | None = None
        self._maxlen = int(url.options["maxlen"]) if "maxlen" in url.options else None

    async def open(self) -> None:
        """See Publisher."""
        self._redis = _connect(self._url)
        async with _translated():
            await self._redis.ping()

    async def close(self) -> None:
        """See Publisher."""
        redis, self._redis = self._redis, None
        await _close(redis)

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        if self._redis is None:
            raise StreamError(f"{self._url}: not connected")
        async with _translated(), self._redis.pipeline(transaction=False) as pipeline:
            for record in records:
                fields: dict[Any, Any] = {**record.headers, DATA: record.body}
                if record.key is not None:
                    fields[KEY] = record.key
                pipeline.xadd(self._url.stream, fields, maxlen=self._maxlen, approximate=True)
            await pipeline.execute()


def _connect(url: StreamUrl) -> Redis:
    host, _, port = url.hosts[0].rpartition(":")
    secure = tls.context(url)
    more: dict[str, Any] = {}
    if secure is not None:
        more = {
            "ssl": True,
            "ssl_ca_certs": url.options.get("tls_ca"),
            "ssl_certfile": url.options.get("tls_cert"),
            "ssl_keyfile": url.options.get("tls_key"),
        }
    return Redis(
        host=host.strip("[]"),
        port=int(port),
        db=int(url.path or 0),
        username=url.user or None,
        password=url.password or None,
        socket_connect_timeout=_TIMEOUT,
        socket_timeout=_TIMEOUT,
        # Asking again by itself would leave what the first answer held pending, and unseen.
        retry=Retry(NoBackoff(), 0),
        **more,
    )


async def _close(redis: Redis | None) -> None:
    if redis is not None:
        try:
            await asyncio.wait_for(redis.aclose(), 2)
        except (RedisError, OSError, TimeoutError):
            return


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise fault("redis", exc, refused=isinstance(exc, AuthenticationError)) from exc


def _message(id: bytes, fields: dict[bytes, bytes], *, redelivered: bool) -> Message:
    offset = id.decode()
    if _DATA in fields:
        body, key = fields[_DATA], fields.get(_KEY)
        headers = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in fields.items()
            if name.startswith(_HEADERS)
        }
    elif b"ce-specversion" in fields:
        body, key = b"", fields.get(_KEY)
        headers = {_text(name): _text(value) for name, value in fields.items() if name.startswith(_HEADERS)}
    else:
        body, key = msgspec.json.encode({_text(name): _text(value) for name, value in fields.items()}), fields.get(_KEY)
        headers = {"content-type": "application/json"}
    return Message(
        body=body,
        headers=headers,
        key=None if key is None else _text(key),
        position=offset,
        offset=offset,
        time=int(offset.partition("-")[0]) / 1000,
        redelivered=redelivered,
        token=id,
    )


def _previous(offset: str) -> str:
    """Give the id right before one."""
    head, _, tail = offset.partition("-")
    if not head.isdecimal() or not (tail or "0").isdecimal():
        raise StreamError(f"offset {offset!r} is not an entry's id, such as 1700000000000-0")
    if int(tail or 0):
        return f"{head}-{int(tail) - 1}"
    return f"{int(head) - 1}-{2**64 - 1}" if int(head) else "0"


def _parts(messages: Sequence[Message]) -> list[Sequence[Message]]:
    return [messages[start : start + _CLAIMED] for start in range(0, len(messages), _CLAIMED)]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
