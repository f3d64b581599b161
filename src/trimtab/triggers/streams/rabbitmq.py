"""RabbitMQ: a quorum queue with manual acknowledgement, and a prefetch that follows the function's free slots (`lending`).

What is lent belongs to the connection: when that ends, everything unacked goes back to the queue. A queue forgets
what was acked, so there is no replay. The group's name is of no use here: who takes from one queue shares it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams import tls
from trimtab.triggers.streams.abc import (
    Lag,
    Message,
    Options,
    Publisher,
    Record,
    Start,
    Stream,
    StreamError,
    Unsupported,
)
from trimtab.triggers.streams.faults import fault
from trimtab.triggers.streams.lending import COUNT, Lending, count

_TIMEOUT = 10.0
_PREFIXES = ("cloudEvents:", "cloudEvents_")
_KEY = "trimtab-key"


class RabbitMQStream(Stream):
    """A consumer of a queue."""

    positions: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    def __init__(self, url: StreamUrl, options: Options) -> None:
        self._url, self._options = url, options
        self._most = options.prefetch
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._lending: Lending | None = None

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        async with _translated():
            self._connection = await _connect(self._url)
            queue = await _declare(self._connection, self._url)
            lending = self._lending = Lending(queue, self._options.consumer)
            self._channel = queue.channel
            for side in (self._connection, self._channel):
                side.close_callbacks.add(lambda *_: lending.came.put_nowait(None))
            # The queue was deleted, or has another leader: what we held is no longer ours.
            below = await self._channel.get_underlay_channel()
            below.on_consumer_cancel_callbacks.add(lambda _: lending.came.put_nowait(None))
            await lending.begin(self._most, ordered=self._options.ordered)

    async def close(self) -> None:
        """See Stream."""
        connection, self._connection, self._lending = self._connection, None, None
        await _close(connection)

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        came = self._lends.came
        try:
            async with asyncio.timeout(wait):
                found = [await came.get()]
        except TimeoutError:
            return []
        while not came.empty() and len(found) < most:
            found.append(came.get_nowait())
        if None in found:
            came.put_nowait(None)
            raise StreamError("rabbitmq: the connection is lost")
        return [_message(each, self._url) for each in found if each is not None]

    async def allow(self, most: int, room: int, full: Collection[str] = ()) -> None:
        """See Stream."""
        self._most = most
        async with _translated():
            await self._lends.follow(most, room)

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        async with _translated():
            await self._lends.ack([message.token for message in messages])

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream. The queue would put them behind all that wait: they go back in their places when the connection ends."""

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream. A message is ours for as long as the connection lives."""

    async def lag(self) -> Lag:
        """See Stream. What other consumers of the queue hold is not known."""
        async with _translated():
            if self._channel is None:
                raise StreamError("rabbitmq: not connected")
            found = await self._channel.declare_queue(self._url.stream, passive=True, timeout=_TIMEOUT)
            waiting = found.declaration_result.message_count or 0
            return Lag(waiting=waiting, pending=self._lends.lent)

    async def seek(self, start: Start) -> None:
        """See Stream."""
        raise Unsupported(f"{self._url} is a queue of RabbitMQ, which forgets what was acked: there is no replay")

    @property
    def _lends(self) -> Lending:
        if self._lending is None:
            raise StreamError("rabbitmq: not connected")
        return self._lending


class RabbitMQPublisher(Publisher):
    """Publishes to a queue, or to an exchange, and waits for the broker's confirmation."""

    def __init__(self, url: StreamUrl) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._exchange: Any = None

    async def open(self) -> None:
        """See Publisher."""
        async with _translated():
            self._connection = await _connect(self._url)
            queue = await _declare(self._connection, self._url)
            name = self._url.options.get("exchange")
            channel = queue.channel
            made = await self._connection.channel(publisher_confirms=True)
            await channel.close()
            self._exchange = await made.get_exchange(name, ensure=False) if name else made.default_exchange

    async def close(self) -> None:
        """See Publisher."""
        connection, self._connection = self._connection, None
        await _close(connection)

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        if self._connection is None:
            raise StreamError("rabbitmq: not connected")
        key = self._url.options.get("key", self._url.stream)
        async with _translated():
            sent = [
                self._exchange.publish(_written(record), key, mandatory=True, timeout=_TIMEOUT) for record in records
            ]
            await asyncio.gather(*sent)


