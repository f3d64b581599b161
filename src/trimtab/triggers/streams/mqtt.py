"""MQTT 5 at QoS 1: a persistent session on a shared subscription, with acknowledgements sent by hand.

What is lent belongs to the session, whose name is the consumer's: after a reconnect the broker sends again what was not
acked. A session that nobody comes back to is kept for `session` seconds (a day unless the URL says otherwise), and the
messages that wait in it with it. There is neither a replay nor a lag to ask for. How much is lent at a time (the Receive
Maximum) is agreed when the session is taken up: as much as the function may ever take at a time; when messages that wait for
their next try use that up, the session is taken up anew with more. The client library runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams import tls
from trimtab.triggers.streams.abc import (
    Lag,
    Message,
    Options,
    Publisher,
    Record,
    Reopen,
    Start,
    Stream,
    StreamError,
    Unsupported,
)
from trimtab.triggers.streams.faults import fault

_TIMEOUT = 10.0
_DAY = 86400
_KEEPALIVE = 15
_IN_FLIGHT = 500
_NOBODY = 0x10
"""A success to MQTT (5.0, section 3.4.2.1). Mosquitto 2.0 says it of shared subscriptions after it was started anew, too."""
_UNKNOWN = ("Not authorized", "Bad user name or password")
_CALM = 0.25
"""Seconds for which too little is lent before the session is taken up anew."""
_MOST = 65_535
_attribute = re.compile(r"[a-z0-9]+").fullmatch


class _Session:
    """The library's client, with its callbacks brought to the loop."""

    def __init__(self, url: StreamUrl, name: str, *, keep: int, most: int) -> None:
        self._url, self._keep, self._most = url, keep, most
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._connected: asyncio.Future[str] = self._loop.create_future()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self.client.max_inflight_messages_set(_IN_FLIGHT)
        if url.user:
            self.client.username_pw_set(url.user, url.password or None)
        secure = tls.context(url)
        if secure is not None:
            self.client.tls_set_context(secure)
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.call(self.heard, self._connected, _why(reason))
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.call(self.heard, self.lost, str(reason))

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call on the loop, from the library's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(function, *arguments)

    async def connect(self) -> None:
        """Connect and take up the session. Errors: StreamError."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._keep
        properties.ReceiveMaximum = self._most
        host, _, port = self._url.hosts[0].rpartition(":")
        try:
            await asyncio.to_thread(
                self.client.connect,
                host.strip("[]"),
                int(port),
                _KEEPALIVE,
                clean_start=not self._keep,
                properties=properties,
            )
            self.client.loop_start()
            refused = await asyncio.wait_for(self._connected, _TIMEOUT)
        except (OSError, ValueError, TimeoutError) as exc:
            raise fault("mqtt", exc) from exc
        if refused:
            reason = ConnectionRefusedError(refused)
            raise fault("mqtt", reason, refused=refused in _UNKNOWN) from reason

    async def close(self) -> None:
        """Disconnect; the session stays."""
        with contextlib.suppress(OSError, ValueError):
            self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)

    @staticmethod
    def heard(future: asyncio.Future[str], text: str) -> None:
        """Let whoever waits for the broker's word have it."""
        if not future.done():
            future.set_result(text)


class MqttStream(Stream):
    """A member of a shared subscription."""

    positions: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    def __init__(self, url: StreamUrl, options: Options) -> None:
        self._url, self._options = url, options
        self._filter = url.stream if url.stream.startswith("$share/") else f"$share/{url.group}/{url.stream}"
        self._session: _Session | None = None
        self._came: asyncio.Queue[MQTTMessage] = asyncio.Queue()
        self._lent = 0
        self._window = self._wanted = options.prefetch
        self._short: float | None = None
        """Since when more should be lent than was agreed."""

    async def open(self, held: int = 0) -> None:
        """See Stream."""
        self._came, self._lent, self._short = asyncio.Queue(), 0, None
        self._window, self._wanted = self._wanted, self._options.prefetch
        keep = int(self._url.options.get("session", _DAY))
        session = _Session(self._url, self._options.consumer, keep=keep, most=self._window)
        self._session, came = session, self._came
        session.client.on_message = lambda _c, _u, message: session.call(came.put_nowait, message)
        subscribed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def granted(_c: Any, _u: Any, _mid: int, reasons: Any, _p: Any) -> None:
            session.call(session.heard, subscribed, _why(reasons[0]))

        session.client.on_subscribe = granted
        await session.connect()
        session.client.subscribe(self._filter, qos=1)
        try:
            refused = await asyncio.wait_for(subscribed, _TIMEOUT)
        except TimeoutError as exc:
            raise StreamError(f"mqtt: no answer to the subscription of {self._filter!r}") from exc
        if refused:
            raise StreamError(f"mqtt: the broker refuses {self._filter!r}: {refused}")

    async def close(self) -> None:
        """See Stream."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def receive(self, most: int, wait: float) -> list[Message]:
        """See Stream."""
        session = self._live()
        getting = asyncio.ensure_future(self._came.get())
        either: list[asyncio.Future[Any]] = [getting, session.lost]
        try:
            await asyncio.wait(either, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                self._live()
                return []
            found = [getting.result()]
        finally:
            getting.cancel()
        while not self._came.empty() and len(found) < most:
            found.append(self._came.get_nowait())
        self._lent += len(found)
        return [_message(each, self._url) for each in found]

    async def allow(self, most: int, room: int, full: Collection[str] = ()) -> None:
        """See Stream. Less than was agreed cannot be had."""
        used_up = self._lent + self._came.qsize() >= self._window
        if room <= 0 or most <= self._window or not used_up:
            self._short = None
            return
        now = time.monotonic()
        self._short = now if self._short is None else self._short
        if now - self._short >= _CALM:
            self._wanted = min(max(most, 2 * self._window), _MOST)
            raise Reopen

    async def ack(self, messages: Sequence[Message]) -> None:
        """See Stream."""
        client = self._live().client
        for message in messages:
            client.ack(message.token, 1)
        self._lent -= len(messages)
        self._live()

    async def nack(self, messages: Sequence[Message]) -> None:
        """See Stream. MQTT has no word for it: the session keeps them until its consumer comes back."""

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Stream. They are the session's."""

    async def lag(self) -> Lag:
        """See Stream. What waits in the broker is not known."""
        return Lag(waiting=self._came.qsize(), pending=self._lent)

    async def seek(self, start: Start) -> None:
        """See Stream."""
        raise Unsupported(f"{self._url}: MQTT forgets what was acked, there is no replay")

    def _live(self) -> _Session:
        if self._session is None or self._session.lost.done():
            why = self._session.lost.result() if self._session is not None else "not connected"
            raise StreamError(f"mqtt: the connection is lost: {why}")
        return self._session


