"""What is Redis' own: entries of others, and what a length limit takes away."""

from __future__ import annotations

from typing import Any

import pytest
from tests.triggers.streams.servers import Redis

from trimtab.triggers.streams.cloudevent import to_event

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[Redis], ids=["redis"])
def server(request: pytest.FixtureRequest, brokers: dict[str, Any], tmp_path_factory: Any) -> Redis:
    if missing := Redis.missing():
        pytest.skip(f"{missing} is not installed")
    if "redis" not in brokers:
        brokers["redis"] = Redis(tmp_path_factory.mktemp("redis"))
        brokers["redis"].start()
    found: Redis = brokers["redis"]
    return found


def client(bench: Any) -> Any:
    from redis import Redis as Client

    return Client(port=bench.server.port)


async def test_an_entry_of_any_program_is_an_object_of_its_fields(bench: Any) -> None:
    client(bench).xadd(bench.name, {"amount": "5", "to": "anna"})
    (message,) = await bench.get(await bench.consumer(), 1)
    assert to_event(message, "/s").data == b'{"amount":"5","to":"anna"}'


async def test_what_was_trimmed_before_it_was_read_is_counted(bench: Any) -> None:
    stream = await bench.consumer()
    await bench.put(*"abcdefgh")
    await stream.ack(await bench.get(stream, 2))
    client(bench).xtrim(bench.name, maxlen=3, approximate=False)
    assert (await stream.lag()).lost == 3
    assert [message.body for message in await bench.get(stream, 3)] == [b"f", b"g", b"h"]
    assert (await stream.lag()).lost == 3


async def test_what_was_trimmed_while_it_was_lent_is_counted_and_stops_nobody(bench: Any) -> None:
    stream = await bench.consumer()
    await bench.put(*"abcd")
    await bench.get(stream, 4)
    client(bench).xtrim(bench.name, maxlen=1, approximate=False)
    await stream.close()
    again = await bench.consumer()
    assert [message.body for message in await bench.get(again, 1)] == [b"d"]
    assert (await again.lag()).lost == 3
    assert (await again.lag()).pending == 1


async def test_a_publisher_trims_only_where_it_is_told(bench: Any) -> None:
    from msgspec.structs import replace

    from trimtab.triggers.streams.abc import Record
    from trimtab.triggers.streams.redis import RedisPublisher

    await bench.put(*map(str, range(300)))
    assert client(bench).xlen(bench.name) == 300
    publisher = RedisPublisher(replace(bench.url(), options={"maxlen": "10"}))
    await publisher.open()
    await publisher.publish([Record(body=b"x")] * 300)
    await publisher.close()
    assert client(bench).xlen(bench.name) < 300
