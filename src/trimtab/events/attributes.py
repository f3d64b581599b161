"""What a context attribute may be called and may hold: sections "Naming Conventions" and "Type System" of CloudEvents."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, wraps
from typing import Any

from trimtab.errors import EventError

REQUIRED = ("specversion", "id", "source", "type")
_OPTIONAL = frozenset({"datacontenttype", "dataschema", "subject", "time"})
DEFINED = _OPTIONAL.union(REQUIRED)
"""The attributes the specification defines; every other name is an extension."""
USUAL = frozenset({"partitionkey", "partition", "offset", "traceparent"})
"""Extensions that nearly every message of a stream has."""

_SHOWN = 80
_INTEGER = 2**31

_name = re.compile(r"[a-z0-9]+").fullmatch
# Control characters, surrogates and the noncharacters of the basic plane; those of the others are added below.
_forbidden = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
).search
# What RFC 3986 has no place for; letters beyond ASCII are let through, as in an IRI (RFC 3987).
_no_uri = re.compile(r'[\s<>"\\^`{|}]|%(?![0-9A-Fa-f]{2})').search
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:").match
_media_type = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[ -~]*)?").fullmatch
_time = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-5][0-9])"
).fullmatch


def malformed(name: str, found: Any, allowed: str) -> EventError:
    """Give the error for one attribute: its name, what was found (shortened) and what may stand there."""
    try:
        shown = "nothing" if found is None else repr(found)
    except ValueError:  # an int of more digits than sys.get_int_max_str_digits()
        shown = f"a very large {type(found).__name__}"
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    return EventError(f"event attribute {name[:_SHOWN]!r}: found {shown}, allowed: {allowed}", name[:_SHOWN])


def validate(attributes: Mapping[str, str]) -> None:
    """Check names and values of all context attributes. Errors: EventError naming the first attribute at fault."""
    for name in REQUIRED:
        if not attributes.get(name):
            raise malformed(name, attributes.get(name), "a non-empty string")
    for name in attributes.keys() - DEFINED:
        if name not in USUAL:
            _check_extension_name(name, attributes[name])
    if not _all_printable(attributes):
        for name, value in attributes.items():
            _check_text(name, value)
    for name in attributes.keys() & _CHECKS.keys():
        _CHECKS[name](name, attributes[name])


def canonical(name: str, value: Any) -> str:
    """Give the string form of a typed value: text, bool, 32-bit int, bytes (Base64) or datetime (UTC unless it has a zone).

    Errors: EventError naming the attribute.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -_INTEGER <= value < _INTEGER:
            raise malformed(name, value, f"a whole number from {-_INTEGER} to {_INTEGER - 1}")
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    raise malformed(name, value, "a string, a bool, a whole number, bytes or a datetime")


def parse_time(name: str, value: str) -> datetime:
    """Read an RFC 3339 timestamp; digits beyond the microsecond are cut off, a leap second becomes the next second.

    Errors: EventError naming the attribute.
    """
    if not _time(value):
        raise malformed(name, value, "an RFC 3339 timestamp such as '2018-04-05T17:31:00Z'")
    text = value.upper()
    leap = text[17:19] == "60"
    try:
        moment = datetime.fromisoformat(text[:17] + "59" + text[19:] if leap else text)
        return moment + timedelta(seconds=1) if leap else moment
    except (ValueError, OverflowError):
        raise malformed(name, value, "a date and time that exist, years 0001 to 9999") from None


def _all_printable(attributes: Mapping[str, str]) -> bool:
    """One look at all values: nearly every event passes here, and it is a tenth of looking at each."""
    try:
        return "".join(attributes.values()).isprintable()
    except TypeError:
        return False


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise malformed(name, value, "a string")
    if _forbidden(value):
        raise malformed(name, value, "text without control characters, noncharacters and lone surrogates")


def _remembered(check: Callable[[str, str], object]) -> Callable[[str, str], object]:
    """Look once at values that are the same from event to event; long ones fill no memory."""
    passed = lru_cache(1024)(check)

    @wraps(check)
    def look(name: str, value: str) -> object:
        return passed(name, value) if len(value) <= _SHOWN else check(name, value)

    return look


def _check_extension_name(name: str, value: object) -> None:
    if not _name(name):
        raise malformed(name, value, "only the letters a-z and the digits 0-9 in an attribute's name")
    if name == "data":
        raise malformed(name, value, "another name: 'data' is reserved for the payload")


def _check_specversion(name: str, value: str) -> None:
    if value != "1.0":
        raise malformed(name, value, "'1.0'")


@_remembered
def _check_reference(name: str, value: str) -> None:
    if _no_uri(value):
        raise malformed(name, value, "a URI-reference (RFC 3986)")


def _check_schema(name: str, value: str) -> None:
    if not _scheme(value) or _no_uri(value):
        raise malformed(name, value, "an absolute URI (RFC 3986)")


@_remembered
def _check_media_type(name: str, value: str) -> None:
    if not _media_type(value):
        raise malformed(name, value, "a media type such as 'application/json' (RFC 2046)")


def _check_subject(name: str, value: str) -> None:
    if not value:
        raise malformed(name, value, "a non-empty string")


_CHECKS: dict[str, Callable[[str, str], object]] = {
    "specversion": _check_specversion,
    "source": _check_reference,
    "dataschema": _check_schema,
    "datacontenttype": _check_media_type,
    "subject": _check_subject,
    "time": parse_time,
}
