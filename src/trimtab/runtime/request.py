"""A request's body and what it means: one event, or several, or a refusal."""

from __future__ import annotations

from typing import Any

from trimtab.errors import EventError
from trimtab.events import Envelope
from trimtab.runtime import binding
from trimtab.runtime.answer import Answer, Wish, wish
from trimtab.runtime.binding import Mode
from trimtab.runtime.codec import decode, decoder
from trimtab.runtime.event import Event
from trimtab.runtime.failure import CLOSE, gone, refusal

_MARKS = frozenset({b"ce-specversion", b"ce-id", b"ce-source", b"ce-type"})


def too_large(limit: int) -> Answer:
    """Refuse a body; what is still under way of it is not read, so the connection ends."""
    return refusal(413, f"a body of more than {limit} bytes is not accepted", CLOSE)


def declared(scope: Any) -> int:
    """Give the length of the body as the request declares it, 0 where it does not."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


async def rest(scope: Any, message: Any, receive: Any, limit: int) -> bytes | Answer:
    """Read on, after the first message, a body of several; an answer where it is too large or breaks off."""
    if declared(scope) > limit:
        return too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            return gone()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            return too_large(limit)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def read(scope: Any, body: bytes, *, raw: bool = False) -> tuple[Event | list[Event] | Answer, Wish]:
    """Turn a request into its event, or a batch into its events; what is malformed is refused. `raw`: do not decode."""
    headers = dict(scope["headers"])
    wanted = wish(headers)
    try:
        content_type = headers.get(b"content-type", b"")
        if _MARKS.isdisjoint(headers) and content_type[:23].lower() != b"application/cloudevents":
            return Event.of(scope, body, body if raw or not body else decoder(content_type)(body), None), wanted
        if binding.is_event(scope["headers"]) is Mode.BATCH:
            return _batch(scope, body), wanted
        return _event(scope, binding.read(scope["headers"], body)), wanted
    except EventError as exc:
        return malformed(exc), wanted


def malformed(exc: EventError) -> Answer:
    """Refuse an event or a body, naming the attribute at fault where it is one."""
    return refusal(400, str(exc), **({"attribute": exc.attribute} if exc.attribute else {}))


def _event(scope: Any, envelope: Envelope) -> Event:
    value = None if envelope.data is None else decode(envelope.data, envelope.content_type)
    return Event.of(scope, envelope.data or b"", value, envelope)


def _batch(scope: Any, body: bytes) -> list[Event]:
    events = []
    for index, envelope in enumerate(binding.read_batch(body)):
        try:
            events.append(_event(scope, envelope))
        except EventError as exc:
            raise EventError(f"item {index} of the batch: {exc}", exc.attribute) from exc
    return events
