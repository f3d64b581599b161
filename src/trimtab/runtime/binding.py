"""CloudEvents over HTTP: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md.

Headers are as ASGI has them: pairs of bytes, names in lower case. Parsed here and not by the `cloudevents` library because
of what that costs on every request; `benchmarks/events.py` has the figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from urllib.parse import unquote_to_bytes

from trimtab.errors import EventError
from trimtab.events import Envelope, from_json, to_json, validate
from trimtab.events.attributes import REQUIRED, malformed
from trimtab.events.jsonformat import decode_batch, decode_event, encode_batch, encode_event

__all__ = [
    "Header",
    "Mode",
    "from_json",
    "is_event",
    "read",
    "read_batch",
    "to_json",
    "write_batch",
    "write_binary",
    "write_structured",
]

Header = tuple[bytes, bytes]

STRUCTURED = b"application/cloudevents+json"
BATCH = b"application/cloudevents-batch+json"

_PREFIX = b"ce-"
_MARKS = frozenset(_PREFIX + name.encode() for name in REQUIRED)
_OWS = b" \t"
_LONGEST = len(BATCH) + 8
"""Bytes of a content type that decide the mode, white space in front included."""
_quoted_pair = re.compile(rb"\\(.)", re.DOTALL)
_quoted_string = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL).fullmatch
# Section 3.1.3.2: space, double quote, percent and whatever is not printable ASCII.
_needs_encoding = re.compile(r"[^!#$&-~]").search
_encode_character = re.compile(r"[^!#$&-~]").sub


class Mode(Enum):
    """How a message carries events (section 1.3)."""

    NONE = "none"
    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


def is_event(headers: Iterable[Header]) -> Mode:
    """Say in which mode a message carries events.

    One of the four required attributes as a header is enough for binary mode: a sender that forgot another one is told
    so, rather than taken for a plain request.
    """
    mode = Mode.NONE
    for name, value in headers:
        if name == b"content-type":
            found = _mode_of(value)
            if found is not Mode.NONE:
                return found
        elif name in _MARKS:
            mode = Mode.BINARY
    return mode


def read(headers: Iterable[Header], body: bytes) -> Envelope:
    """Read the one event of a binary or structured message.

    An empty body in binary mode is an event without data. Errors: EventError, its `attribute` the one at fault.
    """
    marked: list[Header] = []
    content_type: bytes | None = None
    for name, value in headers:
        if name[:3] == _PREFIX:
            marked.append((name, value))
        elif name == b"content-type":
            if content_type is not None:
                raise malformed("datacontenttype", _shown(value), "one Content-Type header, there is more than one")
            content_type = value.strip(_OWS)
    mode = Mode.NONE if content_type is None else _mode_of(content_type)
    if mode is Mode.STRUCTURED:
        _require_json(content_type or b"")
        return decode_event(body)
    if mode is Mode.BATCH:
        raise malformed("datacontenttype", _shown(content_type or b""), "the content type of one event")
    attributes = _attributes(marked)
    _merge_content_type(attributes, _shown(content_type or b""))
    validate(attributes)
    return Envelope(attributes, body or None)


def read_batch(body: bytes) -> list[Envelope]:
    """Read the events of a batched message (JSON batch format). Errors: EventError that says which item is at fault."""
    return decode_batch(body)


def write_binary(envelope: Envelope) -> tuple[list[Header], bytes]:
    """Give headers and body of one event in binary mode."""
    headers: list[Header] = []
    for name, value in envelope.attributes.items():
        if name == "datacontenttype":
            headers.append((b"content-type", value.encode("latin-1")))
        else:
            headers.append((_PREFIX + name.encode(), _encode(value)))
    return headers, envelope.data or b""


def write_structured(envelope: Envelope) -> tuple[list[Header], bytes]:
    """Give headers and body of one event in structured mode (JSON format)."""
    return [(b"content-type", STRUCTURED)], encode_event(envelope)


def write_batch(envelopes: list[Envelope]) -> tuple[list[Header], bytes]:
    """Give headers and body of several events in batched mode (JSON batch format)."""
    return [(b"content-type", BATCH)], encode_batch(envelopes)


def _mode_of(content_type: bytes) -> Mode:
    kind = content_type[:_LONGEST].lower().lstrip(_OWS)
    if kind.startswith(b"application/cloudevents-batch"):
        return Mode.BATCH
    if kind.startswith(b"application/cloudevents"):
        return Mode.STRUCTURED
    return Mode.NONE


def _require_json(content_type: bytes) -> None:
    if content_type.partition(b";")[0].strip(_OWS).lower() != STRUCTURED:
        found = _shown(content_type)
        raise EventError(f"content-type: found {found!r}, allowed: {STRUCTURED.decode()!r}", "datacontenttype")


def _attributes(marked: list[Header]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for header, value in marked:
        name = header[3:].decode("latin-1")
        if name in attributes:
            raise malformed(name, _shown(value), "one header, it is there more than once")
        try:
            attributes[name] = (_unescape(value) if b"%" in value or b'"' in value else value).decode()
        except UnicodeDecodeError:
            raise malformed(name, _shown(value), "UTF-8") from None
    return attributes


def _merge_content_type(attributes: dict[str, str], content_type: str) -> None:
    """Section 3.1.1: Content-Type is datacontenttype, and a `ce-datacontenttype` has no place beside it."""
    found = attributes.get("datacontenttype", content_type)
    if found != content_type:
        raise malformed("datacontenttype", found, f"the Content-Type header's value ({content_type!r}), and only there")
    if content_type:
        attributes["datacontenttype"] = content_type


def _unescape(value: bytes) -> bytes:
    """Section 3.1.3.2: undo quoting, then one round of percent-decoding; a stray percent sign stands for itself."""
    if _quoted_string(value):
        value = _quoted_pair.sub(rb"\1", value[1:-1])
    return unquote_to_bytes(value)


def _encode(value: str) -> bytes:
    if _needs_encoding(value):
        value = _encode_character(_percent, value)
    return value.encode("ascii")


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8"))


def _shown(value: bytes) -> str:
    return value.decode("latin-1")
