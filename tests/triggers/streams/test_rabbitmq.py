"""What is RabbitMQ's own: queues that go, and numbers that it cannot be told."""

from __future__ import annotations

from typing import Any

import aio_pika
import pytest
from tests.triggers.streams.servers import RabbitMQ

from trimtab.errors import StreamError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[RabbitMQ], ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest, brokers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    if missing := RabbitMQ.missing():
        pytest.skip(f"{missing} is not installed")
    if "rabbitmq" not in brokers:
        brokers["rabbitmq"] = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
        brokers["rabbitmq"].start()
    return brokers["rabbitmq"]


async def test_a_consumer_whose_queue_is_deleted_hears_of_it(bench: Any) -> None:
    stream = await bench.consumer(prefetch=3)
    connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{bench.server.port}")
    async with connection:
        await (await connection.channel()).queue_delete(bench.name)
    with pytest.raises(StreamError):
        await stream.receive(1, 10.0)
    await stream.close()
    await stream.open()
    await bench.put("a")
    assert [message.body for message in await bench.get(stream, 1)] == [b"a"]


async def test_more_than_amqp_can_say_may_be_allowed(bench: Any) -> None:
    stream = await bench.consumer(prefetch=1)
    await bench.put(*map(str, range(10)))
    await bench.get(stream, 1)
    await stream.allow(100_000, 100_000)
    assert len(await bench.get(stream, 9)) == 9
    await stream.close()
    await stream.open()
    assert [int(message.body) for message in await bench.get(stream, 10)] == list(range(10))
