"""Handlers of batches: `handler(context, events: list)`, and what became of each event."""

from __future__ import annotations

import json
from typing import Any

import pytest

BATCH = "application/cloudevents-batch+json"
FUNCTION = """
from cloudevents.core.v1.event import CloudEvent
from trimtab import PermanentError, TemporaryError

def handler(context, events: list):
    what = events[0].body
    if what == "raise":
        raise ValueError("secret")
    if what == "short":
        return [None]
    if what == "none":
        return None
    return [outcome(event.body) for event in events]

def outcome(body):
    match body:
        case "bad": return PermanentError("cannot be")
        case "later": return TemporaryError("busy", delay=7)
        case "false": return False
        case "error": return ValueError("secret")
        case "reply": return CloudEvent({"type": "answer", "source": "/f", "id": "42"}, {"x": 1})
        case "status": return 409, "twice"
    return True
"""


def batch(*bodies: Any) -> str:
    base = {"specversion": "1.0", "source": "/me", "type": "t"}
    return json.dumps([{**base, "id": str(number), "data": body} for number, body in enumerate(bodies)])


def test_one_call_takes_all_and_each_has_its_outcome(serve: Any) -> None:
    reply = serve(FUNCTION).ask(batch("ok", "bad", "later", "false", "reply", "status"), BATCH)
    assert reply.status == 503
    rows = json.loads(reply.body)["events"]
    assert [row["status"] for row in rows] == [202, 400, 503, 500, 200, 409]
    assert json.loads(rows[1]["error"]) == {"error": "cannot be"}
    assert rows[2]["retryAfter"] == "7"
    assert rows[4]["reply"]["type"] == "answer"
    assert rows[4]["reply"]["data"] == {"x": 1}
    assert "secret" not in reply.body.decode()


def test_none_is_taken_and_an_exception_is_everybodys(serve: Any) -> None:
    running = serve(FUNCTION)
    assert running.ask(batch("none", "x"), BATCH).status == 202
    reply = running.ask(batch("raise", "x"), BATCH)
    assert [row["status"] for row in json.loads(reply.body)["events"]] == [500, 500]


def test_outcomes_that_do_not_fit_the_events_fail_all_of_them(serve: Any, caplog: Any) -> None:
    reply = serve(FUNCTION).ask(batch("short", "x"), BATCH)
    assert [row["status"] for row in json.loads(reply.body)["events"]] == [500, 500]


def test_a_single_event_is_a_batch_of_one(serve: Any) -> None:
    running = serve(FUNCTION)
    event = {"specversion": "1.0", "source": "/me", "type": "t", "id": "1", "data": "bad"}
    assert running.ask(json.dumps(event), "application/cloudevents+json").status == 400
    assert running.ask('"ok"', "application/json").status == 200


@pytest.mark.parametrize(
    "signature",
    ["context, events", "events", "context, many: list", "context, many: 'list[str]'", "context, e: Sequence"],
)
def test_a_handler_of_batches_is_known_by_its_parameter(serve: Any, signature: str) -> None:
    name = signature.replace("context, ", "").partition(":")[0]
    code = f"from collections.abc import Sequence\nasync def handler({signature}):\n    return [len({name})] * len({name})\n"
    assert serve(code).ask("1", "application/json").body == b"1"
