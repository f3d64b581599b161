"""What a content type says about an event's data: JSON, text in a character set, or bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import msgspec

from trimtab.errors import EventError
from trimtab.events.attributes import malformed

T = TypeVar("T")

_LONG = 100
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

_check_json = msgspec.json.Decoder(msgspec.Raw).decode
# Character sets in which text and bytes map one to one, so that an event survives any number of hops unchanged.
_CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1"}


def _remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """Cache by content type; long ones are worked out each time, so that no sender can fill memory with them."""
    cached = lru_cache(256)(function)

    @wraps(function)
    def lookup(content_type: str) -> T:
        return cached(content_type) if len(content_type) <= _LONG else function(content_type)

    return lookup


def is_json(content_type: str | None) -> bool:
    """Say whether data of this content type is JSON; data without a content type is (JSON format, section 3.1)."""
    return content_type is None or _says_json(content_type)


@_remembered
def _says_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


@_remembered
def is_text(content_type: str) -> bool:
    """Say whether data of this content type is readable text."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind.endswith(("/xml", "+xml"))


@_remembered
def charset(content_type: str) -> str | None:
    """Give the codec of the content type's character set (UTF-8 where none is said), None for one we do not carry."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _CHARSETS.get(value.strip().strip('"').lower())
    return "utf-8"


def valid_json(data: bytes) -> bool:
    """Say whether the bytes are one JSON value in UTF-8."""
    try:
        _check_json(data)
        str(data, "utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def encode(data: Any, content_type: str | None) -> tuple[bytes | None, str | None]:
    """Turn a Python value into bytes and their content type (the one given, or the one implied).

    Errors: EventError naming `data`.
    """
    if data is None or isinstance(data, bytes):
        return data, content_type
    if isinstance(data, bytearray | memoryview):
        return bytes(data), content_type
    if isinstance(data, str):
        return encode_text(data, content_type or TEXT), content_type or TEXT
    if not is_json(content_type):
        raise malformed("data", type(data), f"bytes or str where datacontenttype is {content_type!r}")
    return encode_json(data), content_type or JSON


def encode_json(value: Any) -> bytes:
    """Write a value as JSON. Errors: EventError naming `data`."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        raise EventError(f"event attribute 'data': {type(value).__name__} is not JSON: {exc}", "data") from exc


def encode_text(text: str, content_type: str) -> bytes:
    """Write text in the content type's character set. Errors: EventError naming `datacontenttype` or `data`."""
    codec = charset(content_type)
    if codec is None:
        raise malformed("datacontenttype", content_type, "a charset of utf-8, us-ascii or iso-8859-1 for text")
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        raise malformed("data", text, f"text that can be written in {codec}") from None


def decode(data: bytes, content_type: str | None) -> Any:
    """Turn bytes into what users work with: the JSON value, text, or the bytes themselves.

    Errors: EventError naming `data` when they are not what the content type says.
    """
    if is_json(content_type):
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise EventError(
                f"event attribute 'data': not the JSON that {content_type or JSON!r} says: {exc}", "data"
            ) from exc
    codec = charset(content_type) if content_type and is_text(content_type) else None
    if codec is None:
        return data
    try:
        return str(data, codec)
    except UnicodeDecodeError as exc:
        raise EventError(f"event attribute 'data': not the text that {content_type!r} says: {exc}", "data") from exc
