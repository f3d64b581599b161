"""How much a broker lends: as many messages as the function has free slots for, and the others to others."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.triggers.streams.conftest import Bench
from tests.triggers.streams.servers import SERVERS, Mosquitto, Server
from tests.triggers.streams.test_consumer import TAKEN, Function

from trimtab.runtime.client import Reply
from trimtab.triggers.broker.retry import Policy
from trimtab.triggers.streams.abc import Start
from trimtab.triggers.streams.backends import open_stream
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.plan import Plan

pytestmark = pytest.mark.anyio
COUNT = 40
LATER = Reply(503, [(b"retry-after", b"600")], b"")


class Talking(Mosquitto):
    """Writes every packet into its log."""

    def command(self) -> list[str]:
        words = super().command()
        with Path(words[-1]).open("a") as file:
            file.write("log_type all\n")
        return words


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest, brokers: dict[str, Server], tmp_path: Path) -> Any:
    kind: type[Server] = request.param
    if missing := kind.missing():
        pytest.skip(f"{missing} is not installed")
    if kind is not Mosquitto:
        if kind.kind not in brokers:
            brokers[kind.kind] = kind(request.getfixturevalue("tmp_path_factory").mktemp(kind.kind))
            brokers[kind.kind].start()
        yield brokers[kind.kind]
        return
    talking = Talking(tmp_path)
    talking.start()
    yield talking
    talking.stop()


class Held:
    """A consumer whose function answers when it is told to; `slots` calls at a time."""

    def __init__(self, bench: Bench, slots: int) -> None:
        self.bench, self.slots = bench, slots
        self.function = Function()
        self.gate = asyncio.Event()
        self.answer: Callable[[list[str]], Reply] = lambda bodies: TAKEN
        self.function.answer = self._wait
        self.consumer: Consumer
        self.stream: Any
        self._running: asyncio.Task[None]

    async def begin(self, batch: int = 1, order: Any = "none") -> None:
        plan = Plan(
            id="f/t", url=self.bench.url(), batch=batch, wait=5.0 if batch > 1 else 0.0, order=order, lease=30.0,
            start=Start(at="earliest"), policy=Policy(timeout=60.0), consumer=f"{self.bench.name}-c",
        )  # fmt: skip
        if self.bench.server.kind == "kafka":
            plan = replace(plan, lease=6.0)
        self.stream = open_stream(plan.url, plan.options(self.slots), self.bench.home)
        self.consumer = Consumer(plan, self.stream, self.function, self, self)
        self._running = asyncio.create_task(self.consumer.run())
        await self.until(lambda: self.consumer.figures.state == "consuming")

    async def end(self) -> None:
        self.gate.set()
        await self.consumer.stop(5)
        await self._running
        await self.function.aclose()

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, (self.consumer.figures, self.function.calls)
            await asyncio.sleep(0.01)

    def url(self, function: str) -> str | None:
        return "http://f.test"

    def free(self, function: str) -> int:
        return self.slots - self.consumer.figures.in_flight

    async def bury(self, letters: Any) -> None:
        raise AssertionError(letters)

    async def _wait(self, bodies: list[str]) -> Reply:
        answer = self.answer(bodies)
        if answer is TAKEN:
            await self.gate.wait()
        return answer

    async def lent(self) -> int:
        """What the broker itself says that it has handed out, and was not acked."""
        name, group = self.bench.name, self.bench.url().group
        kind = self.bench.server.kind
        if kind == "local":
            with sqlite3.connect(self.bench.home / "streams.db") as connection:
                found = connection.execute("SELECT count(*) FROM lent WHERE stream = ?", (name,)).fetchone()
            return int(found[0])
        if kind == "redis":
            from redis import Redis

            with Redis(port=self.bench.server.port) as client:
                return int(client.xpending(name, group)["pending"])
        if kind == "nats":
            return int((await self.stream.lag()).pending)  # `num_ack_pending` of the consumer's info
        if kind == "rabbitmq":
            return COUNT - int((await self.stream.lag()).waiting)  # `messages_ready` of the queue
        if kind == "mqtt":
            log = (self.bench.server.folder / "log").read_text()
            return log.count(f"Sending PUBLISH to {self.bench.name}-c (d0")
        (partition,) = self.stream._offsets  # Kafka lends a partition; this is how far we read in it
        return int(await self.stream._consumer.position(partition))

    async def settled(self) -> int:
        """Wait until nothing more is handed out, and say how much was."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < 1.0:
            if (now := await self.lent()) != before:
                before, since = now, time.monotonic()
            await asyncio.sleep(0.05)
        return before


