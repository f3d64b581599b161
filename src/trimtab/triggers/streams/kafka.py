"""Kafka by a consumer group with static membership.

An offset is committed only when everything before it has its outcome, in whatever order the outcomes come. A slow function
causes no rebalance: partitions that it cannot take more of are paused, and polled all the same, so that the member stays in
its group however long a call takes. A restart within the session's time keeps the partitions. When a partition goes to another
consumer, what we hold of it is forgotten before, and the other one begins at the last commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import AuthenticationFailedError, KafkaError, SaslAuthenticationFailed, TopicAlreadyExistsError

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams import tls
from trimtab.triggers.streams.abc import Lag, Message, Options, Publisher, Record, Start, Stream, StreamError
from trimtab.triggers.streams.faults import fault
from trimtab.triggers.streams.offsets import Offsets

_TIMEOUT = 10.0
_LONGEST = 120.0
"""Seconds after which a library that tries for ever is interrupted."""
_POLL_WITHIN_MS = 300_000
"""A consumer that has not polled for so long hangs, and leaves its group (`max.poll.interval.ms`)."""
_PAUSE_AFTER = 1.0
"""Seconds for which a partition is full before it is paused, which throws away what was fetched ahead of it."""
_SHORTEST_SESSION_MS = 6000
"""What brokers take at least (`group.min.session.timeout.ms`)."""
_ASSIGNED_WITHIN = 10.0
_LOOK_AGAIN = 0.1


class KafkaStream(Stream, ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """A member of a consumer group."""

    positions: ClassVar[bool] = True
    resumes: ClassVar[bool] = False
    parts: ClassVar[bool] = True

    def __init__(self, url: StreamUrl, options: Options) -> None:
        self._url, self._options = url, options
        self._consumer: Any = None
        self._full: dict[Any, float] = {}
        """Partitions of which nothing is to be taken, and since when."""
        self._offsets: dict[Any, Offsets] = {}
        self._new: set[Any] = set()
        """Partitions that were assigned and whose place is not known to be committed."""

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        self._offsets, self._new, self._full = {}, set(), {}
        async with _connecting(self._url):
            await _ensure(self._url)
            session = max(_SHORTEST_SESSION_MS, round(self._options.lease * 1000))
            self._consumer = AIOKafkaConsumer(
                group_id=self._url.group,
                group_instance_id=self._options.consumer or None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_poll_interval_ms=_POLL_WITHIN_MS,
                session_timeout_ms=session,
                rebalance_timeout_ms=session,
                heartbeat_interval_ms=max(1000, round(self._options.lease * 1000 / 10)),
                # A broker may hold a join for as long as a rebalance takes.
                **{**_settings(self._url), "request_timeout_ms": session + round(_TIMEOUT * 1000)},
            )
            await self._consumer.start()
            self._consumer.subscribe([self._url.stream], listener=self)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASSIGNED_WITHIN):
                    while not self._consumer.assignment():
                        await asyncio.sleep(0.02)
            await self._begin()

    async def close(self) -> None:
        """See Stream."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError, asyncio.InvalidStateError):
                await asyncio.wait_for(consumer.stop(), 5)

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        async with _translated():
            if self._new:
                await self._begin()
            wanted = [partition for partition in self._offsets if partition not in self._full]
            if self._full and not wanted:
                await asyncio.sleep(min(wait, _LOOK_AGAIN))
                return []
            found = await self._consumer.getmany(*wanted, timeout_ms=round(wait * 1000), max_records=most)
            messages = []
            for partition, records in found.items():
                if partition not in self._offsets:
                    continue  # taken away while they came; whoever has it now gets them
                for record in records:
                    self._offsets[partition].give(record.offset)
                    messages.append(_message(record, partition))
            return messages

    async def allow(self, most: int, room: int, full: Collection[str] = ()) -> None:
        """See Stream."""
        now = time.monotonic()
        ours = self._consumer.assignment() & self._offsets.keys()
        shut = [each for each in ours if room <= 0 or str(each.partition) in full]
        self._full = {partition: self._full.get(partition, now) for partition in shut}
        late = [partition for partition, since in self._full.items() if now - since >= _PAUSE_AFTER]
        paused = self._consumer.paused()
        self._consumer.pause(*(partition for partition in late if partition not in paused))
        self._consumer.resume(*(partition for partition in paused if partition not in self._full))
        if late:
            async with _translated():
                await self._poll(late)

    async def _poll(self, paused: Sequence[Any]) -> None:
        """Show that we live. What comes nevertheless, of a partition that was assigned anew meanwhile, is fetched again."""
        for partition, records in (await self._consumer.getmany(*paused)).items():
            if partition in self._offsets:
                self._consumer.seek(partition, records[0].offset)

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream. What is done before something that is not is told together with that."""
        moved = set()
        for message in messages:
            partition, offset = message.token
            offsets = self._offsets.get(partition)
            if offsets is not None and offsets.finish(offset):
                moved.add(partition)
        if moved:
            async with _translated():
                await self._consumer.commit({partition: self._offsets[partition].commit for partition in moved})

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream. What is not committed is lent again when the partition is next assigned."""

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream. They are ours for as long as the partition is."""

    async def lag(self) -> Lag:
        """See Stream. Of the partitions that are ours."""
        async with _translated():
            partitions = list(self._offsets)
            if not partitions:
                return Lag()
            ends = await self._consumer.end_offsets(partitions)
            waiting = 0
            for partition in partitions:
                if partition in self._offsets:
                    end = max(ends[partition], self._consumer.highwater(partition) or 0)
                    waiting += max(0, end - await self._consumer.position(partition))
            return Lag(waiting=waiting, pending=sum(offsets.open for offsets in self._offsets.values()))

    async def seek(self, start: Start) -> None:
        """See Stream. Moves the partitions that are ours."""
        async with _translated():
            places = await self._places(start, list(self._offsets))
            for partition, offset in places.items():
                self._consumer.seek(partition, offset)
                self._offsets[partition] = Offsets()
            if places:
                await self._consumer.commit(places)

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Forget what is lost, before anybody else can have it."""
        for partition in revoked:
            self._offsets.pop(partition, None)
            self._full.pop(partition, None)
            self._new.discard(partition)
            self.lost(str(partition.partition))

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Take note of what is ours now."""
        for partition in assigned:
            self._offsets[partition] = Offsets()
            self._new.add(partition)

    async def _begin(self) -> None:
        """Commit a place for every partition that has none: a `latest` that is worked out anew after each start would
        skip what came in between.
        """
        fresh = [partition for partition in list(self._new) if await self._consumer.committed(partition) is None]
        places = await self._places(self._options.start, fresh)
        for partition, offset in places.items():
            self._consumer.seek(partition, offset)
        if places:
            await self._consumer.commit(places)
        self._new.clear()

    async def _places(self, start: Start, partitions: list[Any]) -> dict[Any, int]:
        if not partitions:
            return {}
        if start.at == "earliest":
            found: dict[Any, int] = await self._consumer.beginning_offsets(partitions)
            return found
        if start.offset is not None:
            if not start.offset.isdecimal():
                raise StreamError(f"kafka: offset {start.offset!r} is not a number")
            return dict.fromkeys(partitions, int(start.offset))
        ends: dict[Any, int] = await self._consumer.end_offsets(partitions)
        if start.time is None:
            return ends
        times = await self._consumer.offsets_for_times(dict.fromkeys(partitions, round(start.time * 1000)))
        return {
            partition: times[partition].offset if times.get(partition) else ends[partition] for partition in partitions
        }


class KafkaPublisher(Publisher):
    """Publishes with `acks=all`."""

    def __init__(self, url: StreamUrl) -> None:
        self._url = url
        self._producer: Any = None

    async def open(self) -> None:
        """See Publisher."""
        async with _connecting(self._url):
            await _ensure(self._url)
            self._producer = AIOKafkaProducer(acks="all", linger_ms=2, **_settings(self._url))
            await self._producer.start()

    async def close(self) -> None:
        """See Publisher."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), 5)

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        if self._producer is None:
            raise StreamError("kafka: not connected")
        async with _translated():
            sent = [
                await self._producer.send(
                    self._url.stream,
                    record.body,
                    key=None if record.key is None else record.key.encode(),
                    headers=_headers(record),
                )
                for record in records
            ]
            await asyncio.wait_for(asyncio.gather(*sent), _TIMEOUT)


