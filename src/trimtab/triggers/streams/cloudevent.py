"""Messages as CloudEvents, and CloudEvents as messages.

A message that is a CloudEvent already, in binary mode (`ce-` headers, see `abc.Message`) or structured, passes through
unchanged. Any other becomes one: its id is its position, so it is the same each time that the message comes.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache

from trimtab.errors import EventError
from trimtab.events import Envelope, validate
from trimtab.events.data import JSON, TEXT, valid_json
from trimtab.events.jsonformat import decode_event
from trimtab.runtime.event import MESSAGE
from trimtab.triggers.streams.abc import Message, Record

_STRUCTURED = "application/cloudevents"
_SOUND = frozenset({None, JSON, TEXT, "text/plain", "application/octet-stream"})
_MARK = b'"specversion"'
_LOOKED_AT = 4096
"""Bytes of a body without a content type in which the mark of a structured event is looked for."""


def to_event(message: Message, source: str) -> Envelope:
    """Give the event of a message. Errors: EventError for one that claims to be a CloudEvent and is malformed."""
    headers = message.headers
    if "ce-specversion" in headers:
        return _binary(message)
    content_type = headers.get("content-type")
    if content_type is not None and content_type.lower().startswith(_STRUCTURED):
        return decode_event(message.body)
    if content_type is None and (found := _unmarked(message.body)) is not None:
        return found
    attributes = {
        "specversion": "1.0",
        "id": message.position or identity(message),
        "source": source,
        "type": MESSAGE,
    }
    if message.time is not None:
        attributes["time"] = _moment(message.time)
    if message.body:
        attributes["datacontenttype"] = content_type or _looks(message.body)
    if message.key:
        attributes["subject"] = attributes["partitionkey"] = message.key
    if message.partition:
        attributes["partition"] = message.partition
    if message.offset:
        attributes["offset"] = message.offset
    if trace := headers.get("traceparent"):
        attributes["traceparent"] = trace
    # What else is wrong could only come from the sender: a type that is none, or control characters.
    if content_type not in _SOUND or not "".join(attributes.values()).isprintable():
        validate(attributes)
    return Envelope(attributes, message.body or None)


def _moment(time: float) -> str:
    """Write a time as RFC 3339 has it."""
    second, micro = divmod(round(time * 1e6), 1_000_000)
    return f"{_second(second)}.{micro:06}Z" if micro else f"{_second(second)}Z"


@lru_cache(64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def to_record(envelope: Envelope, key: str | None = None) -> Record:
    """Give the message of an event, in binary mode; its key is `key`, or its `partitionkey`."""
    headers = {f"ce-{name}": value for name, value in envelope.attributes.items() if name != "datacontenttype"}
    if content_type := envelope.attributes.get("datacontenttype"):
        headers["content-type"] = content_type
    return Record(body=envelope.data or b"", headers=headers, key=key or envelope.attributes.get("partitionkey"))


def identity(message: Message) -> str:
    """Make a name of the content, for brokers whose messages have no place of their own."""
    digest = hashlib.sha256(message.body)
    for name, value in sorted(message.headers.items()):
        digest.update(f"\0{name}\0{value}".encode())
    digest.update(f"\0{message.key}\0{message.time}".encode())
    return digest.hexdigest()[:32]


def _binary(message: Message) -> Envelope:
    attributes = {name[3:]: value for name, value in message.headers.items() if name.startswith("ce-")}
    if content_type := message.headers.get("content-type"):
        attributes["datacontenttype"] = content_type
    validate(attributes)
    return Envelope(attributes, message.body or None)


def _unmarked(body: bytes) -> Envelope | None:
    """Read what MQTT 3 and plain clients send: a structured event without a content type to say so."""
    if body.lstrip()[:1] != b"{" or _MARK not in body[:_LOOKED_AT]:
        return None
    try:
        return decode_event(body)
    except EventError:
        return None


def _looks(body: bytes) -> str:
    if valid_json(body):
        return JSON
    try:
        body.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return TEXT
