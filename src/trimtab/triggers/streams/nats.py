"""NATS JetStream by a durable pull consumer.

What is lent is ours until `ack_wait` runs out, on whatever connection: an acknowledgement is a message to a subject that is
made of the message's place. Messages that were sent and never arrived (a cut connection) come again only then, and newer
ones would overtake them; so, where order matters, opening waits for them. A replay needs a consumer with another start:
the new one is made before the old one is deleted, and the latest one is the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import NotFoundError

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams import tls
from trimtab.triggers.streams.abc import Lag, Message, Options, Publisher, Record, Start, Stream, StreamError
from trimtab.triggers.streams.faults import fault

_TIMEOUT = 10.0
_FETCH = 500
_LATE = 0.5
"""Seconds that the server may be late to notice that a lease has run out."""
_LENT = 65_536
"""Messages lent to all consumers of a group together, at most; each asks for no more than it has slots for."""
_PARALLEL = 256
"""Messages whose acceptance a publisher waits for at a time."""


class NatsStream(Stream):
    """A durable pull consumer."""

    positions: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def __init__(self, url: StreamUrl, options: Options) -> None:
        self._url, self._options = url, options
        self._subject = _subject(url)
        self._nats: Client | None = None
        self._pull: JetStreamContext.PullSubscription | None = None
        self._name = ""
        self._first: list[Message] = []
        """What was lent again, to be given before anything else."""
        self._unsure = 0
        """Acknowledgements that were sent before the connection was lost, and may have arrived."""

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        held, self._unsure = held - self._unsure, 0
        async with _translated():
            self._nats = await _connect(self._url)
            js = self._nats.jetstream(timeout=_TIMEOUT)
            await _ensure(js, self._url)
            self._name = await self._newest(js) or await self._make(js, self._url.group, self._options.start)
            await self._subscribe(js, held)

    async def close(self) -> None:
        """See Stream."""
        client, self._nats, self._pull = self._nats, None, None
        await _close(client)

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        if self._first:
            first, self._first = self._first[:most], self._first[most:]
            return first
        async with _translated():
            assert self._pull is not None
            try:
                found = await self._pull.fetch(min(most, _FETCH), timeout=wait)
            except TimeoutError:
                self._connected()
                return []
            return [self._message(each) for each in found]

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream. The flush comes back after the server has taken every acknowledgement before it."""
        self._unsure += len(messages)
        await self._say(messages, b"+ACK")
        self._unsure -= len(messages)

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        await self._say(messages, b"-NAK")

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        await self._say(messages, b"+WPI")

    async def lag(self) -> Lag:
        """See Stream."""
        async with _translated():
            info = await self._connected().jetstream(timeout=_TIMEOUT).consumer_info(self._url.stream, self._name)
            return Lag(waiting=info.num_pending or 0, pending=info.num_ack_pending or 0)

    async def seek(self, start: Start) -> None:
        """See Stream."""
        async with _translated():
            js = self._connected().jetstream(timeout=_TIMEOUT)
            before = self._name
            # A name that sorts after every earlier one; should we die here, the next `open` takes it.
            self._name = await self._make(js, f"{self._url.group}--{time.time_ns():020d}", start)
            if self._pull is not None:
                await self._pull.unsubscribe()
            await self._subscribe(js, 0)
            await js.delete_consumer(self._url.stream, before)

    async def _make(self, js: JetStreamContext, name: str, start: Start) -> str:
        await js.add_consumer(self._url.stream, _config(self._options, name, self._subject, start))
        return name

    async def _newest(self, js: JetStreamContext) -> str:
        """Find the group: the consumer that the last replay made, or the first one."""
        names = []
        offset = 0
        while found := await js.consumers_info(self._url.stream, offset=offset):
            names += [info.name for info in found]
            offset += len(found)
            if len(found) < 256:
                break
        ours = [name for name in names if name == self._url.group or name.startswith(f"{self._url.group}--")]
        return max(ours, default="")

    async def _subscribe(self, js: JetStreamContext, held: int) -> None:
        self._first = []
        self._pull = await js.pull_subscribe_bind(self._name, self._url.stream)
        pending = (await js.consumer_info(self._url.stream, self._name)).num_ack_pending or 0
        if self._options.ordered and pending > held:
            await self._until_due(js, held)
            await self._take_due(pending)

    async def _take_due(self, most: int) -> None:
        """Take what is lent again before anything new, and put it in order: the server sends it as the leases ran out."""
        assert self._pull is not None
        while len(self._first) < most:
            try:
                found = await self._pull.fetch(min(most - len(self._first), _FETCH), timeout=_LATE)
            except TimeoutError:
                break
            self._first += [self._message(each) for each in found]
        self._first.sort(key=lambda message: int(message.position))

    async def _until_due(self, js: JetStreamContext, held: int) -> None:
        """Wait until what was lent and never arrived is about to be lent again: the server then sends it first."""
        deadline = time.monotonic() + self._options.lease + _LATE
        while time.monotonic() < deadline:
            await asyncio.sleep(min(0.25, self._options.lease / 4))
            info = await js.consumer_info(self._url.stream, self._name)
            if (info.num_ack_pending or 0) <= held:
                return

    async def _say(self, messages: Sequence[Message], word: bytes) -> None:
        async with _translated():
            client = self._connected()
            for message in messages:
                await client.publish(message.token, word)
            await client.flush(timeout=round(_TIMEOUT))

    def _connected(self) -> Client:
        if self._nats is None or not self._nats.is_connected:
            raise StreamError("nats: the connection is lost")
        return self._nats

    def _message(self, found: Msg) -> Message:
        place = found.metadata
        headers = {name.lower(): value for name, value in (found.headers or {}).items()}
        sequence = str(place.sequence.stream)
        return Message(
            body=found.data,
            headers=headers,
            key=headers.get("ce-partitionkey") or headers.get("trimtab-key") or _rest(found.subject, self._subject),
            position=sequence,
            offset=sequence,
            time=place.timestamp.replace(tzinfo=place.timestamp.tzinfo or UTC).timestamp(),
            redelivered=(place.num_delivered or 1) > 1,
            token=found.reply,
        )


