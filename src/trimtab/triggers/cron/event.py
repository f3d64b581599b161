"""The event of a tick: that of Knative's PingSource, so that a function cannot tell the targets apart."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from trimtab.events import Envelope
from trimtab.spec import CronTrigger

TYPE = "dev.knative.sources.ping"


def source(namespace: str, function: str, trigger: str) -> str:
    """The `source` of a trigger's events."""
    return f"/apis/v1/namespaces/{namespace}/pingsources/{function}-{trigger}"


def written(moment: datetime) -> str:
    """RFC 3339 in UTC, without a fraction where there is none."""
    return moment.isoformat().replace("+00:00", "Z")


def envelope(trigger: CronTrigger, *, id: str, source: str, time: datetime) -> Envelope:
    """Make the event. Without data there is no `datacontenttype` either."""
    attributes = {"specversion": "1.0", "id": id, "source": source, "type": TYPE, "time": written(time)}
    if trigger.data is None:
        return Envelope(attributes)
    return Envelope(attributes | {"datacontenttype": trigger.content_type}, encoded(trigger.data, trigger.content_type))


def encoded(data: Any, content_type: str) -> bytes:
    """Write a trigger's data.

    A string is sent as it stands, as PingSource does with its `data`, unless JSON is announced and it is none: then it
    is sent as a JSON string. Anything else is sent as JSON.
    """
    if not isinstance(data, str):
        return msgspec.json.encode(data)
    media = content_type.partition(";")[0].strip().lower()
    if media.endswith(("/json", "+json")) and not _is_json(data):
        return msgspec.json.encode(data)
    return data.encode()


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True
