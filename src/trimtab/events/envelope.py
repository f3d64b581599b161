"""The central type of everything that moves: an event as attributes and bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct

from trimtab.events.attributes import canonical, validate
from trimtab.events.data import encode


class Envelope(Struct, frozen=True):
    """One event: `attributes` holds every context attribute and extension by name, values as on the wire (sections
    2.4 and 3.1); `data` is the payload as bytes, None where there is none. `datacontenttype` is one of the attributes.
    """

    attributes: dict[str, str]
    data: bytes | None = None

    @property
    def id(self) -> str:
        """`id`: with `source`, what identifies the event."""
        return self.attributes["id"]

    @property
    def source(self) -> str:
        """`source`: the context in which the event happened (a URI reference)."""
        return self.attributes["source"]

    @property
    def type(self) -> str:
        """`type`: what happened."""
        return self.attributes["type"]

    @property
    def content_type(self) -> str:
        """`datacontenttype`, `application/json` where it is not given (section 3.1 of the JSON format)."""
        return self.attributes.get("datacontenttype", "application/json")


def make(type: str, source: str, data: Any = None, **attributes: Any) -> Envelope:
    """Make an event that happened now: a random `id` and the current `time` unless they are given.

    `data`: bytes are sent as they are, a str as UTF-8 text (`text/plain` unless `datacontenttype` says otherwise),
    anything else as JSON. `attributes` are the other CloudEvents attributes and extensions by their own names
    (`subject="x"`, `drifted=True`), in Python types; None leaves one out. Errors: EventError naming the attribute.
    """
    texts = {"specversion": "1.0", "id": str(uuid4()), "source": source, "type": type}
    texts["time"] = canonical("time", datetime.now(UTC))
    texts.update((name, canonical(name, value)) for name, value in attributes.items() if value is not None)
    body, content_type = encode(data, texts.get("datacontenttype"))
    if content_type is not None:
        texts["datacontenttype"] = content_type
    validate(texts)
    return Envelope(texts, body)
