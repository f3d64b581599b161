"""The CloudEvent as it travels: context attributes in their string form, and the bytes of the data.

Users see `cloudevents.core.v1.event.CloudEvent`, the library's type. Between the wire, the broker's log and the wire
again nothing looks inside the data, so there an event is an `Envelope`: cheap to make, to store and to send.
CloudEvents 1.0.2, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent


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


def to_cloudevent(envelope: Envelope) -> CloudEvent:
    """Give the library's type for user code: `time` as datetime, JSON data parsed. Errors: EventError."""
    raise NotImplementedError


def from_cloudevent(event: Any) -> Envelope:
    """Take the library's CloudEvent (any version the library has) for the wire. Errors: EventError."""
    raise NotImplementedError