def _settings(url: StreamUrl) -> dict[str, Any]:
    secure = tls.context(url)
    settings: dict[str, Any] = {"bootstrap_servers": list(url.hosts), "request_timeout_ms": round(_TIMEOUT * 1000)}
    protocol = "SSL" if secure is not None else "PLAINTEXT"
    if url.user:
        protocol = f"SASL_{protocol}"
        mechanism = url.options.get("sasl", "plain").upper()
        settings |= {"sasl_mechanism": mechanism, "sasl_plain_username": url.user, "sasl_plain_password": url.password}
    return {**settings, "security_protocol": protocol, "ssl_context": secure}


async def _ensure(url: StreamUrl) -> None:
    """Make the topic where there is none: one partition, on up to three brokers. Whoever wants more makes it before."""
    admin = AIOKafkaAdminClient(**_settings(url))
    try:
        await admin.start()
        if url.stream not in await admin.list_topics():
            brokers = len((await admin.describe_cluster())["brokers"])
            with contextlib.suppress(TopicAlreadyExistsError):
                await admin.create_topics([NewTopic(url.stream, num_partitions=1, replication_factor=min(3, brokers))])
    finally:
        await admin.close()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_LONGEST):
            yield
    except (KafkaError, OSError, TimeoutError) as exc:
        raise fault("kafka", exc) from exc