class NatsPublisher(Publisher):
    """Adds to a JetStream stream, and waits for its word."""

    def __init__(self, url: StreamUrl) -> None:
        self._url = url
        self._subject = _subject(url)
        self._nats: Client | None = None

    async def open(self) -> None:
        """See Publisher."""
        async with _translated():
            self._nats = await _connect(self._url)
            await _ensure(self._nats.jetstream(timeout=_TIMEOUT), self._url)

    async def close(self) -> None:
        """See Publisher."""
        client, self._nats = self._nats, None
        await _close(client)

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        if self._nats is None:
            raise StreamError("nats: not connected")
        js = self._nats.jetstream(timeout=_TIMEOUT)
        async with _translated():
            for start in range(0, len(records), _PARALLEL):
                some = records[start : start + _PARALLEL]
                accepted = [
                    await js.publish_async(_filled(self._subject, record.key), record.body, headers=_headers(record))
                    for record in some
                ]
                await asyncio.wait_for(asyncio.gather(*accepted), _TIMEOUT)


def _config(options: Options, name: str, subject: str, start: Start) -> ConsumerConfig:
    policy, sequence, moment = DeliverPolicy.NEW, None, None
    if start.at == "earliest":
        policy = DeliverPolicy.ALL
    elif start.time is not None:
        policy, moment = DeliverPolicy.BY_START_TIME, datetime.fromtimestamp(start.time, UTC).isoformat()
    elif start.offset is not None:
        if not start.offset.isdecimal():
            raise StreamError(f"nats: offset {start.offset!r} is not a sequence number")
        policy, sequence = DeliverPolicy.BY_START_SEQUENCE, max(1, int(start.offset))
    return ConsumerConfig(
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=policy,
        opt_start_seq=sequence,
        opt_start_time=moment,  # type: ignore[arg-type]  # the library sends it as it is, and the server wants text
        ack_wait=options.lease,
        max_ack_pending=_LENT,
        filter_subject=subject,
    )


async def _connect(url: StreamUrl) -> Client:
    more: dict[str, Any] = {}
    if url.password:
        more = {"user": url.user, "password": url.password}
    elif url.user:
        more = {"token": url.user}
    secure = tls.context(url)
    if secure is not None:
        more["tls"] = secure

    async def quiet(_: Exception) -> None:
        return None

    return await nats.connect(
        [f"{'tls' if url.tls else 'nats'}://{host}" for host in url.hosts],
        connect_timeout=5,
        # The consumer opens again by itself, and knows then what it may have missed.
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0.1,
        error_cb=quiet,
        **more,
    )


async def _ensure(js: JetStreamContext, url: StreamUrl) -> None:
    """Make the stream where there is none; one that is there stays as its owner made it."""
    try:
        await js.stream_info(url.stream)
    except NotFoundError:
        await js.add_stream(StreamConfig(name=url.stream, subjects=[_subject(url)]))


async def _close(client: Client | None) -> None:
    if client is not None:
        with contextlib.suppress(Error, OSError, TimeoutError, ValueError):
            await asyncio.wait_for(client.close(), 2)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (Error, OSError, TimeoutError) as exc:
        raise fault("nats", exc, refused="authorization violation" in str(exc).lower()) from exc


def _subject(url: StreamUrl) -> str:
    return url.options.get("subject", url.stream)


def _filled(subject: str, key: str | None) -> str:
    """Put the key where the subject has its wildcard: `orders.>` and `7` make `orders.7`."""
    if not subject.endswith((".>", ".*")):
        return subject
    return f"{subject[:-2]}.{_token(key or 'none')}"


def _token(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)


def _rest(subject: str, pattern: str) -> str | None:
    """Give what stands where the pattern has its wildcard, which is the key that the sender chose; None without one."""
    fixed = pattern.split("*")[0].split(">")[0]
    return subject[len(fixed) :] if fixed != pattern and subject.startswith(fixed) else None


def _headers(record: Record) -> dict[str, str]:
    key = {"trimtab-key": record.key} if record.key is not None else {}
    return {**record.headers, **key}