async def _connect(url: StreamUrl) -> AbstractConnection:
    host, _, port = url.hosts[0].rpartition(":")
    return await aio_pika.connect(
        host=host.strip("[]"),
        port=int(port),
        login=url.user or "guest",
        password=url.password or "guest",
        virtualhost=url.path or "/",
        ssl=url.tls,
        ssl_context=tls.context(url),
        timeout=_TIMEOUT,
    )


async def _declare(connection: AbstractConnection, url: StreamUrl) -> AbstractQueue:
    """Take the queue as it is; where there is none, make a quorum queue, which survives a broker of a cluster."""
    channel = await connection.channel()
    try:
        return await channel.declare_queue(url.stream, passive=True, timeout=_TIMEOUT)
    except ChannelNotFoundEntity:
        channel = await connection.channel()
    # Version 4 throws a message away after 20 redeliveries unless it is told not to; version 3 knows no such limit.
    limit = {"x-delivery-limit": -1} if _version(connection) >= 4 else {}
    queue = await channel.declare_queue(
        url.stream, durable=True, arguments={"x-queue-type": "quorum", **limit}, timeout=_TIMEOUT
    )
    if name := url.options.get("exchange"):
        await queue.bind(name, routing_key=url.options.get("key", "#"), timeout=_TIMEOUT)
    return queue


def _version(connection: Any) -> int:
    with contextlib.suppress(AttributeError, KeyError, ValueError, TypeError):
        found = connection.transport.connection.server_properties["version"]
        return int((found.decode() if isinstance(found, bytes) else str(found)).partition(".")[0])
    return 3


async def _close(connection: AbstractConnection | None) -> None:
    if connection is not None:
        with contextlib.suppress(AMQPError, OSError, TimeoutError, RuntimeError):
            await asyncio.wait_for(connection.close(), 2)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (AMQPError, OSError, TimeoutError, RuntimeError) as exc:
        refused = isinstance(exc, (AuthenticationError, ProbableAuthenticationError))
        raise fault("rabbitmq", exc, refused=refused) from exc


def _message(found: AbstractIncomingMessage, url: StreamUrl) -> Message:
    headers: dict[str, str] = {}
    for name, value in found.headers.items():
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        headers[f"ce-{name[len(prefix) :]}" if prefix else name.lower()] = _text(value)
    headers.pop(COUNT, None)
    if found.content_type:
        headers["content-type"] = found.content_type
    key = headers.pop(_KEY, None) or headers.get("ce-partitionkey")
    if key is None and found.routing_key not in ("", url.stream, url.options.get("key")):
        key = found.routing_key
    return Message(
        body=found.body,
        headers=headers,
        key=key,
        position=found.message_id or "",
        time=found.timestamp.timestamp() if isinstance(found.timestamp, datetime) else None,
        redelivered=bool(found.redelivered) or count(found) > 0,
        token=found,
    )


def _written(record: Record) -> aio_pika.Message:
    headers: dict[str, Any] = {
        f"{_PREFIXES[1]}{name[3:]}" if name.startswith("ce-") else name: value
        for name, value in record.headers.items()
        if name != "content-type"
    }
    if record.key is not None:
        headers[_KEY] = record.key
    return aio_pika.Message(
        record.body,
        headers=headers,
        content_type=record.headers.get("content-type"),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        # A place of its own: the id of an event that travels is not new each time that it does.
        message_id=uuid.uuid4().hex,
        timestamp=int(time.time()),
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
