"""The CloudEvent as it travels: context attributes in their string form, and the bytes of the data.

Users see `cloudevents.core.v1.event.CloudEvent`, the library's type. Between the wire, the broker's log and the wire
again nothing looks inside the data, so there an event is an `Envelope`: cheap to make, to store and to send.
CloudEvents 1.0.2, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from trimtab.events.attributes import canonical, validate
from trimtab.events.envelope import Envelope, make
from trimtab.events.jsonformat import from_json, to_json
from trimtab.events.library import from_cloudevent, to_cloudevent

__all__ = [
    "Envelope",
    "canonical",
    "from_cloudevent",
    "from_json",
    "make",
    "to_cloudevent",
    "to_json",
    "validate",
]
