"""The broker's file: damage, versions, group commit, retention, and the port that cron uses."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Conflict, NotFound, StoreError
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker.retention import Retention, sweep
from trimtab.triggers.broker.store import VERSION, create
from trimtab.triggers.broker.transaction import Transaction

pytestmark = pytest.mark.anyio

CRON = Subscription(id="f/tick")
T = Subscription(id="f/t", broker="default")


async def test_a_damaged_file_is_refused_with_its_name_and_what_to_do(world: Any) -> None:
    world.path.write_bytes(b"this is not a database at all, whatever its name says" * 100)
    with pytest.raises(StoreError) as caught:
        await world.begin(T)
    del world.broker
    assert str(world.path) in str(caught.value)
    assert "is damaged" in str(caught.value)
    assert "Move it away" in str(caught.value)


async def test_damage_inside_the_file_is_found_when_it_is_opened(world: Any) -> None:
    await world.begin(T)
    await world.publish(*map(str, range(500)))
    await world.quiet()
    await world.end()
    content = bytearray(world.path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 2000] = b"\xa5" * 2000
    world.path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        await world.begin(T)
    del world.broker


async def test_a_file_from_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"has schema version {VERSION + 1}, this Trimtab knows {VERSION}"):
        create(path)


async def test_every_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    connection = create(tmp_path / "broker.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


async def test_an_operation_that_fails_is_undone_alone(world: Any) -> None:
    await world.begin(T)
    writer = world.broker._queue.writer

    def spoil(transaction: Transaction) -> None:
        transaction.execute("DELETE FROM subscriptions")
        raise RuntimeError("spoilt")

    results = await asyncio.gather(
        world.publish("1"), writer.write(spoil), world.publish("2"), writer.write(spoil), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), RuntimeError, type(None), RuntimeError]
    await world.until(lambda: world.stats().delivered == 2)


async def test_a_closed_file_takes_nothing_more(world: Any, kit: Any) -> None:
    await world.begin(T)
    await world.end()
    with pytest.raises(StoreError, match="was closed"):
        await world.publish("1")
    await world.begin(T)


async def test_outcomes_that_cannot_be_written_are_kept_until_the_disk_has_room(world: Any, kit: Any) -> None:
    """An outcome lost would be a needless repetition; and a slot is not held while it waits."""
    refusing = True
    await world.begin(T)
    original = world.broker._queue.delivered

    async def delivered(*args: Any) -> None:
        if refusing:
            raise StoreError("no room")
        await original(*args)

    world.broker._queue.delivered = delivered
    await world.publish("1")
    await world.until(lambda: world.broker.counters().store_errors)
    assert world.broker.in_flight("f") == 0
    refusing = False
    await world.advance_until(lambda: world.stats().delivered == 1)
    assert world.functions.ids == ["1"]


async def test_enqueue_is_known_by_source_and_id_also_after_a_restart(world: Any, kit: Any) -> None:
    await world.begin(CRON)
    assert await world.broker.enqueue("f/tick", kit.event("1"))
    assert not await world.broker.enqueue("f/tick", kit.event("1"))
    assert await world.broker.enqueue("f/tick", kit.event("1", source="/else"))
    await world.until(lambda: world.stats("f/tick").delivered == 2)
    await world.end()
    await world.begin(CRON)
    assert not await world.broker.enqueue("f/tick", kit.event("1"))
    assert len(world.functions.calls) == 2


async def test_the_outcome_of_an_enqueued_event_can_be_asked(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(503 if call.envelope.id == "slow" else 400)
    await world.begin(CRON)
    assert await world.broker.outcome("f/tick", "/tests", "slow") is None
    await world.broker.enqueue("f/tick", kit.event("slow"))
    await world.broker.enqueue("f/tick", kit.event("bad"))
    await world.until(lambda: world.stats("f/tick").failed == 2)
    assert await world.broker.outstanding("f/tick") == 1
    pending = await world.broker.outcome("f/tick", "/tests", "slow")
    assert (pending.state, pending.attempts, pending.finished) == ("pending", 1, None)
    dead = await world.broker.outcome("f/tick", "/tests", "bad")
    assert (dead.state, dead.attempts, dead.finished, dead.detail) == ("dead", 1, world.clock.now(), "400")
    world.functions.answer = lambda call: kit.reply(202)
    await world.broker.redrive()
    await world.advance_until(lambda: world.stats("f/tick").delivered == 2)
    done = await world.broker.outcome("f/tick", "/tests", "slow")
    assert (done.state, done.attempts) == ("delivered", 2)
    again = await world.broker.outcome("f/tick", "/tests", "bad")
    assert (again.state, again.attempts) == ("delivered", 1)
    assert await world.broker.outstanding("f/tick") == 0


async def test_enqueue_into_what_cannot_take_it_says_why(world: Any, kit: Any) -> None:
    await world.begin(CRON, T)
    with pytest.raises(NotFound, match="no trigger 'f/none'; triggers: f/t, f/tick"):
        await world.broker.enqueue("f/none", kit.event("1"))
    with pytest.raises(Conflict, match="takes its events from broker 'default': post them there"):
        await world.broker.enqueue("f/t", kit.event("1"))
    assert await world.broker.outstanding("f/none") == 0
    assert await world.broker.outcome("f/none", "/tests", "1") is None


async def test_a_reply_to_a_cron_event_enters_the_default_broker(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.event_reply("r") if call.envelope.id == "tick" else kit.reply(202)
    await world.begin(CRON, Subscription(id="g/t", broker="default"))
    await world.broker.enqueue("f/tick", kit.event("tick"))
    await world.until(lambda: world.stats("g/t").delivered == 1)
    assert [item["id"] async for item in world.broker.events()] == ["r"]


async def test_old_events_are_forgotten_but_not_those_somebody_waits_for(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(400 if call.envelope.id == "dead" else 202)
    waiting = Subscription(id="g/t", broker="default", filters=[{"exact": {"id": "kept"}}], paused=True)
    await world.begin(T, waiting)
    await world.publish("dead", "kept", *map(str, range(2000)))
    await world.until(lambda: world.stats().delivered == 2001)
    queue = world.broker._queue
    assert await sweep(queue, Retention(count=100, age=1000), world.clock.now()) == 0
    left = [item["id"] async for item in world.broker.events(tail=None)]
    assert left == ["dead", "kept", *map(str, range(1900, 2000))]
    world.clock.advance(1001)
    assert await sweep(queue, Retention(count=100, age=1000), world.clock.now()) == 0
    assert [item["id"] async for item in world.broker.events(tail=None)] == ["dead", "kept"]
    assert (await world.broker.letters())[0].event["id"] == "dead"
    await world.broker.subscribe([T, Subscription(id="g/t", broker="default")])
    await world.until(lambda: world.stats("g/t").delivered == 1)


async def test_the_background_task_keeps_the_file_small(world: Any) -> None:
    await world.begin(Subscription(id="f/t", broker="default", deduplicate=5.0), retention=Retention(count=10))
    await world.publish(*map(str, range(50)))
    await world.until(lambda: world.stats().delivered == 50)

    def count(table: str) -> int:
        with sqlite3.connect(world.path) as connection:
            found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        connection.close()
        return found

    await world.advance_until(lambda: count("events") == 10 and count("known") == 0)


async def test_the_last_events_are_listed_and_followed(world: Any) -> None:
    await world.begin(T, brokers=["other"])
    await world.publish("1", "2", "3")
    await world.publish("x", broker="other")
    assert [item["id"] async for item in world.broker.events(tail=2)] == ["2", "3"]
    assert [item["id"] async for item in world.broker.events(tail=0)] == []
    assert [item["id"] async for item in world.broker.events("other")] == ["x"]
    with pytest.raises(NotFound, match="no broker 'none'; brokers: default, other"):
        await anext(world.broker.events("none"))
    following = world.broker.events(tail=1, follow=True)
    assert (await anext(following))["id"] == "3"
    upcoming = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    await world.publish("y", broker="other")
    await world.publish("4", "5")
    assert (await upcoming)["id"] == "4"
    assert (await anext(following))["id"] == "5"
    await following.aclose()


async def test_the_events_of_one_type_are_listed_alone(world: Any) -> None:
    await world.begin(T)
    await world.publish("1")
    await world.publish("2", "3", type="com.example.odd")
    await world.publish("4")
    assert [item["id"] async for item in world.broker.events(tail=1, type="com.example.odd")] == ["3"]
    assert [item["id"] async for item in world.broker.events(tail=None, type="com.example.odd")] == ["2", "3"]
    assert [item["id"] async for item in world.broker.events(tail=None, type="com.example.none")] == []


@given(st.lists(st.integers(0, 400), max_size=6))
def test_any_number_of_rows_goes_in_and_out(counts: list[int]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE deliveries (subscription, event)")
    total = 0
    for count in counts:
        transaction = Transaction(connection)
        for number in range(count):
            transaction.deliver(1, total + number)
            transaction.deliver(2, total + number)
        transaction.flush()
        for number in range(count):
            transaction.done(1, total + number)
        transaction.flush()
        total += count
    rows = connection.execute("SELECT subscription, event FROM deliveries ORDER BY event").fetchall()
    assert rows == [(2, number) for number in range(total)]
    connection.close()
