"""What a handler returned, as status, headers and body: for a plain request and for an event.

An event's answer follows Knative: the broker retries a 2xx whose body is not a CloudEvent. So with `Prefer: reply` (the
broker asks) a plain value becomes 202 with an empty body, and only an explicit CloudEvent is a reply; without it (somebody
calls directly) a plain value becomes a CloudEvent in binary mode. None is 202 with an empty body in both cases.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from trimtab.events import Envelope, from_cloudevent
from trimtab.runtime import binding
from trimtab.runtime.codec import to_json, to_msgpack, wants_msgpack
from trimtab.runtime.invoke import is_stream
from trimtab.runtime.response import Response

Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_MSGPACK = (b"content-type", b"application/msgpack")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_BYTES = (b"content-type", b"application/octet-stream")
_NO_BODY = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Headers about how the body is sent, which is not the handler's business."""
_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_value = re.compile(rb"[\t -~\x80-\xff]*").fullmatch


class Answer(Struct):
    """Ready to be sent, but for its length; `stream` takes the place of `body` where the handler yields."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: Any = None


class Wish(Struct, frozen=True):
    """What the caller would like: msgpack, a structured event, and (a broker) no answer but a CloudEvent."""

    msgpack: bool = False
    structured: bool = False
    reply: bool = False


def wish(headers: dict[bytes, bytes]) -> Wish:
    """Read `Accept` and `Prefer`."""
    accept, prefer = headers.get(b"accept"), headers.get(b"prefer")
    content_type = headers.get(b"content-type", b"")
    if prefer is None and accept in _ANYTHING and b"msgpack" not in content_type:
        return PLAIN
    text = accept.decode("latin-1").lower() if accept is not None else None
    reply = prefer is not None and any(part.split(b";")[0].strip().lower() == b"reply" for part in prefer.split(b","))
    return Wish(
        msgpack=wants_msgpack(text, content_type.decode("latin-1")),
        structured=text is not None and "application/cloudevents+json" in text,
        reply=reply,
    )


PLAIN = Wish()
_ANYTHING = (None, b"*/*", b"application/json")


def plain(value: Any, wanted: Wish) -> Answer:
    """Answer a plain request. Errors: TypeError for a value that cannot be written."""
    if isinstance(value, (dict, list)):
        if wanted.msgpack:
            return Answer(200, [_MSGPACK], to_msgpack(value))
        return Answer(200, [_JSON], to_json(value))
    if isinstance(value, str):
        return Answer(200, [_TEXT], value.encode())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Answer(200, [_BYTES], bytes(value))
    if value is None:
        return Answer(200, [])
    if isinstance(value, Answer):
        return value
    if is_response(value):
        return _response(value, wanted)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int) and type(value[0]) is not bool:
        return _with_status(plain(value[1], wanted), value[0])
    envelope = as_envelope(value)
    if envelope is not None:
        return event(envelope, wanted)
    if is_stream(value):
        return Answer(200, [_BYTES], stream=value)
    if wanted.msgpack:
        return Answer(200, [_MSGPACK], to_msgpack(value))
    return Answer(200, [_JSON], to_json(value))


def to_event(value: Any, wanted: Wish, asked: Envelope, function: str) -> Answer:
    """Answer an event. Errors: TypeError for a value that cannot be written."""
    if value is None:
        return Answer(202, [])
    envelope = as_envelope(value)
    if envelope is not None:
        return event(envelope, wanted)
    answer = plain(value, wanted)
    if answer.status >= 300:
        return answer
    if wanted.reply:
        return Answer(202, [], stream=answer.stream)
    if answer.stream is not None:
        return answer
    if not answer.body:
        answer.status = 202 if answer.status == 200 else answer.status
        return answer
    return _reply(answer, wanted, asked, function)


def _reply(answer: Answer, wanted: Wish, asked: Envelope, function: str) -> Answer:
    """Make a CloudEvent of a plain answer, which answers the event `asked`."""
    content_type = next((v for n, v in answer.headers if n == b"content-type"), b"application/json").decode("latin-1")
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"/functions/{function}",
        "type": f"{asked.type}.reply",
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": content_type,
    }
    sent = event(Envelope(attributes, answer.body), wanted)
    kept = [pair for pair in answer.headers if pair[0] != b"content-type"]
    return Answer(answer.status, sent.headers + kept, sent.body)


def event(envelope: Envelope, wanted: Wish) -> Answer:
    """Send an event as the answer, in binary mode unless the caller asked for structured."""
    headers, body = binding.write_structured(envelope) if wanted.structured else binding.write_binary(envelope)
    return Answer(200, headers, body)


def as_envelope(value: Any) -> Envelope | None:
    """Take a CloudEvent of any type; None for anything else."""
    if isinstance(value, Envelope):
        return value
    if hasattr(value, "get_attributes") and hasattr(value, "get_data"):
        return from_cloudevent(value)
    return None


def is_response(value: Any) -> bool:
    """Tell our Response, or that of the nuclio_sdk package, from other values."""
    return isinstance(value, Response) or (
        type(value).__name__ == "Response" and type(value).__module__.partition(".")[0] == "nuclio_sdk"
    )


def _response(response: Any, wanted: Wish) -> Answer:
    answer = _with_status(plain(response.body, wanted), response.status_code)
    content_type = response.content_type
    if not isinstance(response, Response) and isinstance(response.body, (dict, list)):
        content_type = None  # nuclio_sdk says text/plain where nothing was said, and writes JSON all the same
    given = [
        _header(name, value)
        for name, values in response.headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    if content_type is not None:
        given.append(_header("content-type", content_type))
    names = {name for name, _ in given}
    answer.headers = [pair for pair in answer.headers if pair[0] not in names]
    answer.headers += [pair for pair in given if pair[0] not in _FRAMING]
    return answer


def _header(name: Any, value: Any) -> tuple[bytes, bytes]:
    """Check a header that a handler gives: what could end the line would let a caller's text write headers."""
    pair = str(name).lower().encode("latin-1"), str(value).strip().encode("latin-1")
    if not _name(pair[0]) or not _value(pair[1]):
        raise ValueError(f"header {name!r}: found {value!r}, allowed: printable characters")
    return pair


def _with_status(answer: Answer, status: Any) -> Answer:
    if not is_status(status):
        raise TypeError(f"status: found {status!r}, allowed: a whole number from 200 to 599")
    answer.status = int(status)
    if answer.status in _NO_BODY:
        answer.body = b""
    return answer


def is_status(found: Any) -> bool:
    """Tell a status that can end a request."""
    return isinstance(found, int) and 200 <= found <= 599


def piece(value: Any) -> bytes:
    """Write one piece of a stream: text and bytes as they are, anything else as a line of JSON."""
    if is_response(value):
        return piece(value.body)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return to_json(value) + b"\n"
