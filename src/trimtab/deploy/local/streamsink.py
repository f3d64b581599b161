"""The sink of a function that publishes to a stream: takes its events over HTTP, and puts them into the stream.

A POST of CloudEvents to `/-/sinks/<function>` is answered 202 when the stream's broker has them, and 503 with `Retry-After`
while it is away: the function's emitter then keeps them and comes again. Credentials stay in the daemon.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import EventError, NotFound, TrimtabError
from trimtab.events import Envelope
from trimtab.runtime import binding
from trimtab.runtime.binding import Mode
from trimtab.spec.stream import parse, references
from trimtab.triggers.streams.abc import Publisher, StreamError
from trimtab.triggers.streams.backends import open_publisher
from trimtab.triggers.streams.cloudevent import to_record

if TYPE_CHECKING:
    from trimtab.deploy.local.daemon import Daemon

PREFIX = "/-/sinks/"
_LARGEST = 32 * 2**20
_WITHIN = 20.0
"""Seconds for the broker to take events."""


class StreamSink:
    """An ASGI application over the streams that functions name as their sinks."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._open: dict[str, tuple[str, Publisher]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        status, answer = await self._answer(scope, receive)
        body = msgspec.json.encode({"error": answer}) if answer else b""
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        headers += [(b"retry-after", b"1")] if status == 503 else []
        headers += [(b"trimtab-batch", b"accept")] if status == 202 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        """Disconnect."""
        for _, publisher in self._open.values():
            await publisher.close()
        self._open.clear()

    async def _answer(self, scope: Any, receive: Any) -> tuple[int, str]:
        if scope["method"] != "POST":
            return 405, "a sink takes POST"
        body = await _body(receive)
        if body is None:
            return 413, f"at most {_LARGEST} bytes at a time"
        name = scope["path"].removeprefix(PREFIX).strip("/")
        try:
            envelopes = _events(scope["headers"], body)
            async with self._locks.setdefault(name, asyncio.Lock()), asyncio.timeout(_WITHIN):
                await self._publish(name, envelopes)
        except EventError as exc:
            return 400, str(exc)
        except NotFound as exc:
            return 404, str(exc)
        except TimeoutError:
            return 503, f"the stream did not take the events within {_WITHIN:g} s"
        except TrimtabError as exc:
            return 503, str(exc)
        return 202, ""

    async def _publish(self, name: str, envelopes: list[Envelope]) -> None:
        publisher = await self._publisher(name)
        try:
            await publisher.publish([to_record(envelope) for envelope in envelopes])
        except BaseException as exc:
            del self._open[name]
            await publisher.close()
            if isinstance(exc, TrimtabError | asyncio.CancelledError):
                raise
            raise StreamError(f"{type(exc).__name__}: {exc}") from exc

    async def _publisher(self, name: str) -> Publisher:
        latest = self._daemon.service(name).latest()
        sink = latest.document.spec.sink if latest else None
        if latest is None or sink is None or sink.stream is None:
            raise NotFound(f"the sink of {name!r} is no stream")
        known = self._open.get(name)
        if known is not None and known[0] == sink.stream:
            return known[1]
        if known is not None:
            await known[1].close()
            del self._open[name]
        needed = set(references(sink.stream))
        environ = self._daemon.machine.environ([v for v in latest.document.spec.env if v.name in needed])
        publisher = open_publisher(parse(sink.stream).resolved(environ), self._daemon.settings.home)
        await publisher.open()
        self._open[name] = sink.stream, publisher
        return publisher


def _events(headers: list[binding.Header], body: bytes) -> list[Envelope]:
    mode = binding.is_event(headers)
    if mode is Mode.NONE:
        raise EventError("not a CloudEvent: neither ce- headers nor a content type application/cloudevents+json")
    return binding.read_batch(body) if mode is Mode.BATCH else [binding.read(headers, body)]


async def _body(receive: Any) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LARGEST:
            return None
        if not message.get("more_body"):
            return bytes(body)