@pytest.fixture
async def held(bench: Bench) -> AsyncIterator[Callable[[int], Held]]:
    made: list[Held] = []

    def make(slots: int) -> Held:
        made.append(Held(bench, slots))
        return made[-1]

    yield make
    for each in made:
        await each.end()


async def subscribed(bench: Bench) -> None:
    """An MQTT broker keeps only what somebody has subscribed to."""
    if bench.server.kind == "mqtt":
        await (await bench.consumer()).close()


async def test_a_broker_lends_no_more_than_there_are_slots_and_the_others_to_others(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put(*map(str, range(COUNT)))
    world = held(3)
    await world.begin(batch=2)
    await world.until(lambda: sum(map(len, world.function.calls)) == 6)
    assert await world.settled() == 6
    if bench.server.kind in ("mqtt", "kafka"):
        return  # which give a message, or its partition, to one consumer of a group before anybody asks for it
    other = await bench.consumer(consumer=f"{bench.name}-other", ordered=False)
    others = await bench.get(other, COUNT - 6, 5)
    assert len(others) == COUNT - 6
    await other.ack(others)


async def test_what_is_lent_follows_the_slots(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put(*map(str, range(COUNT)))
    world = held(2)
    await world.begin()
    await world.until(lambda: len(world.function.calls) == 2)
    assert await world.settled() == 2
    world.slots = 5
    world.consumer.notify()
    await world.until(lambda: len(world.function.calls) >= 5)
    if bench.server.kind != "mqtt":  # which agrees anew, on twice as much at least
        assert await world.settled() == 5
    assert world.function.most == 5
    world.slots = 1
    world.gate.set()
    await world.until(lambda: world.consumer.figures.delivered == COUNT)
    assert len(world.function.bodies) == COUNT


async def test_messages_that_wait_for_their_next_try_hold_no_slot(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put(*map(str, range(COUNT)))
    world = held(3)
    world.answer = lambda bodies: LATER if int(bodies[0]) < 12 else TAKEN
    world.gate.set()
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == COUNT - 12)
    await world.until(lambda: world.consumer.figures.held == 12)


async def test_messages_that_wait_behind_another_of_their_key_hold_no_slot(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put(*map(str, range(12)), key="a")
    await bench.put(*map(str, range(100, 103)), key="b")
    world = held(3)
    await world.begin(order="key")
    await world.until(lambda: {"0", "100"} <= set(world.function.bodies))
    assert sorted(world.function.bodies) == ["0", "100"]
    world.gate.set()
    await world.until(lambda: world.consumer.figures.delivered == 15)
    assert [int(body) for body in world.function.bodies if int(body) < 100] == list(range(12))


async def test_in_the_order_of_a_partition_no_more_than_the_next_call_is_read_ahead(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put(*map(str, range(COUNT)))
    world = held(3)
    await world.begin(order="partition")
    await world.until(lambda: world.function.calls)
    assert await world.settled() <= 3
    assert world.function.bodies == ["0"]
    world.gate.set()
    await world.until(lambda: world.consumer.figures.delivered == COUNT)
    assert [int(body) for body in world.function.bodies] == list(range(COUNT))


async def test_a_paused_consumer_is_lent_nothing_more(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    world = held(3)
    await world.begin()
    world.consumer.pause(True)
    await asyncio.sleep(1.0)  # a `receive` that waits may still get some
    await bench.put(*map(str, range(COUNT)))
    if bench.server.kind != "mqtt":  # which knows no pause
        assert await world.settled() == 0
    world.gate.set()
    assert world.function.calls == []
    world.consumer.pause(False)
    await world.until(lambda: world.consumer.figures.delivered == COUNT)


async def test_a_pause_with_messages_in_hand_keeps_the_connection(bench: Bench, held: Any) -> None:
    await subscribed(bench)
    await bench.put("0", "1")
    world = held(3)
    world.answer = lambda _: LATER
    world.gate.set()
    await world.begin()
    await world.until(lambda: world.consumer.figures.failed == 2)
    connects = world.consumer.figures.connects
    world.consumer.pause(True)
    await asyncio.sleep(2.5)
    assert world.consumer.figures.connects == connects
    assert world.consumer.figures.state == "paused"
