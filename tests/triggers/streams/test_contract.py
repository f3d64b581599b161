"""What every backend promises (`triggers.streams.abc`), against real brokers."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from tests.triggers.streams.servers import free_port

from trimtab.errors import StreamError, Unsupported
from trimtab.events import make
from trimtab.triggers.streams.abc import Message, Options, Record, Reopen, Start
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.cloudevent import to_event, to_record

pytestmark = pytest.mark.anyio
TANSU = "Tansu 0.6 answers ListOffsets wrongly: see test_kafka_ends; TRIMTAB_TEST_KAFKA names a better one"


def bodies(messages: Any) -> list[str]:
    return [message.body.decode() for message in messages]


async def test_messages_come_in_order_with_body_key_and_headers(bench: Any) -> None:
    stream = await bench.consumer()
    publisher = await bench.publisher()
    await publisher.publish(
        [
            Record(body=bytes([number, 0, 255]), key=f"k{number % 3}", headers={"x-own": str(number)})
            for number in range(20)
        ]
        if bench.server.kind != "redis"
        else [Record(body=bytes([number, 0, 255]), key=f"k{number % 3}") for number in range(20)]
    )
    found = await bench.get(stream, 20)
    assert [message.body for message in found] == [bytes([number, 0, 255]) for number in range(20)]
    assert [message.key for message in found] == [f"k{number % 3}" for number in range(20)]
    if bench.server.kind != "redis":
        assert found[7].headers["x-own"] == "7"


async def test_what_is_acked_never_comes_again_and_what_is_not_comes_first(bench: Any) -> None:
    stream = await bench.consumer()
    await bench.put(*"abcdef")
    found = await bench.get(stream, 4)
    assert bodies(found) == list("abcd")
    await stream.ack(found[:2])
    await stream.close()
    again = await bench.consumer()
    assert bodies(await bench.get(again, 4)) == list("cdef")


async def test_what_comes_back_again_and_again_keeps_its_order(bench: Any) -> None:
    await (await bench.consumer()).close()
    await bench.put(*"0123456789")
    # Each time others come back, of which some came back before: a queue does not put them where they were.
    for count in (6, 3, 5, 1)[: 1 if bench.server.kind == "kafka" else 4]:
        stream = await bench.consumer(prefetch=count, ordered=False)
        await bench.get(stream, count, 1)
        await stream.close()
    assert bodies(await bench.get(await bench.consumer(), 10)) == list("0123456789")


async def test_the_order_holds_while_more_and_less_is_lent(bench: Any) -> None:
    """Whether what is on its way when the amount changes still comes in its turn."""
    count, dice = 1500, random.Random(3)
    stream = await bench.consumer(prefetch=400)
    publishing = asyncio.create_task(bench.put(*[str(number) for number in range(count)], key="k"))
    held: list[Message] = []
    seen: list[int] = []
    deadline = time.monotonic() + 60
    while len(seen) < count:
        assert time.monotonic() < deadline, len(seen)
        if held:
            await stream.ack(held)
            held = []
        for most in (0, dice.choice((40, 100, 400))):
            try:
                await stream.allow(most, most)
            except Reopen:
                await stream.close()
                await stream.open()
        found = await stream.receive(dice.randint(1, 60), 0.05)
        # What was acked just before a connection ended may come again.
        seen += [number for message in found if (number := int(message.body)) not in seen[-1000:]]
        held += found
    await publishing
    assert seen == list(range(count))


async def test_a_message_has_the_same_place_each_time_that_it_comes(bench: Any) -> None:
    stream = await bench.consumer()
    await bench.put("a", "b")
    first = await bench.get(stream, 2)
    await stream.close()
    second = await bench.get(await bench.consumer(), 2)
    assert [to_event(m, "/s").id for m in first] == [to_event(m, "/s").id for m in second]
    assert first[0].position != first[1].position
    if not type(stream).positions:
        assert all(message.redelivered for message in second)


async def test_out_of_order_acks_lose_nothing(bench: Any) -> None:
    stream = await bench.consumer()
    await bench.put(*"abcde")
    found = await bench.get(stream, 5)
    await stream.ack([found[3], found[1]])
    await stream.close()
    count = 5 if bench.server.kind == "kafka" else 3  # which cannot say of one message that it is done
    again = bodies(await bench.get(await bench.consumer(), count))
    assert [each for each in again if each in "ace"] == list("ace")


async def test_what_is_given_back_is_lent_again_in_its_place(bench: Any) -> None:
    stream = await bench.consumer(lease=30.0 if bench.server.kind != "kafka" else 6.0, prefetch=3)
    await bench.put(*"abcdefgh")
    found = await bench.get(stream, 3)
    await stream.allow(0, 0)
    await stream.nack(found)
    await stream.close()
    stream = await bench.consumer()
    again = await bench.get(stream, 8)
    assert bodies(again) == list("abcdefgh")
    await stream.ack(again)
    assert await bench.nothing(stream)


async def test_the_messages_of_a_consumer_that_is_gone_go_to_another(bench: Any) -> None:
    if bench.server.kind in ("kafka", "mqtt"):
        pytest.xfail("needs the broker's own session to run out: six seconds at least, or a day")
    stream = await bench.consumer(consumer=f"{bench.name}-one", lease=1.0)
    await bench.put("a", "b")
    assert bodies(await bench.get(stream, 2)) == ["a", "b"]
    await stream.close()
    other = await bench.consumer(consumer=f"{bench.name}-two", ordered=False, lease=1.0)
    assert sorted(bodies(await bench.get(other, 2))) == ["a", "b"]


async def test_what_is_extended_stays_ours(bench: Any) -> None:
    if bench.server.kind in ("kafka", "mqtt", "rabbitmq"):
        pytest.xfail("there is no lease: it is ours as long as the connection, session or partition is")
    stream = await bench.consumer(consumer=f"{bench.name}-one", lease=1.0)
    await bench.put("a")
    held = await bench.get(stream, 1)
    other = await bench.consumer(consumer=f"{bench.name}-two", ordered=False, lease=1.0)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        await stream.extend(held)
        assert await other.receive(1, 0.3) == []
    assert bodies(await bench.get(other, 1)) == ["a"]


async def test_lag_counts_what_waits_and_what_is_lent(bench: Any) -> None:
    if not bench.server.knows_its_end:
        pytest.xfail(TANSU)
    stream = await bench.consumer(prefetch=100)
    await bench.put(*"abcde")
    found = await bench.get(stream, 2)
    deadline = time.monotonic() + 10
    while (lag := await stream.lag()).waiting + lag.pending != 5:  # MQTT's is known when it has come
        assert time.monotonic() < deadline, lag
        await asyncio.sleep(0.01)
    if bench.server.kind not in ("rabbitmq", "mqtt", "kafka"):  # which fetch ahead
        assert (lag.waiting, lag.pending) == (3, 2)
    found += await bench.get(stream, 3)
    await stream.ack(found)
    deadline = time.monotonic() + 10
    while (lag := await stream.lag()).waiting + lag.pending:
        assert time.monotonic() < deadline, lag


async def test_a_group_can_go_back_to_the_beginning_a_time_or_an_offset(bench: Any) -> None:
    stream = await bench.consumer()
    if not bench.server.replays:
        with pytest.raises(Unsupported, match="no replay"):
            await stream.seek(Start(at="earliest"))
        return
    await bench.put("a", "b")
    await asyncio.sleep(0.05)
    between = time.time()
    await asyncio.sleep(0.05)
    await bench.put("c", "d")
    found = await bench.get(stream, 4)
    assert bodies(found) == list("abcd")
    await stream.ack(found)
    await stream.seek(Start(at="earliest"))
    assert bodies(await bench.get(stream, 4)) == list("abcd")
    await stream.seek(Start(offset=found[1].offset))
    assert bodies(await bench.get(stream, 3)) == list("bcd")
    if not bench.server.knows_its_end:
        pytest.xfail(TANSU)
    if bench.server.knows_times:
        await stream.seek(Start(time=between))
        assert bodies(await bench.get(stream, 2)) == list("cd")
    await stream.seek(Start(at="latest"))
    assert await bench.nothing(stream)
    await stream.close()
    assert await bench.nothing(await bench.consumer())


async def test_a_new_group_begins_where_it_is_told(bench: Any) -> None:
    if bench.server.kind in ("rabbitmq", "mqtt"):
        pytest.xfail("a queue has no beginning but its head; a subscription begins when it is made")
    if not bench.server.knows_its_end:
        pytest.xfail(TANSU)
    await bench.put("a", "b")
    assert bodies(await bench.get(await bench.consumer("old"), 2)) == ["a", "b"]
    stream = await bench.consumer("new", start=Start(at="latest"), consumer=f"{bench.name}-n")
    await bench.put("c")
    assert bodies(await bench.get(stream, 1)) == ["c"]
    await stream.close()
    await bench.put("d")
    again = await bench.consumer("new", start=Start(at="latest"), consumer=f"{bench.name}-n")
    assert bodies(await bench.get(again, 2)) == ["c", "d"]


async def test_a_cloudevent_passes_through_unchanged(bench: Any) -> None:
    stream = await bench.consumer()
    publisher = await bench.publisher()
    sent = [
        make("com.example.made", "/tests", {"x": 1}, subject="s", partitionkey="k", drifted=True),
        make("com.example.made", "/tests", b"\x00\xff", datacontenttype="application/octet-stream"),
        make("com.example.made", "/tests", "text"),
        make("com.example.empty", "/tests"),
    ]
    await publisher.publish([to_record(envelope) for envelope in sent])
    assert [to_event(message, "/s") for message in await bench.get(stream, 4)] == sent


async def test_a_broker_that_is_away_is_a_stream_error_without_the_password(bench: Any) -> None:
    if bench.server.kind == "local":
        (bench.home / "streams.db").mkdir(parents=True)
        with pytest.raises(StreamError, match=r"streams\.db"):
            await bench.consumer()
        return
    from msgspec.structs import replace

    away = replace(bench.url(), hosts=(f"127.0.0.1:{free_port()}",), user="user", password="hunter2")
    for made in (open_stream(away, Options(), bench.home), open_publisher(away, bench.home)):
        with pytest.raises(StreamError) as caught:
            await made.open()
        await made.close()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is not None
        assert "hunter2" not in str(caught.value.__cause__)


async def test_a_publisher_says_so_when_a_message_is_not_kept(bench: Any) -> None:
    """MQTT calls it a success that nobody subscribes."""
    if bench.server.kind != "mqtt":
        await bench.put("a")
        assert bodies(await bench.get(await bench.consumer(), 1)) == ["a"]
        return
    publisher = await bench.publisher()
    with pytest.raises(StreamError, match="mqtt: nobody subscribes to the topic, and a broker keeps nothing"):
        await publisher.publish([Record(body=b"a")])
    stream = await bench.consumer()
    await publisher.publish([Record(body=b"b")])
    assert bodies(await bench.get(stream, 1)) == ["b"]
