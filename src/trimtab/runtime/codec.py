"""Bodies to values and back: JSON, msgpack and text by content type; which of them an answer takes, by Accept.

A body that does not parse as its content type says is the sender's error; it never reaches a handler as silent bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

import msgspec

from trimtab.errors import EventError
from trimtab.runtime import arrays

JSON = b"application/json"
MSGPACK = b"application/msgpack"
TEXT = b"text/plain; charset=utf-8"
BYTES = b"application/octet-stream"

_MSGPACK_NAMES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


class Kind(Enum):
    """What a content type means for a body."""

    JSON = "json"
    MSGPACK = "msgpack"
    TEXT = "text"
    BYTES = "bytes"


class Text(str):
    """A text body: a str that also answers to `decode`, because Nuclio hands text over as bytes."""

    __slots__ = ()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Give the text itself; it was decoded with the content type's charset already."""
        return str(self)


@lru_cache(256)
def kind(content_type: str) -> tuple[Kind, str]:
    """Say what a content type means, and in which character set."""
    name, _, parameters = content_type.partition(";")
    name = name.strip().lower()
    if name.endswith(("/json", "+json")):
        return Kind.JSON, _charset(parameters)
    if name in _MSGPACK_NAMES or name.endswith("+msgpack"):
        return Kind.MSGPACK, ""
    if name.startswith("text/"):
        return Kind.TEXT, _charset(parameters)
    return Kind.BYTES, ""


def decode(raw: bytes, content_type: str | bytes) -> Any:
    """Turn a body into a value: JSON and msgpack parsed, `text/*` a str, anything else the bytes.

    An empty body is `b""` whatever its content type says, as in Nuclio. Errors: EventError that says where.
    """
    return decoder(content_type)(raw) if raw else b""


@lru_cache(256)
def decoder(content_type: str | bytes) -> Callable[[bytes], Any]:
    """Give what reads a body of this content type: looked up once, not at every request."""
    name = content_type if isinstance(content_type, str) else content_type.decode("latin-1")
    found, charset = kind(name)
    if found is Kind.BYTES:
        return bytes
    read = _DECODERS[found]

    def checked(raw: bytes) -> Any:
        try:
            return read(raw, charset)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, LookupError) as exc:
            reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
            raise EventError(f"the body is not what its content type {name!r} says: {reason}") from exc

    return checked


def _from_json(raw: bytes, charset: str) -> Any:
    return parse_json(raw if charset == "utf-8" else raw.decode(charset))


def _from_msgpack(raw: bytes, _: str) -> Any:
    return arrays.revive(parse_msgpack(raw), raw)


def _from_text(raw: bytes, charset: str) -> Text:
    return Text(raw.decode(charset))


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value:
            return value.strip().strip('"').lower().replace("utf8", "utf-8")
    return "utf-8"


def to_msgpack(value: Any) -> bytes:
    """Write a value as msgpack: arrays as they are in memory, data frames as a map of columns.

    Errors: TypeError for what has no msgpack form.
    """
    return arrays.align(write_msgpack(value))


def wants_msgpack(accept: str | None, content_type: str | None) -> bool:
    """Say whether a structured answer goes out as msgpack: when Accept prefers it to JSON, or, where Accept does not
    decide, when the question came as msgpack."""
    if accept:
        ours, theirs = _quality(accept, _MSGPACK_NAMES), _quality(accept, ("application/json",))
        if ours != theirs:
            return ours > theirs
    return content_type is not None and kind(content_type)[0] is Kind.MSGPACK


@lru_cache(256)
def _quality(accept: str, names: tuple[str, ...]) -> float:
    # RFC 9110 section 12.5.1: the most specific range that matches decides.
    best = (0, 0.0)
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        rank = 3 if media in names else 2 if media == "application/*" else 1 if media == "*/*" else 0
        if rank:
            best = max(best, (rank, _weight(parameters)))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _plain(value: Any) -> Any:
    """Give the form of what msgspec does not know."""
    if isinstance(value, str):
        return str(value)
    root = type(value).__module__.partition(".")[0]
    if root == "numpy":
        found = value.tolist()
        if type(found) is type(value):  # of longdouble there is no Python form
            raise _formless(value)
        return found
    if root == "pandas":
        return _plain_pandas(value)
    if root == "cloudevents":
        from trimtab.events import from_cloudevent
        from trimtab.events import to_json as to_members

        return to_members(from_cloudevent(value))
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__array__"):
        return value.__array__().tolist()
    raise _formless(value)


def _packed(value: Any) -> Any:
    """Give the msgpack form of what msgspec does not know."""
    found = arrays.encode(value)
    return _plain(value) if found is NotImplemented else found


def _plain_pandas(value: Any) -> Any:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.astype(object).where(value.notna(), None).to_dict("records")
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None
    if hasattr(value, "tolist"):
        return value.tolist()
    if _name(value).endswith(".NAType"):
        return None
    raise _formless(value)


def _formless(value: Any) -> TypeError:
    return TypeError(f"a handler's answer holds {_name(value)}, which cannot be written as JSON or msgpack")


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


parse_json: Callable[[bytes | str], Any] = msgspec.json.Decoder().decode
to_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_plain).encode
"""Write a value as JSON: arrays as nested lists, data frames as a list of records, NaN as null. Errors: TypeError."""
parse_msgpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=arrays.decode).decode
write_msgpack: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=_packed).encode
_DECODERS: dict[Kind, Callable[[bytes, str], Any]] = {
    Kind.JSON: _from_json,
    Kind.MSGPACK: _from_msgpack,
    Kind.TEXT: _from_text,
}
