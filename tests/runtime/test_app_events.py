"""CloudEvents in, and what answers them: binary, structured, batches, with and without `Prefer: reply`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from trimtab.runtime.trace import trace

FUNCTION = """
import asyncio, logging
from cloudevents.core.v1.event import CloudEvent

done = []

def made(data, **more):
    return CloudEvent({"type": "com.example.reply", "source": "/f", "id": "42", **more}, data)

async def handler(context, event):
    what = event.body if isinstance(event.body, dict) else {}
    done.append(event.id)
    match what.get("do"):
        case "none":
            return None
        case "plain":
            return {"seen": event.type}
        case "text":
            return "text"
        case "status":
            return 503, "later"
        case "created":
            return context.Response(body={"a": 1}, status_code=201, headers={"X-Own": "1"})
        case "empty":
            return context.Response(status_code=204)
        case "event":
            return made({"a": 1}, bright="no", subject="caf\\u00e9")
        case "bytes":
            return made(b"\\x00\\xff", datacontenttype="application/octet-stream")
        case "stream":
            def pieces():
                for number in range(3):
                    done.append(number)
                    yield "x"
            return pieces()
        case "broken stream":
            def pieces():
                yield "x"
                raise ValueError("secret")
            return pieces()
        case "raise":
            raise ValueError("secret")
        case "sleep":
            await asyncio.sleep(30)
        case "log":
            logging.getLogger("own").warning("seen")
            return context.emit(type="com.example.seen", data={"n": 1}, traceless=True)
    return {"kind": event.trigger.kind, "attributes": event.attributes, "body": event.body, "type": event.content_type,
            "library": event.cloudevent.get_type()}
