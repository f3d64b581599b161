"""What a handler finds in its event and its context."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.v1.event import CloudEvent

from trimtab.errors import EventError, TrimtabError
from trimtab.events import Envelope, make
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.context import CURRENT, Context
from trimtab.runtime.event import Event, Headers, TriggerInfo
from trimtab.runtime.trace import trace


def scope(
    path: str = "/", query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None, **more: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "method": "POST",
        "path": path,
        "query_string": query,
        "headers": headers or [],
        "scheme": "http",
    }
    return {**found, **more}


def plain(raw: bytes = b"", **request: Any) -> Event:
    return Event.of(scope(**request), raw, raw, None)


def of(envelope: Envelope, body: Any = None) -> Event:
    return Event.of(scope(), envelope.data or b"", body, envelope)


# Nuclio's fields


def test_a_requests_fields_are_those_of_nuclios_sdk() -> None:
    headers = [(b"host", b"shop.local:80"), (b"content-type", b"text/plain"), (b"x-request-id", b"abc")]
    event = plain(b"four", path="/a b", query=b"x=1&y=&x=2", headers=headers)
    assert (event.method, event.path, event.url) == ("POST", "/a b", "http://shop.local:80/a b?x=1&y=&x=2")
    assert (event.content_type, event.size, event.id) == ("text/plain", 4, "abc")
    assert event.fields == {"x": "2", "y": ""}
    assert (event.trigger.kind, event.trigger.name) == ("http", "")
    assert (event.type, event.version, event.type_version) == ("", "", "")
    assert (event.shard_id, event.num_shards, event.offset, event.topic, event.last_in_batch) == (None,) * 5
    assert (event.attributes, event.cloudevent, event.data) == ({}, None, b"four")
    assert event.get_header("Content-Type") == event.get_header("content-type") == "text/plain"
    assert event.get_header("X-None") is None
    assert event.get_header("X-None", "default") == "default"
    assert datetime.now(UTC) - event.timestamp < timedelta(minutes=1)
    assert repr(event) == "<Event POST /a b 4 bytes>"


def test_what_is_worked_out_stays_what_it_was() -> None:
    event = plain()
    assert event.id == event.id
    assert event.timestamp == event.timestamp
    assert event.trace == event.trace
    event.body = "changed"
    assert event.data == "changed"


def test_a_forms_fields_are_fields() -> None:
    headers = [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]
    event = plain(b"name=caf%C3%A9&x=2", query=b"x=1", headers=headers)
    assert event.fields == {"name": "café", "x": "2"}


def test_headers_are_a_dict_in_any_case() -> None:
    headers = Headers([(b"X-One", b"1"), (b"x-two", b"a"), (b"X-TWO", b"b"), (b"x-latin", b"\xe9")])
    assert headers["X-ONE"] == headers.get("x-one") == "1"
    assert headers["x-two"] == "a, b"
    assert headers["x-latin"] == "é"
    assert "X-Two" in headers
    assert "x-three" not in headers
    assert headers.get("none", 5) == 5
    assert json.loads(json.dumps(headers)) == {"x-one": "1", "x-two": "a, b", "x-latin": "é"}
    with pytest.raises(KeyError):
        headers["none"]


def test_an_events_fields() -> None:
    envelope = make("com.example.made", "/me", {"a": 1}, id="7", time="2020-01-01t00:00:60.1234567z", ext="x")
    event = of(envelope, {"a": 1})
    assert (event.id, event.type, event.version, event.content_type) == (
        "7",
        "com.example.made",
        "1.0",
        "application/json",
    )
    assert event.timestamp.year == 2020
    assert event.trigger.kind == "event"
    assert event.attributes["ext"] == "x"
    assert event.cloudevent is not None
    assert event.cloudevent.get_data() == {"a": 1}
    assert event.body == event.data == {"a": 1}


def test_the_clocks_event() -> None:
    event = of(make("dev.knative.sources.ping", "/apis/v1/namespaces/default/pingsources/shop-nightly"))
    assert (event.trigger.kind, event.trigger.name) == ("cron", "shop-nightly")
    assert event.body is None


def test_an_event_made_by_hand_serves_tests() -> None:
    event = Event(
        body={"a": 1}, headers={"X-One": "1"}, path="/p", method="PUT", _id="9", fields={"f": "1"}, content_type="a/b",
        trigger=TriggerInfo("kafka", "mine"), timestamp=datetime(2020, 1, 1, tzinfo=UTC), url="http://x", size=3,
        shard_id=1, offset=5, _type="t",
    )  # fmt: skip
    assert (event.body, event.get_header("x-one"), event.path, event.method) == ({"a": 1}, "1", "/p", "PUT")
    assert (event.id, event.fields, event.content_type, event.trigger.kind) == ("9", {"f": "1"}, "a/b", "kafka")
    assert (event.timestamp.year, event.url, event.size, event.shard_id, event.offset) == (2020, "http://x", 3, 1, 5)
    assert event.type == "t"
    empty = Event()
    assert (empty.method, empty.path, empty.body, empty.fields, empty.content_type) == ("GET", "/", None, {}, "")
    assert empty.trigger.kind == "http"


def test_an_event_describes_itself() -> None:
    described = json.loads(plain(b"\xffx", headers=[(b"x-request-id", b"1")]).to_json())
    assert (described["id"], described["method"], described["trigger"]) == ("1", "POST", {"kind": "http", "name": ""})
    assert json.loads(Event(body={"a": {1}}).to_json())["body"] == {"a": "{1}"}


def test_the_callers_trace_or_one_of_its_own() -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = plain(headers=[(b"traceparent", parent), (b"tracestate", b"a=b")])
    assert (event.trace.trace_id, event.trace.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (event.trace.flags, event.trace.tracestate) == ("01", "a=b")
    assert trace(event.trace.traceparent).trace_id == event.trace.trace_id
    fresh = plain().trace
    assert fresh.parent_id is None
    assert len(fresh.trace_id) == 32


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    ],
)
def test_a_malformed_trace_is_begun_anew(malformed: str) -> None:
    assert trace(malformed).parent_id is None


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    assert trace("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").parent_id == "b7ad6b7169203331"


# The context


class Outbox:
    def __init__(self) -> None:
        self.events: list[Envelope] = []

    def emit(self, envelope: Envelope) -> None:
        self.events.append(envelope)


def context() -> tuple[Context, Outbox]:
    outbox = Outbox()
    return Context(ReplicaConfig(function="shop", revision="r"), outbox), outbox  # type: ignore[arg-type]


def test_a_context_has_what_nuclios_has() -> None:
    made, _ = context()
    made.user_data.model = 1
    assert (made.user_data.model, made.worker_id, made.function, made.revision) == (1, 0, "shop", "r")
    assert made.Response(body=1).status_code == 200
    assert repr(made.Response(body=1)) == "Response(status_code=200, content_type=None, headers={}, body=1)"


def test_an_emitted_event_has_the_functions_name_and_the_calls_trace() -> None:
    made, outbox = context()

    async def scene() -> str:
        CURRENT.set(plain(headers=[(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]))
        return made.emit(type="t", data={"a": 1}, subject="s", hot=True)

    identity = asyncio.run(scene())
    (event,) = outbox.events
    assert (event.id, event.source, event.attributes["subject"], event.attributes["hot"]) == (
        identity,
        "/functions/shop",
        "s",
        "true",
    )
    assert event.attributes["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    made.emit(type="t", source="/own")
    assert outbox.events[1].source == "/own"
    assert "traceparent" not in outbox.events[1].attributes


def test_an_event_of_any_type_can_be_emitted_and_keeps_its_own_trace() -> None:
    made, outbox = context()
    assert made.emit(CloudEvent({"type": "t", "source": "/s", "id": "1", "traceparent": "x"}, {"a": 1})) == "1"
    assert made.emit(make("t", "/s", id="2")) == "2"
    assert outbox.events[0].attributes["traceparent"] == "x"
    with pytest.raises(EventError):
        made.emit(type="t", Bad="x")


def test_without_a_sink_nothing_can_be_emitted() -> None:
    with pytest.raises(TrimtabError, match=r"this function has no sink: set spec.sink"):
        Context(ReplicaConfig()).emit(type="t")
