"""What a handler is called with. Names are those of Nuclio's Python SDK, so that its functions run as they are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from trimtab.events import Envelope, to_cloudevent
from trimtab.events.attributes import parse_time
from trimtab.runtime.trace import Trace, trace

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent

PING = "dev.knative.sources.ping"
"""The type of Knative's PingSource, and of our cron trigger."""


MESSAGE = "dev.trimtab.stream.message"
"""The type of a stream's message that was no CloudEvent."""


class Headers(dict[str, str]):
    """A request's headers: looked up in any case, listed in lower case; a header given twice is joined by a comma."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for name, value in pairs:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self[key] = f"{self[key]}, {text}" if key in self else text

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Give a header, or the default."""
        return super().get(name.lower(), default)


class TriggerInfo:
    """What called the function: `kind` is http, cron, event or stream (a message that was no event before)."""

    __slots__ = ("kind", "name")

    def __init__(self, kind: str = "http", name: str = "") -> None:
        self.kind, self.name = kind, name


class Event:
    """One call. What costs something is worked out when it is first asked for.

    `body` is what the content type says: JSON and msgpack as objects, text as str, everything else as bytes; an empty
    body is b"". For a CloudEvent it is the event's data, None where it has none. Made by hand, an Event serves tests.
    """

    shard_id: int | None = None
    num_shards: int | None = None
    last_in_batch: bool | None = None
    offset: int | None = None
    topic: str | None = None
    type_version: str = ""

    def __init__(
        self,
        body: Any = None,
        content_type: str | None = None,
        trigger: TriggerInfo | None = None,
        fields: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        _id: str | None = None,
        method: str | None = None,
        path: str | None = None,
        size: int | None = None,
        timestamp: datetime | None = None,
        url: str | None = None,
        **more: Any,
    ) -> None:
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.envelope: Envelope | None = None
        self.scope: Mapping[str, Any] = {
            "method": method or "GET",
            "path": path or "/",
            "query_string": b"",
            "headers": pairs,
            "scheme": "http",
        }
        self.body = body
        self.raw = body if isinstance(body, bytes) else b""
        given = {
            "content_type": content_type,
            "trigger": trigger,
            "fields": fields,
            "id": _id,
            "size": size,
            "timestamp": timestamp,
            "url": url,
            "type": more.pop("_type", None),
            **more,
        }
        self.__dict__.update({name: value for name, value in given.items() if value is not None})

    @classmethod
    def of(cls, scope: Mapping[str, Any], raw: bytes, body: Any, envelope: Envelope | None) -> Event:
        """Make the event of one request, as cheaply as can be."""
        event = cls.__new__(cls)
        event.scope, event.raw, event.body, event.envelope = scope, raw, body, envelope
        return event

    # The request

    @property
    def method(self) -> str:
        """GET, POST ..."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The path, decoded, without the query."""
        return str(self.scope["path"])

    @cached_property
    def headers(self) -> Headers:
        """All headers."""
        return Headers(self.scope["headers"])

    def get_header(self, name: str, default: str | None = None) -> str | None:
        """Give a header, whatever its case."""
        found: str | None = self.headers.get(name, default)
        return found

    @cached_property
    def fields(self) -> dict[str, str]:
        """The query's parameters, and those of a form in the body; of several by one name the last."""
        fields = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if self.content_type.startswith("application/x-www-form-urlencoded"):
            fields.update(parse_qsl(self.raw.decode("utf-8", "replace"), keep_blank_values=True))
        return fields

    @cached_property
    def content_type(self) -> str:
        """Of the body; a CloudEvent's `datacontenttype`."""
        if self.envelope is not None:
            return self.envelope.content_type
        return str(self.headers.get("content-type", ""))

    @cached_property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.raw)

    @cached_property
    def url(self) -> str:
        """The address as the caller wrote it."""
        query = self.scope["query_string"].decode("latin-1")
        path = f"{self.path}?{query}" if query else self.path
        host = self.headers.get("host")
        return f"{self.scope.get('scheme', 'http')}://{host}{path}" if host else path

    @cached_property
    def timestamp(self) -> datetime:
        """A CloudEvent's `time`; of anything else when it was first asked for. Aware, UTC unless the event says else."""
        if self.envelope is not None and "time" in self.envelope.attributes:
            return parse_time("time", self.envelope.attributes["time"])
        return datetime.now(UTC)

    @cached_property
    def id(self) -> str:
        """A CloudEvent's `id`, the request's `X-Request-Id`, or a new random one."""
        if self.envelope is not None:
            return self.envelope.id
        return self.headers.get("x-request-id") or uuid.uuid4().hex

    # The event

    @cached_property
    def trigger(self) -> TriggerInfo:
        """What called."""
        if self.envelope is None:
            return TriggerInfo("http")
        if self.envelope.type == PING:
            return TriggerInfo("cron", self.envelope.source.rpartition("/")[2])
        return TriggerInfo("stream" if self.envelope.type == MESSAGE else "event")

    @cached_property
    def type(self) -> str:
        """A CloudEvent's `type`; empty for a plain request."""
        return self.envelope.type if self.envelope is not None else ""

    @cached_property
    def version(self) -> str:
        """A CloudEvent's `specversion`; empty for a plain request."""
        return self.envelope.attributes["specversion"] if self.envelope is not None else ""

    @property
    def attributes(self) -> dict[str, str]:
        """A CloudEvent's attributes and extensions by name, as on the wire; empty for a plain request."""
        return self.envelope.attributes if self.envelope is not None else {}

    @cached_property
    def cloudevent(self) -> CloudEvent | None:
        """The CloudEvent as the `cloudevents` library's type; None for a plain request."""
        return None if self.envelope is None else to_cloudevent(self.envelope)

    @property
    def data(self) -> Any:
        """Another name of `body`."""
        return self.body

    @cached_property
    def trace(self) -> Trace:
        """Where this call stands in its trace (W3C Trace Context): the caller's, or a new one."""
        found = self.attributes.get("traceparent") or self.headers.get("traceparent")
        return trace(found, self.headers.get("tracestate", ""))

    def to_json(self) -> str:
        """Describe the call in JSON, as Nuclio's SDK does."""
        import json

        names = ("id", "method", "path", "url", "content_type", "size", "type", "version", "fields")
        facts = {name: getattr(self, name) for name in names}
        facts["headers"], facts["timestamp"] = dict(self.headers), self.timestamp.isoformat()
        facts["trigger"] = {"kind": self.trigger.kind, "name": self.trigger.name}
        facts["body"] = self.raw.decode("utf-8", "replace") if self.raw else self.body
        return json.dumps(facts, default=str)

    def __repr__(self) -> str:
        return f"<Event {self.method} {self.path} {self.type} {self.size} bytes>".replace("  ", " ")