class MqttPublisher(Publisher):
    """Publishes at QoS 1, and waits for the broker's word: a broker that says that nobody subscribes has kept nothing."""

    def __init__(self, url: StreamUrl) -> None:
        self._url = url
        self._session: _Session | None = None
        self._waiting: dict[int, asyncio.Future[str]] = {}

    async def open(self) -> None:
        """See Publisher."""
        session = self._session = _Session(self._url, "", keep=0, most=_IN_FLIGHT)
        session.client.on_publish = lambda _c, _u, mid, reason, _p: session.call(self._taken, mid, _untaken(reason))
        self._waiting.clear()  # the numbers are the session's
        await session.connect()

    async def close(self) -> None:
        """See Publisher."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        session = self._session
        if session is None or session.lost.done():
            raise StreamError("mqtt: not connected")
        loop = asyncio.get_running_loop()
        sent = []
        for record in records:
            info = session.client.publish(_topic(self._url, record.key), record.body, 1, properties=_properties(record))
            sent.append(self._waiting.setdefault(info.mid, loop.create_future()))
        every = asyncio.gather(*sent)
        either: list[asyncio.Future[Any]] = [every, session.lost]
        await asyncio.wait(either, timeout=_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        refused = [text for text in every.result() if text] if every.done() else ["no answer"]
        every.cancel()
        if refused:
            raise StreamError(f"mqtt: {refused[0]}")

    def _taken(self, mid: int, refused: str) -> None:
        future = self._waiting.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(refused)


def _why(reason: Any) -> str:
    """Say why something was refused; empty when it was not."""
    return str(reason) if reason.is_failure else ""


def _untaken(reason: Any) -> str:
    """Say why a message is not kept; empty when it is."""
    if reason.value == _NOBODY:
        return "nobody subscribes to the topic, and a broker keeps nothing that nobody subscribes to"
    return _why(reason)


def _message(found: MQTTMessage, url: StreamUrl) -> Message:
    properties = found.properties
    given = dict(getattr(properties, "UserProperty", ()))
    if "specversion" in given:
        headers = {f"ce-{name}": value for name, value in given.items() if _attribute(name)}
    else:
        headers = {name.lower(): value for name, value in given.items()}
    if content_type := getattr(properties, "ContentType", None):
        headers["content-type"] = content_type
    key = given.get("partitionkey") or given.get("trimtab-key") or _rest(found.topic, url.stream)
    content = hashlib.sha256(found.payload + repr((found.topic, sorted(given.items()))).encode()).hexdigest()[:16]
    return Message(
        body=bytes(found.payload),
        headers=headers,
        key=key,
        # The number is the session's for this message until it is acked, and is then used again.
        position=f"{content}-{found.mid}",
        redelivered=found.dup,
        token=found.mid,
    )


def _properties(record: Record) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    headers = dict(record.headers)
    if content_type := headers.pop("content-type", None):
        properties.ContentType = content_type
    pairs = [(name.removeprefix("ce-"), value) for name, value in headers.items()]
    if record.key is not None:
        pairs.append(("trimtab-key", record.key))
    if pairs:
        properties.UserProperty = pairs
    return properties


def _topic(url: StreamUrl, key: str | None) -> str:
    """Put the key where the filter has its wildcard: `sensors/#` and `7` make `sensors/7`."""
    if not url.stream.endswith(("/#", "/+")):
        return url.stream
    return f"{url.stream[:-2]}/{re.sub(r'[#+/]', '_', key or 'none')}"


def _rest(topic: str, pattern: str) -> str | None:
    fixed = re.split(r"[#+]", pattern)[0]
    return topic[len(fixed) :] if fixed != pattern and topic.startswith(fixed) else None
