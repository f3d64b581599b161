"""The JSON event format: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md.

JSON data is carried over byte for byte, never through Python values, so that big numbers, the order of keys and the
spelling of floats survive.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import asdict

from trimtab.errors import EventError
from trimtab.events.attributes import DEFINED, canonical, malformed, validate
from trimtab.events.data import JSON, charset, encode_json, encode_text, is_json, is_text, valid_json
from trimtab.events.envelope import Envelope


class _Usual(Struct, forbid_unknown_fields=True):
    """An event that has texts and no attributes but these, as most do: read in one go, at half the price."""

    specversion: str
    id: str
    source: str
    type: str
    time: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    datacontenttype: str | UnsetType = UNSET
    partitionkey: str | UnsetType = UNSET
    partition: str | UnsetType = UNSET
    offset: str | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


_read_usual = msgspec.json.Decoder(list[_Usual]).decode
_read_object = msgspec.json.Decoder(dict[str, Raw]).decode
_read_array = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_read_scalar = msgspec.json.Decoder(str | bool | int | float | None).decode
_read_text = msgspec.json.Decoder(str | None).decode
_write = msgspec.json.Encoder().encode


def decode_event(body: bytes) -> Envelope:
    """Read one event in the JSON format. Errors: EventError."""
    return _event(_parse(_read_object, body, "a JSON object"))


def decode_batch(body: bytes) -> list[Envelope]:
    """Read a batch in the JSON batch format. Errors: EventError that says which item is at fault."""
    try:
        items = _parse(_read_usual, body, "a batch of usual events")
        event: Callable[[Any], Envelope] = _usual
    except EventError:
        items, event = _parse(_read_array, body, "a JSON array of objects"), _event
    events = []
    for index, members in enumerate(items):
        try:
            events.append(event(members))
        except EventError as exc:
            raise EventError(f"item {index} of the batch: {exc}", exc.attribute) from exc
    return events


def encode_event(envelope: Envelope) -> bytes:
    """Write one event in the JSON format."""
    return _write(_members(envelope))


def encode_batch(envelopes: list[Envelope]) -> bytes:
    """Write a batch in the JSON batch format."""
    return _write([_members(envelope) for envelope in envelopes])


def to_json(envelope: Envelope) -> dict[str, Any]:
    """Give the JSON format as Python values: JSON data under `data` as it parses, other bytes as `data_base64`."""
    members = _members(envelope)
    if isinstance(members.get("data"), Raw):
        members["data"] = msgspec.json.decode(members["data"])
    return members


def from_json(members: Mapping[str, Any]) -> Envelope:
    """Take an event in the JSON format as Python values. Errors: EventError naming the attribute."""
    rest = dict(members)
    raw = {"data": Raw(encode_json(rest.pop("data")))} if "data" in rest else {}
    return _assemble(rest, raw.get("data"))


def _parse(read: Any, body: bytes, expected: str) -> Any:
    try:
        str(body, "utf-8")  # Raw members are not looked into by the parser
        return read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise EventError(f"the body is not {expected} in UTF-8: {exc}") from exc
    except RecursionError:
        raise EventError(f"the body is not {expected}: it is nested too deeply") from None


def _usual(found: _Usual) -> Envelope:
    values = {name: value for name, value in asdict(found).items() if value is not UNSET}
    return _sound(values, values.pop("data", None))


def _event(members: dict[str, Raw]) -> Envelope:
    data = members.pop("data", None)
    values: dict[str, Any] = {}
    for name, raw in members.items():
        try:
            values[name] = _read_scalar(raw)
        except (msgspec.MsgspecError, ValueError):
            raise malformed(name, bytes(raw), "a string, a bool or a whole number") from None
    return _assemble(values, data)


def _assemble(values: dict[str, Any], data: Raw | None) -> Envelope:
    encoded = values.pop("data_base64", None)
    attributes: dict[str, str] = {}
    for name, value in values.items():
        if value is None:
            continue
        if type(value) is not str and name in DEFINED:
            raise malformed(name, value, "a string")
        attributes[name] = canonical(name, value)
    if encoded is not None:
        validate(attributes)
        if data is not None:
            raise malformed("data_base64", encoded, "only one of 'data' and 'data_base64'")
        return Envelope(attributes, _base64(encoded))
    return _sound(attributes, data)


def _sound(attributes: dict[str, str], data: Raw | None) -> Envelope:
    validate(attributes)
    if data is None:
        return Envelope(attributes)
    if "datacontenttype" not in attributes:
        # Section 3.1.2: what was implied here must be said wherever the event goes next.
        attributes["datacontenttype"] = JSON
    return Envelope(attributes, _payload(data, attributes["datacontenttype"]))


def _base64(encoded: Any) -> bytes:
    try:
        if isinstance(encoded, str):
            return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise malformed("data_base64", encoded, "a string in Base64 (RFC 4648)")


def _payload(data: Raw, content_type: str) -> bytes | None:
    if is_json(content_type):
        return bytes(data)
    try:
        text = _read_text(data)
    except (msgspec.MsgspecError, ValueError):
        raise malformed("data", bytes(data), f"a string where datacontenttype is {content_type!r}") from None
    return None if text is None else encode_text(text, content_type)


def _members(envelope: Envelope) -> dict[str, Any]:
    members: dict[str, Any] = dict(envelope.attributes)
    data = envelope.data
    if data is None:
        return members
    content_type = members.get("datacontenttype")
    if is_json(content_type):
        if valid_json(data):
            members["data"] = Raw(data)
            return members
    elif content_type and is_text(content_type):
        try:
            members["data"] = str(data, charset(content_type) or "")
            return members
        except (LookupError, UnicodeDecodeError):
            pass
    members["data_base64"] = b64encode(data).decode("ascii")
    return members