"""


def do(what: str) -> str:
    return json.dumps({"do": what})


# What comes in


def test_a_binary_event_with_extensions_nobody_knows(serve: Any) -> None:
    reply = serve(FUNCTION).event('{"a": 1}', subject="caf%C3%A9", myext="x", time="2020-01-01T00:00:00.123456789Z")
    assert reply.json == {
        "kind": "event",
        "attributes": {
            "specversion": "1.0",
            "id": "1",
            "source": "/me",
            "type": "com.example.made",
            "subject": "café",
            "myext": "x",
            "time": "2020-01-01T00:00:00.123456789Z",
            "datacontenttype": "application/json",
        },
        "body": {"a": 1},
        "type": "application/json",
        "library": "com.example.made",
    }


def test_a_structured_event_with_data_in_base64(serve: Any) -> None:
    members = {
        "specversion": "1.0", "id": "1", "source": "/me", "type": "t", "ext": True, "datacontenttype": "application/json",
        "data_base64": base64.b64encode(b'{"a": 1}').decode(),
    }  # fmt: skip
    reply = serve(FUNCTION).ask(json.dumps(members), "application/cloudevents+json; charset=utf-8")
    assert reply.json["body"] == {"a": 1}
    assert reply.json["attributes"]["ext"] == "true"


def test_the_clocks_event_is_cron(serve: Any) -> None:
    reply = serve(FUNCTION).event(
        "{}", type="dev.knative.sources.ping", source="/apis/v1/namespaces/n/pingsources/f-daily"
    )
    assert reply.json["kind"] == "cron"


@pytest.mark.parametrize(
    ("wrong", "attribute"),
    [
        ({"id": ""}, "id"),
        ({"specversion": "0.3"}, "specversion"),
        ({"time": "noon"}, "time"),
        ({"BAD-name": "x"}, "bad-name"),
    ],
)
def test_a_malformed_event_is_400_and_names_the_attribute(serve: Any, wrong: dict[str, str], attribute: str) -> None:
    running = serve(FUNCTION)
    reply = running.event("{}", **wrong)
    assert (reply.status, reply.json["attribute"]) == (400, attribute)
    assert attribute in reply.json["error"]
    assert running.globals["done"] == []


def test_an_events_data_that_does_not_parse_is_400(serve: Any) -> None:
    reply = serve(FUNCTION).event("{")
    assert (reply.status, "attribute" in reply.json) == (400, False)


# What goes out


def test_a_plain_value_becomes_an_event_for_somebody_who_calls_directly(serve: Any) -> None:
    reply = serve(FUNCTION).event(do("plain"))
    assert (reply.status, reply.json) == (200, {"seen": "com.example.made"})
    assert reply["content-type"] == "application/json"
    assert {k: reply.event[k] for k in ("specversion", "source", "type")} == {
        "specversion": "1.0",
        "source": "/functions/shop",
        "type": "com.example.made.reply",
    }
    assert reply.event["id"]
    assert reply.event["time"].endswith("Z")


def test_a_plain_value_is_202_for_a_broker(serve: Any) -> None:
    running = serve(FUNCTION)
    for what in ("plain", "text", "none", "created", "empty", "stream"):
        reply = running.event(do(what), prefer="respond-async, Reply;x=1")
        assert (reply.status, reply.body, reply.event) == (202, b"", {}), what
    assert running.globals["done"].count(2) == 1, "the stream ran to its end"


def test_a_stream_that_fails_for_a_broker_is_a_500(serve: Any) -> None:
    reply = serve(FUNCTION).event(do("broken stream"), prefer="reply")
    assert reply.status == 500
    assert b"secret" not in reply.body


def test_none_is_202_without_a_body_for_everybody(serve: Any) -> None:
    reply = serve(FUNCTION).event(do("none"))
    assert (reply.status, reply.body, reply.event) == (202, b"", {})


def test_a_status_and_headers_of_ones_own_are_kept(serve: Any) -> None:
    running = serve(FUNCTION)
    created = running.event(do("created"))
    assert (created.status, created.json, created["x-own"]) == (201, {"a": 1}, "1")
    assert created.event["type"] == "com.example.made.reply"
    empty = running.event(do("empty"))
    assert (empty.status, empty.event) == (204, {})
    for headers in ({}, {"prefer": "reply"}):
        assert running.event(do("status"), **headers).status == 503


@pytest.mark.parametrize("prefer", [{}, {"prefer": "reply"}])
def test_an_event_of_ones_own_is_sent_as_it_is(serve: Any, prefer: dict[str, str]) -> None:
    reply = serve(FUNCTION).event(do("event"), **prefer)
    assert (reply.status, reply.json) == (200, {"a": 1})
    assert reply.event["bright"] == "no"
    assert reply.event["subject"] == "caf%C3%A9"
    assert (reply.event["id"], reply.event["type"]) == ("42", "com.example.reply")


def test_structured_is_sent_when_it_is_asked_for(serve: Any) -> None:
    running = serve(FUNCTION)
    reply = running.event(do("event"), accept="Application/CloudEvents+JSON")
    assert reply["content-type"] == "application/cloudevents+json"
    assert (reply.json["subject"], reply.json["data"]) == ("café", {"a": 1})
    wrapped = running.event(do("plain"), accept="application/cloudevents+json")
    assert wrapped.json["data"] == {"seen": "com.example.made"}
    binary = running.event(do("bytes"), accept="application/cloudevents+json").json
    assert base64.b64decode(binary["data_base64"]) == b"\x00\xff"
    assert running.event(do("bytes")).body == b"\x00\xff"


def test_an_event_may_answer_a_plain_request(serve: Any) -> None:
    reply = serve(FUNCTION).ask(do("event"), "application/json")
    assert (reply.status, reply.event["type"], reply.json) == (200, "com.example.reply", {"a": 1})


# Batches


def batch(*events: Any) -> str:
    known = {"specversion": "1.0", "source": "/me", "type": "t", "datacontenttype": "application/json"}
    return json.dumps([{**known, "id": str(number), "data": data} for number, data in enumerate(events)])


BATCH = "application/cloudevents-batch+json"


def test_a_batch_is_one_call_for_each_event(serve: Any) -> None:
    running = serve(FUNCTION)
    reply = running.ask(batch({"do": "plain"}, {"do": "none"}, {"do": "stream"}), BATCH)
    assert (reply.status, reply.body) == (202, b"")
    assert running.globals["done"] == ["0", "1", "2", 0, 1, 2]
    assert running.ask("[]", BATCH).status == 202


def test_the_replies_to_a_batch_are_a_batch(serve: Any) -> None:
    reply = serve(FUNCTION).ask(batch({"do": "event"}, {"do": "none"}, {"do": "event"}), BATCH)
    assert (reply.status, reply["content-type"]) == (200, BATCH)
    assert [(event["subject"], event["data"]) for event in reply.json] == [("café", {"a": 1})] * 2


def test_a_batch_with_a_failure_says_which_event_it_was(serve: Any) -> None:
    reply = serve(FUNCTION).ask(batch({"do": "plain"}, {"do": "raise"}, {"do": "event"}), BATCH)
    assert reply.status == 500
    rows = reply.json["events"]
    assert [(row["source"], row["id"], row["status"]) for row in rows] == [
        ("/me", "0", 202),
        ("/me", "1", 500),
        ("/me", "2", 200),
    ]
    assert rows[2]["reply"]["type"] == "com.example.reply"


def test_a_batch_that_takes_too_long_is_given_up_as_a_whole(serve: Any) -> None:
    running = serve(FUNCTION, request_timeout=0.2)
    reply = running.ask(batch({"do": "plain"}, {"do": "sleep"}, {"do": "plain"}), BATCH)
    assert reply.status == 504
    assert [row["status"] for row in reply.json["events"]] == [202, 504, 504]
    assert running.globals["done"] == ["0", "1"]


def test_a_malformed_batch_is_400_and_says_where(serve: Any) -> None:
    running = serve(FUNCTION)
    wrong = json.loads(batch({}, {}))
    wrong[1]["source"] = ""
    reply = running.ask(json.dumps(wrong), BATCH)
    assert (reply.status, reply.json["attribute"]) == (400, "source")
    assert "item 1" in reply.json["error"]
    unparsable = json.loads(batch({}, {}))
    del unparsable[1]["data"]
    unparsable[1]["data_base64"] = base64.b64encode(b"{").decode()
    assert "item 1" in running.ask(json.dumps(unparsable), BATCH).json["error"]
    assert running.globals["done"] == []


# Traces


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("carrier", ["header", "extension", "plain"])
def test_the_callers_trace_goes_on_in_logs_and_emitted_events(
    serve: Any, carrier: str, logged: list[dict[str, Any]]
) -> None:
    running = serve(FUNCTION)
    if carrier == "plain":
        running.ask(do("log"), "application/json", headers={"traceparent": PARENT, "x-request-id": "1"})
    else:
        running.event(do("log"), traceparent=PARENT) if carrier == "header" else running.ask(
            do("log"), "application/json",
            headers={"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-traceparent": PARENT},
        )  # fmt: skip
    (line,) = [line for line in logged if line["message"] == "seen"]
    assert (line["trace"], line["event"]) == ("0af7651916cd43dd8448eb211c80319c", "1")
    (emitted,) = running.outbox.events
    child = trace(emitted.attributes["traceparent"])
    assert child.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert child.parent_id != "b7ad6b7169203331"
    assert (emitted.type, emitted.source, emitted.attributes["traceless"]) == (
        "com.example.seen",
        "/functions/shop",
        "true",
    )


# Handlers that speak ASGI themselves


SPEAKERS = {
    "plain": "async def app(scope, receive, send):\n",
    "knative": "async def handle(scope, receive, send):\n",
}
SPEECH = """    assert scope["type"] == "http"
    status = 404 if scope["path"] == "/missing" else 200
    headers = [(b"ce-id", b"1"), (b"ce-type", b"t"), (b"ce-source", b"/"), (b"ce-specversion", b"1.0")]
    await send({"type": "http.response.start", "status": status, "headers": headers if scope["path"] == "/event" else []})
    await send({"type": "http.response.body", "body": b"text"})
"""


@pytest.mark.parametrize("kind", SPEAKERS)
def test_a_broker_gets_202_from_an_application_that_answers_with_something_else(serve: Any, kind: str) -> None:
    running = serve(SPEAKERS[kind] + SPEECH)
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t"}
    asked = {
        path: (reply.status, reply.body)
        for path in ("/", "/event", "/missing")
        for reply in [running.ask(path=path, headers={**event, "prefer": "reply"})]
    }
    assert asked == {"/": (202, b""), "/event": (200, b"text"), "/missing": (404, b"text")}
    assert running.ask(headers=event).body == b"text"
    assert running.ask(headers={"prefer": "reply"}).body == b"text"