@asynccontextmanager
async def _connecting(url: StreamUrl) -> AsyncIterator[None]:
    """The library says of all brokers together that there is none; the first one is asked why."""
    try:
        async with _translated():
            yield
    except (StreamError, KeyError) as exc:
        why = await _refusal(url)
        if why is None:
            raise
        refused = isinstance(why, (AuthenticationFailedError, SaslAuthenticationFailed, KeyError))
        raise fault("kafka", why, refused=refused) from exc


async def _refusal(url: StreamUrl) -> Exception | None:
    settings = _settings(url)
    host, _, port = settings.pop("bootstrap_servers")[0].rpartition(":")
    try:
        connection = await create_conn(host.strip("[]"), int(port), **settings)
    except (KafkaError, OSError, TimeoutError, KeyError) as exc:
        # A KeyError is what the library makes of a broker that ends SCRAM with an error.
        found: Exception = exc
        return found
    connection.close()
    return None


def _message(record: Any, partition: Any) -> Message:
    headers: dict[str, str] = {}
    for name, value in record.headers:
        lower = name.lower()
        headers[f"ce-{lower[3:]}" if lower.startswith("ce_") else lower] = (value or b"").decode("utf-8", "replace")
    return Message(
        body=record.value or b"",
        headers=headers,
        key=None if record.key is None else record.key.decode("utf-8", "replace"),
        partition=str(partition.partition),
        position=f"{partition.partition}-{record.offset}",
        offset=str(record.offset),
        time=record.timestamp / 1000 if record.timestamp and record.timestamp > 0 else None,
        token=(TopicPartition(partition.topic, partition.partition), record.offset),
    )


def _headers(record: Record) -> list[tuple[str, bytes]]:
    return [
        (f"ce_{name[3:]}" if name.startswith("ce-") else name, value.encode()) for name, value in record.headers.items()
    ]
