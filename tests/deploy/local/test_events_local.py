"""Events on this machine: from the broker to functions, from functions to functions, and into the dead letters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trimtab.errors import Conflict, NotFound
from trimtab.spec import CronTrigger, EventTrigger, Retry, Sink

COLLECT = """
import json, os, pathlib

def handler(context, event):
    path = pathlib.Path(os.environ["TRIMTAB_HOME"], "seen.jsonl")
    with path.open("a") as seen:
        seen.write(json.dumps({"type": event.type, "body": event.body, "extensions": event.attributes}) + "\\n")
"""


def headers(kind: str, identity: str = "1", **extensions: str) -> dict[str, str]:
    more = {f"ce-{name}": value for name, value in extensions.items()}
    base = {"ce-specversion": "1.0", "ce-type": kind, "ce-source": "/test", "ce-id": identity}
    return {**base, "content-type": "application/json", **more}


def seen(local: Any) -> list[dict[str, Any]]:
    path = local.home / "seen.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def on(kind: str, **more: Any) -> EventTrigger:
    return EventTrigger(name=kind.replace(".", "-"), filters=[{"exact": {"type": kind}}], **more)


def test_a_returned_event_goes_on_to_the_next_function_and_a_plain_value_does_not(
    local: Any, call: Any, until: Any
) -> None:
    relay = """
from cloudevents.core.v1.event import CloudEvent

def handler(context, event):
    if event.body == "plain":
        return {"ignored": True}
    return CloudEvent({"type": "second", "source": "/relay", "drifted": "true"}, {"from": event.body})
"""
    local.deploy("relay", relay, triggers=[on("first")])
    local.deploy(
        "collect",
        COLLECT,
        triggers=[EventTrigger(name="all", filters=[{"cesql": "type = 'second' AND drifted = true"}])],
    )
    broker = local.target.status()["broker"]
    assert call(broker, b'"plain"', headers("first", "1")).status == 202
    assert call(broker, b'"event"', headers("first", "2")).status == 202
    found = until(lambda: seen(local))
    assert [(entry["type"], entry["body"]) for entry in found] == [("second", {"from": "event"})]
    until(lambda: local.target.triggers("relay")[0].delivered == 2)
    assert len(seen(local)) == 1


def test_emitted_events_reach_the_sink_with_the_overrides(local: Any, call: Any, until: Any) -> None:
    code = "def handler(context, event):\n    return context.emit(type='made', data={'n': 1}, subject='s')\n"
    sink = Sink(broker="default", extensions={"team": "blue"})
    url = local.deploy("maker", code, sink=sink).url
    local.deploy("collect", COLLECT, triggers=[on("made")])
    identity = call(url, b"").body.decode()
    found = until(lambda: seen(local))
    assert found[0]["body"] == {"n": 1}
    assert found[0]["extensions"]["id"] == identity
    assert found[0]["extensions"]["team"] == "blue"
    assert found[0]["extensions"]["source"] == "/functions/maker"
    assert found[0]["extensions"]["traceparent"].startswith("00-")


def test_a_failing_event_is_retried_and_then_dead_and_can_be_redriven(local: Any, call: Any, until: Any) -> None:
    flaky = """
import os, pathlib

def handler(context, event):
    if not pathlib.Path(os.environ["TRIMTAB_HOME"], "mended").exists():
        raise ValueError("broken")
"""
    retry = Retry(attempts=2, backoff="linear", delay="50ms")
    local.deploy("flaky", flaky, triggers=[on("go", retry=retry)])
    broker = local.target.status()["broker"]
    call(broker, b"1", headers("go", "7"))
    letter = until(lambda: local.target.dead("flaky"))[0]
    assert letter.event["id"] == "7"
    assert [status for _, status, _ in letter.history] == [500, 500, 500]
    assert "broken" not in json.dumps(letter.reason)
    (local.home / "mended").touch()
    assert local.target.redrive([letter.id]) == 1
    until(lambda: local.target.triggers("flaky")[0].delivered == 1)
    assert local.target.dead() == []


def test_permanent_errors_are_not_retried_and_temporary_ones_wait(local: Any, call: Any, until: Any) -> None:
    code = """
import trimtab

def handler(context, event):
    if event.body == "never":
        raise trimtab.PermanentError("no such customer")
    context.user_data.tries = getattr(context.user_data, "tries", 0) + 1
    if context.user_data.tries < 2:
        raise trimtab.TemporaryError("later", delay=1)
"""
    local.deploy("picky", code, triggers=[on("go")])
    broker = local.target.status()["broker"]
    call(broker, b'"never"', headers("go", "1"))
    letter = until(lambda: local.target.dead("picky"))[0]
    assert [status for _, status, _ in letter.history] == [400]
    assert local.target.drop() == 1
    call(broker, b'"soon"', headers("go", "2"))
    until(lambda: local.target.triggers("picky")[0].delivered == 1)


def test_triggers_are_paused_resumed_and_described(local: Any, call: Any, until: Any) -> None:
    local.deploy(
        "collect", COLLECT, triggers=[on("go"), CronTrigger(name="daily", schedule="0 3 * * *", timezone="Europe/Oslo")]
    )
    broker = local.target.status()["broker"]
    assert local.target.pause("collect", "go").state == "paused"
    call(broker, b"1", headers("go"))
    until(lambda: local.target.triggers("collect")[0].pending == 1)
    assert seen(local) == []
    local.kill()
    local.target.up()
    assert local.target.triggers("collect")[0].state == "paused"
    local.target.pause("collect", "go", paused=False)
    until(lambda: len(seen(local)) == 1)
    daily = local.target.triggers("collect")[1]
    assert daily.kind == "cron"
    assert daily.next is not None
    identity = local.target.fire("collect", "daily")
    until(lambda: len(seen(local)) == 2)
    assert seen(local)[1]["type"] == "dev.knative.sources.ping"
    firing = until(lambda: [f for f in local.target.firings("collect", "daily") if f.state == "delivered"])[0]
    assert firing.id == identity
    with pytest.raises(Conflict, match="only cron triggers fire by themselves"):
        local.target.fire("collect", "go")
    with pytest.raises(NotFound, match="'collect' has no trigger 'goo'; it has go, daily"):
        local.target.pause("collect", "goo")


def test_a_function_at_zero_is_woken_by_an_event(local: Any, call: Any, until: Any) -> None:
    local.deploy("collect", COLLECT, triggers=[on("go")], scale={"window": "6s"})
    until(lambda: local.target.get("collect").replicas == 0, 30)
    call(local.target.status()["broker"], b"1", headers("go"))
    until(lambda: len(seen(local)) == 1)


def test_events_are_listed_and_followed(local: Any, call: Any) -> None:
    local.target.up()
    broker = local.target.status()["broker"]
    for number in range(3):
        call(broker, b"{}", headers("go", str(number)))
    assert [event["id"] for event in local.target.events(tail=2)] == ["1", "2"]
    following = local.target.events(tail=1, follow=True)
    assert next(following)["id"] == "2"
    call(broker, b"{}", headers("go", "3"))
    assert next(following)["id"] == "3"
    following.close()


def test_what_was_pending_for_a_deleted_function_is_in_the_dead_letters(local: Any, call: Any, until: Any) -> None:
    local.deploy("collect", COLLECT, triggers=[on("go")])
    local.target.pause("collect", "go")
    call(local.target.status()["broker"], b"1", headers("go", "left"))
    until(lambda: local.target.triggers("collect")[0].pending == 1)
    local.target.delete("collect")
    assert [(letter.event["id"], letter.reason) for letter in local.target.dead()] == [("left", "subscription removed")]
