"""To and from the `cloudevents` library's type, which is what users make and see.

The library is imported when the first event is turned into its type: a function that never asks for one, and the
broker, do not pay for it.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from trimtab.events.attributes import canonical, malformed, parse_time, validate
from trimtab.events.data import JSON, decode, encode, encode_json, is_json, valid_json
from trimtab.events.envelope import Envelope

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent


def to_cloudevent(envelope: Envelope) -> CloudEvent:
    """Give the library's type for user code: `time` as datetime; JSON data parsed, text as str, other data as bytes.

    Errors: EventError naming the attribute (`data` when it is not what `datacontenttype` says).
    """
    from cloudevents.core.v1.event import CloudEvent

    attributes: dict[str, Any] = dict(envelope.attributes)
    validate(envelope.attributes)
    timed = "time" in attributes
    if timed:
        attributes["time"] = parse_time("time", attributes["time"])
    data = None if envelope.data is None else decode(envelope.data, attributes.get("datacontenttype"))
    event = CloudEvent(attributes, data)
    if not timed:
        # The library gives every event a time; an event that came without one must not seem to have happened now.
        event.get_attributes().pop("time", None)
    return event


def from_cloudevent(event: Any) -> Envelope:
    """Take the library's CloudEvent for the wire: its 1.0 and 0.3 types, and the types of `cloudevents.v1`.

    A str under a JSON content type is JSON text if it holds an object or an array (what `json.dumps` gave), else it is
    itself the JSON value. Errors: EventError naming the attribute.
    """
    values = dict(event.get_attributes())
    data = event.get_data()
    if values.get("specversion") == "0.3":
        data = _upgrade(values, data)
    attributes = {name: canonical(name, value) for name, value in values.items() if value is not None}
    content_type = attributes.get("datacontenttype")
    if isinstance(data, str) and is_json(content_type):
        text = data.encode("utf-8", "surrogatepass")
        data = text if data.lstrip()[:1] in ("{", "[") and valid_json(text) else encode_json(data)
        content_type = content_type or JSON
    body, content_type = encode(data, content_type)
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    validate(attributes)
    return Envelope(attributes, body)


def _upgrade(values: dict[str, Any], data: Any) -> Any:
    values["specversion"] = "1.0"
    schema = values.pop("schemaurl", None)
    if schema is not None:
        values["dataschema"] = schema
    if values.pop("datacontentencoding", None) == "base64" and isinstance(data, str):
        try:
            return b64decode(data, validate=True)
        except ValueError:
            raise malformed("data", data, "Base64, as datacontentencoding says") from None
    return data
