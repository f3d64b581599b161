"""What is Kafka's own: members that come and go, and one that stays however long the function takes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.triggers.streams.servers import Kafka

from trimtab.triggers.streams import kafka
from trimtab.triggers.streams.abc import Record

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[Kafka], ids=["kafka"])
def server(request: pytest.FixtureRequest, brokers: dict[str, Any], tmp_path_factory: Any) -> Kafka:
    if missing := Kafka.missing():
        pytest.skip(f"{missing} is not installed")
    if "kafka" not in brokers:
        brokers["kafka"] = Kafka(tmp_path_factory.mktemp("kafka"))
        brokers["kafka"].start()
    found: Kafka = brokers["kafka"]
    return found


@pytest.fixture
async def busy(bench: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, list[str]]:
    """A member that may go a second and a half without a poll, and holds one message; `lost` are its lost partitions."""
    monkeypatch.setattr(kafka, "_POLL_WITHIN_MS", 1500)
    await bench.put(*"abcde")
    stream = await bench.consumer()
    lost: list[str] = []
    stream.lost = lost.append
    (message,) = await bench.get(stream, 1)
    return stream, message, lost


async def test_a_full_partition_is_paused_and_its_member_stays_however_long_a_call_takes(bench: Any, busy: Any) -> None:
    stream, message, lost = busy
    client = stream._consumer
    generation = client._coordinator.generation
    until = time.monotonic() + 6
    while time.monotonic() < until:
        await stream.allow(1, 0)
        await asyncio.sleep(0.1)
    assert client.paused() == client.assignment() != set()
    assert (lost, client._coordinator.generation) == ([], generation)
    await stream.ack([message])
    await stream.allow(5, 4)
    assert client.paused() == set()
    assert [each.body for each in await bench.get(stream, 4)] == [b"b", b"c", b"d", b"e"]


async def test_a_member_that_hangs_leaves_its_group(busy: Any) -> None:
    _, _, lost = busy
    deadline = time.monotonic() + 20
    while not lost:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_partition_that_is_full_stops_no_other(bench: Any) -> None:
    await topic(bench, 2)
    for number in range(12):
        await bench.put(str(number), key=str(number))
    stream = await bench.consumer()
    (first,) = await bench.get(stream, 1)
    until = time.monotonic() + 2
    others = []
    while time.monotonic() < until:
        await stream.allow(20, 20, [first.partition])
        others += await stream.receive(20, 0.2)
    assert first.partition not in {message.partition for message in others} != set()
    assert {str(each.partition) for each in stream._consumer.paused()} == {first.partition}
    await stream.allow(20, 20)
    assert len(await bench.get(stream, 11 - len(others))) == 11 - len(others)


@pytest.mark.slow
async def test_partitions_go_over_to_a_member_that_joins_and_come_back_when_it_leaves(bench: Any) -> None:
    await topic(bench, 4)
    first, second = await bench.consumer(consumer=f"{bench.name}-1"), None
    publisher = await bench.publisher()
    lost: list[str] = []
    first.lost = lost.append
    done: dict[str, list[str]] = {"first": [], "second": []}

    async def work(name: str, stream: Any) -> None:
        while True:
            for message in await stream.receive(20, 0.2):
                done[name].append(message.body.decode())
                await stream.ack([message])

    async def put(start: int) -> None:
        numbers = range(start, start + 100)
        await publisher.publish([Record(body=str(n).encode(), key=f"k{n % 10}") for n in numbers])

    async def until_done(count: int) -> None:
        deadline = time.monotonic() + 40
        while len({*done["first"], *done["second"]}) < count:
            assert time.monotonic() < deadline, {name: len(each) for name, each in done.items()}
            await asyncio.sleep(0.05)

    one = asyncio.create_task(work("first", first))
    await put(0)
    await until_done(100)
    second = await bench.consumer(consumer=f"{bench.name}-2")
    two = asyncio.create_task(work("second", second))
    deadline = time.monotonic() + 40
    while not (first._consumer.assignment() and second._consumer.assignment()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await put(100)
    await until_done(200)
    assert lost
    assert done["second"]
    two.cancel()
    await second.close()
    await put(200)
    await until_done(300)
    one.cancel()
    assert len(first._consumer.assignment()) == 4


async def topic(bench: Any, partitions: int) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{bench.server.port}")
    await admin.start()
    await admin.create_topics([NewTopic(bench.name, num_partitions=partitions, replication_factor=1)])
    await admin.close()
