"""Streams on this machine: consumers beside the daemon, what they survive, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.triggers.streams.servers import Redis, free_port

from trimtab.errors import Conflict, NotFound, SpecError, TargetError
from trimtab.spec import EnvSource, EnvVar, KeyRef, Retry, Sink, StreamTrigger
from trimtab.spec.stream import parse
from trimtab.triggers.streams.abc import Record
from trimtab.triggers.streams.backends import open_publisher

COLLECT = """
import json, os, pathlib
from trimtab import PermanentError

def handler(context, events: list):
    path = pathlib.Path(os.environ["TRIMTAB_HOME"], "seen.jsonl")
    with path.open("a") as seen:
        for event in events:
            seen.write(json.dumps(event.body) + "\\n")
    return [PermanentError("never") if event.body == "bad" else None for event in events]
"""
PASSWORD = "hunter2-and-more"


def publish(local: Any, url: str, *bodies: Any) -> None:
    async def put() -> None:
        publisher = open_publisher(parse(url), local.home)
        await publisher.open()
        await publisher.publish([Record(body=json.dumps(body).encode(), key="k") for body in bodies])
        await publisher.close()

    asyncio.run(put())


def seen(local: Any) -> list[Any]:
    path = local.home / "seen.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trigger(local: Any, name: str = "f") -> Any:
    return local.target.triggers(name)[0]


def consumers(local: Any) -> list[int]:
    return [pid for pid, words in local.processes().items() if "streams.process" in words]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if missing := Redis.missing():
        pytest.skip(f"{missing} is not installed")
    (folder := tmp_path / "redis").mkdir()
    server = Redis(folder)
    server.start()
    yield server
    server.stop()


def test_what_is_published_after_a_deploy_calls_the_function(local: Any, until: Any, call: Any) -> None:
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders", batch=10)])
    publish(local, "local:orders", 1, 2, 3)
    until(lambda: seen(local) == [1, 2, 3])
    until(lambda: trigger(local).delivered == 3)
    info = trigger(local)
    assert (info.kind, info.state, info.outcome, info.pending) == ("stream", "active", "202", 0)
    base = local.target.status()["broker"].rpartition("/")[0]
    text = call(f"{base}/-/metrics").body.decode()
    assert 'trimtab_stream_delivered_total{function="f",trigger="s"} 3' in text


def test_a_dead_letter_is_with_the_others_and_is_delivered_again(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders", batch=10)])
    publish(local, "local:orders", 1, "bad", 2)
    (letter,) = until(local.target.dead)
    assert (letter.function, letter.trigger, letter.reason) == ("f", "s", "status 400 is final")
    assert letter.event["data"] == "bad"
    assert letter.event["partitionkey"] == "k"
    assert [status for _, status, _ in letter.history] == [400]
    assert trigger(local).dead == 1
    local.deploy("f", COLLECT.replace('== "bad"', "== 0"), triggers=[StreamTrigger(name="s", url="local:orders")])
    assert local.target.redrive() == 1
    until(lambda: seen(local).count("bad") == 2)
    until(lambda: not local.target.dead())


def test_dead_letters_may_go_to_a_stream(local: Any, until: Any) -> None:
    grave = Retry(attempts=0, dead_letter="graves")
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders", retry=grave)])
    publish(local, "local:orders", "bad")
    until(lambda: trigger(local).failed == 1)
    assert local.target.dead() == []
    local.deploy("g", COLLECT, triggers=[StreamTrigger(name="s", url="local:graves", start="earliest")])
    until(lambda: seen(local).count("bad") == 2)


def test_a_killed_consumer_and_a_killed_daemon_lose_nothing(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders")])
    for number in range(3):
        publish(local, "local:orders", number)
        (pid,) = until(lambda: consumers(local))
        os.kill(pid, signal.SIGKILL)
        until(lambda number=number: number in seen(local))
    publish(local, "local:orders", 3)
    local.kill()
    publish(local, "local:orders", 4)
    local.target.up()
    until(lambda: set(seen(local)) == {0, 1, 2, 3, 4})


def test_a_paused_stream_waits_also_over_a_restart_and_goes_on(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders")])
    assert local.target.pause("f", "s").state == "paused"
    local.target.down()
    local.target.up()
    publish(local, "local:orders", 1)
    until(lambda: trigger(local).pending == 1)
    assert seen(local) == []
    local.target.pause("f", "s", paused=False)
    until(lambda: seen(local) == [1])


def test_a_stream_is_replayed_and_only_a_stream(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:orders")])
    publish(local, "local:orders", 1, 2)
    until(lambda: trigger(local).delivered == 2)
    local.target.replay("f", "s", "earliest")
    until(lambda: seen(local) == [1, 2, 1, 2])
    with pytest.raises(SpecError, match="a time with its zone"):
        local.target.replay("f", "s", "2026-01-01T00:00")
    with pytest.raises(NotFound, match="'f' has no trigger 'x'; it has s"):
        local.target.replay("f", "x", "earliest")
    with pytest.raises(Conflict, match="takes events from a stream; only cron triggers fire by themselves"):
        local.target.fire("f", "s")


def test_triggers_are_added_and_removed_without_touching_the_code(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT)
    assert local.target.add_trigger("f", StreamTrigger(name="s", url="local:orders")).revision == "f-00002"
    publish(local, "local:orders", 1)
    until(lambda: seen(local) == [1])
    local.target.remove_trigger("f", "s")
    assert local.target.triggers("f") == []
    assert not consumers(local)
    with pytest.raises(SpecError, match="a URL that begins with local:, redis:"):
        local.target.add_trigger("f", StreamTrigger(name="s", url="x"))


@pytest.mark.parametrize("kind", ["local", "redis"])
def test_a_function_at_zero_is_woken_by_a_message_again_and_again(
    local: Any, until: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("redis") if kind == "redis" else None
    url = "local:orders" if server is None else f"redis://127.0.0.1:{server.port}?stream=orders"
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url=url)], scale={"min": 0, "window": "6s"})
    until(lambda: local.target.get("f").replicas == 0, 30)
    assert trigger(local).state == "active"
    publish(local, url, 1, 2, 3)
    until(lambda: seen(local) == [1, 2, 3])
    assert local.target.get("f").replicas == 1
    until(lambda: trigger(local).pending == 0)
    until(lambda: local.target.get("f").replicas == 0, 30)
    publish(local, url, 4)
    until(lambda: seen(local) == [1, 2, 3, 4])


def test_what_a_function_emits_goes_to_its_stream(local: Any, until: Any) -> None:
    emit = "def handler(context, event):\n    return context.emit(type='made', data=event.body, partitionkey='k')\n"
    local.deploy("g", emit, sink=Sink(stream="local:made"))
    local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url="local:made")])
    assert local.cli("invoke", "g", "-d", '{"x": 1}').returncode == 0
    until(lambda: seen(local) == [{"x": 1}])


def test_a_password_comes_from_a_secret_and_is_in_no_file_and_no_table(local: Any, until: Any, redis: Redis) -> None:
    from redis import Redis as Client

    Client(port=redis.port).config_set("requirepass", PASSWORD)
    secret = local.home / "secrets" / "redis" / "password"
    secret.parent.mkdir(parents=True)
    secret.write_text(PASSWORD)
    url = f"redis://:$(REDIS_PASSWORD)@127.0.0.1:{redis.port}/0?stream=orders"
    env = [EnvVar(name="REDIS_PASSWORD", value_from=EnvSource(secret_key_ref=KeyRef(name="redis", key="password")))]
    local.deploy("f", COLLECT, env=env, triggers=[StreamTrigger(name="s", url=url)])
    environ = {"REDIS_PASSWORD": PASSWORD}
    assert local.cli("publish", url, "-d", "1", env=environ).returncode == 0
    until(lambda: seen(local) == [1])
    secret.write_text("another")
    Client(port=redis.port, password=PASSWORD).config_set("requirepass", "not-that")
    redis.restart()
    shown = [local.cli("trigger", "ls", *more).stdout for more in ((), ("-o", "json"))]
    assert all("redis://127.0.0.1" in text or "REDIS_PASSWORD" in text for text in shown)
    secret.unlink()
    files = [path for path in local.home.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in "".join(shown)


def test_a_broker_that_is_away_hurts_nobody_and_is_named(local: Any, until: Any, call: Any) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}?stream=orders"
    deployment = local.deploy("f", COLLECT, triggers=[StreamTrigger(name="s", url=url)])
    assert call(deployment.url, b'"direct"', {"content-type": "application/json"}).status == 200
    info = until(lambda: next((t for t in local.target.triggers("f") if t.state == "broken"), None))
    assert info.outcome.startswith("redis: ConnectionError")
    if shutil.which("redis-server") is not None:
        (folder := local.home / "redis").mkdir()
        server = Redis(folder)
        server.port = port
        server.start()
        try:
            until(lambda: trigger(local).state == "active")
            publish(local, url, 1)
            until(lambda: 1 in seen(local))
        finally:
            local.target.delete("f")
            server.stop()


def test_a_stream_whose_library_is_missing_is_refused_with_the_name_of_the_extra(monkeypatch: Any) -> None:
    import sys

    from trimtab.triggers.streams.backends import check_extra

    monkeypatch.setitem(sys.modules, "aio_pika", None)
    with pytest.raises(TargetError) as caught:
        check_extra("rabbitmq")
    assert "rabbitmq streams need the extra 'rabbitmq'" in str(caught.value)
    assert "pip install 'trimtab[rabbitmq]'" in str(caught.value)


def test_publish_and_trigger_speak_of_streams_on_the_command_line(local: Any, until: Any) -> None:
    local.deploy("f", COLLECT)
    added = local.cli("trigger", "add", "f/orders", "--stream", "local:orders", "--batch", "10", "--start", "earliest")
    assert added.stdout == "f/orders calls f-00002\n", added.stderr
    assert local.cli("publish", "local:orders", "-d", "1", "--key", "k").stdout == "local:orders\n"
    until(lambda: seen(local) == [1])
    assert "local:orders" in local.cli("trigger", "ls").stdout
    assert local.cli("trigger", "replay", "f/orders", "--from", "earliest").stdout == "f/orders goes on from earliest\n"
    until(lambda: seen(local) == [1, 1])
    assert local.cli("trigger", "rm", "f/orders").stdout == "f/orders is removed\n"
    refused = local.cli("publish", "com.example.made", "--key", "k")
    assert refused.returncode == 2
    assert "TYPE is not a stream's URL such as local:orders" in refused.stderr
