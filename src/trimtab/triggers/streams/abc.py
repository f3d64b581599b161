"""The port to a broker's stream, its duties, and what passes through it. One backend a file; read this first.

Who owns a message that is not acked: the broker. It belongs to the consumer group and is *lent* to one consumer until
that acks it, gives it back, or is taken for dead: its connection is gone (RabbitMQ, MQTT), its lease has run out (Redis,
NATS, embedded), or its partition has another owner (Kafka). Then it is lent again. So nothing is lost, and whoever is
killed at the wrong moment causes a duplicate.

Order: `receive` gives the messages of one partition in the broker's order, those that are lent again before newer ones,
as long as the group has one consumer (Kafka: one for each partition, which the broker sees to). Which messages must wait
for which is the consumer's business.

Rebalance: when a partition gets another owner, `lost` is called with its name before anything of it can be lent to the
other one; what is held of it must be forgotten, and acks of it are ignored.

Positions: `Message.position` names a message for good where `positions` is true. Elsewhere (RabbitMQ, MQTT) it is made
of the content, and tells which message came again only together with `redelivered`.

Flow: no more messages are lent to us than the function has free slots for (calls at a time, times the batch), besides those
that wait behind another of their key or for their next try. Who is asked for messages gives no more than `receive` says;
who sends by itself is told by `allow`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from msgspec import Struct, field

from trimtab.errors import StreamError, Unsupported

__all__ = [
    "Lag",
    "Message",
    "Options",
    "Publisher",
    "Record",
    "Reopen",
    "Start",
    "Stream",
    "StreamError",
    "Unsupported",
]


class Message(Struct, kw_only=True):
    """One message that is lent to us.

    `headers` have lower-case names; what the broker's CloudEvents binding carries as attributes is there as `ce-<name>`,
    and the content type as `content-type`, whatever the broker calls them.
    """

    body: bytes
    headers: dict[str, str] = {}
    key: str | None = None
    """Messages of one key are to be handled in order."""
    partition: str = ""
    position: str = ""
    """Where it stands (`partition` + offset), the same each time that it is lent."""
    offset: str = ""
    time: float | None = None
    """When the broker took it, seconds since the epoch."""
    redelivered: bool = False
    """It may have been lent before."""
    token: Any = None
    """What the backend acks by."""


class Record(Struct, frozen=True, kw_only=True):
    """One message on its way to a stream; `headers` as in `Message`."""

    body: bytes
    headers: dict[str, str] = {}
    key: str | None = None


class Start(Struct, frozen=True, kw_only=True):
    """Where to begin: exactly one of them. `time` is seconds since the epoch."""

    at: str | None = None
    """`earliest` or `latest`."""
    time: float | None = None
    offset: str | None = None


class Lag(Struct, frozen=True, kw_only=True):
    """`waiting`: messages that the group has not been lent yet. `pending`: lent and not acked, by anyone of the group."""

    waiting: int = 0
    pending: int = 0
    lost: int = 0
    """Messages that the broker threw away before the group had them (a length limit), since the stream began."""


class Options(Struct, frozen=True, kw_only=True):
    """What every backend is told besides its address. Durations are seconds."""

    consumer: str = "trimtab"
    """Our name in the group. After a restart under the same name, what was lent to it comes back at once. Empty on Kafka: a
    new member each time."""
    start: Start = field(default_factory=lambda: Start(at="latest"))
    """Where a group begins that does not exist yet."""
    prefetch: int = 100
    """Messages that may be lent to us at a time, until `Stream.allow` says otherwise."""
    lease: float = 30.0
    """After so long without `extend`, what we hold is lent to another."""
    ordered: bool = True
    """Whether it is worth waiting for messages that are about to be lent again, so that newer ones do not overtake."""


class Reopen(Exception):
    """Raised by `Stream.allow` where only a new connection can have more lent, or nothing: the caller calls `close` and `open`."""


def _nobody(_: str) -> None:
    """Hear of a lost partition where nobody holds anything."""


class Stream(ABC):
    """One consumer of one group of one stream. Belongs to one event loop; methods are not called concurrently, except
    that `ack`, `nack` and `extend` may be while `receive` waits.

    Errors of all methods: StreamError, after which the caller calls `close` and `open` again.
    """

    positions: ClassVar[bool] = True
    resumes: ClassVar[bool] = False
    """Whether what we hold is still ours after `close` and `open`: tokens go on to be valid, and a message that is lent a
    second time is one that we hold already, or one that we never saw."""

    parts: ClassVar[bool] = False
    """Whether `allow` can leave single partitions out."""

    lost: Callable[[str], None] = staticmethod(_nobody)
    """Called with a partition that has another owner now; the consumer sets it."""

    @abstractmethod
    async def open(self, held: int = 0) -> None:
        """Connect; make stream and group where they are missing, at `Options.start`. `held`: what the caller holds."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect. Neither the group nor what is lent is given up. Never raises; may be called twice."""

    @abstractmethod
    async def receive(self, most: int, wait: float) -> list[Message]:
        """Take up to `most` messages, waiting up to `wait` seconds for the first."""

    async def allow(self, most: int, room: int, full: Collection[str] = ()) -> None:
        """Say how much may come: no more than `most` messages lent to us at a time, now `room` more (0: none), and none of
        the partitions `full`. Said before each `receive`, and a few times a second while there is no room; never while
        `receive` waits. Nothing to do where messages come only when they are asked for. Errors: Reopen.
        """
        return

    @abstractmethod
    async def ack(self, messages: Sequence[Message]) -> None:
        """These are done with. When it returns, the broker has been told."""

    @abstractmethod
    async def nack(self, messages: Sequence[Message]) -> None:
        """Give these back: they are lent again, to anyone, as soon as the broker can, at the latest after `close`."""

    @abstractmethod
    async def extend(self, messages: Sequence[Message]) -> None:
        """We still work on these. Nothing to do where a message is ours for as long as the connection lives."""

    @abstractmethod
    async def lag(self) -> Lag:
        """Say how far behind the group is."""

    async def seek(self, start: Start) -> None:
        """Move the whole group. Nothing is held when it is called. Errors: Unsupported."""
        raise Unsupported(f"{type(self).__name__.removesuffix('Stream')}: a queue forgets what was acked, no replay")


class Publisher(ABC):
    """Puts messages into one stream."""

    @abstractmethod
    async def open(self) -> None:
        """Connect; make the stream where it is missing and the broker needs it made. Errors: StreamError."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect. Never raises."""

    @abstractmethod
    async def publish(self, records: Sequence[Record]) -> None:
        """Add records in this order. The broker has all of them when it returns; after an error any part of them may be
        there. Errors: StreamError.
        """
