"""The ingress over a real uvicorn: what is answered, and that nothing is kept unless it is 202."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from trimtab.runtime.binding import write_batch, write_binary, write_structured
from trimtab.runtime.client import Client, Reply
from trimtab.triggers.abc import Subscription

pytestmark = pytest.mark.anyio

T = Subscription(id="f/t", broker="default", paused=True)


class Site:
    """A served broker and a client."""

    def __init__(self, world: Any, url: str, client: Client) -> None:
        self.world, self.url, self.client = world, url, client

    async def post(self, path: str, message: tuple[Any, bytes], method: str = "POST") -> Reply:
        headers, body = message
        return await self.client.request(method, self.url + path, list(headers), body, timeout=20)

    async def kept(self) -> int:
        return len([item async for item in self.world.broker.events(tail=None)])


@pytest.fixture
async def site(world: Any) -> AsyncIterator[Site]:
    await world.begin(T, brokers=["audit"], body_limit=100_000)
    async for found in serve(world):
        yield found


async def serve(world: Any) -> AsyncIterator[Site]:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(world.broker.app, lifespan="off", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    client = Client()
    try:
        yield Site(world, f"http://127.0.0.1:{listener.getsockname()[1]}", client)
    finally:
        await client.aclose()
        server.should_exit = True
        await serving
        listener.close()


def error(answer: Reply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.mark.parametrize("path", ["/default", "/default/default", "/some-namespace/default", "/default/"])
@pytest.mark.parametrize("write", [write_binary, write_structured, lambda event: write_batch([event])])
async def test_an_event_in_any_mode_is_accepted_and_logged(site: Site, kit: Any, path: str, write: Any) -> None:
    event = kit.event("1", data="hi", datacontenttype="text/plain", color="grün")
    answer = await site.post(path, write(event))
    assert (answer.status, answer.body) == (202, b"")
    assert answer.header(b"trimtab-batch") == b"accept"
    (logged,) = [item async for item in site.world.broker.events()]
    assert (logged["id"], logged["data"], logged["color"]) == ("1", "hi", "grün")
    assert site.world.stats().pending == 1


async def test_what_was_accepted_is_there_after_a_restart(site: Site, kit: Any) -> None:
    for number in range(20):
        assert (await site.post("/default", write_binary(kit.event(str(number))))).status == 202
    await site.world.end()
    await site.world.begin(Subscription(id="f/t", broker="default"))
    await site.world.until(lambda: site.world.stats().delivered == 20)
    assert site.world.functions.ids == [str(number) for number in range(20)]


async def test_a_batch_is_accepted_as_a_whole_or_not_at_all(site: Site, kit: Any) -> None:
    good = [kit.event(str(number)) for number in range(3)]
    assert (await site.post("/default", write_batch(good))).status == 202
    headers, body = write_batch(good)
    broken = json.loads(body)
    del broken[1]["source"]
    answer = await site.post("/default", (headers, json.dumps(broken).encode()))
    assert (answer.status, error(answer)["attribute"]) == (400, "source")
    assert "1" in error(answer)["error"]
    assert await site.kept() == 3
    assert (await site.post("/default", write_batch([]))).status == 202


@pytest.mark.parametrize(
    ("headers", "body", "attribute", "text"),
    [
        ({"ce-id": "1", "ce-source": "/s", "ce-specversion": "1.0"}, b"", "type", "type"),
        ({"ce-id": "1", "ce-source": "/s", "ce-specversion": "2.9", "ce-type": "t"}, b"", "specversion", "2.9"),
        (
            {"ce-id": "1", "ce-source": "/s", "ce-specversion": "1.0", "ce-type": "t", "ce-time": "noon"},
            b"",
            "time",
            "noon",
        ),
        (
            {"ce-id": "1", "ce-source": "/s", "ce-specversion": "1.0", "ce-type": "t", "ce-knativebrokerttl": "x"},
            b"",
            "knativebrokerttl",
            "a whole number",
        ),
        (
            {"ce-id": "1", "ce-source": "/s", "ce-specversion": "1.0", "ce-type": "t", "ce-knativebrokerttl": "1"},
            b"",
            "knativebrokerttl",
            "used up its hops",
        ),
        ({"content-type": "application/json"}, b'{"x": 1}', None, "not a CloudEvent"),
        ({}, b"", None, "not a CloudEvent"),
    ],
)
async def test_a_malformed_event_is_400_and_names_the_attribute(
    site: Site, headers: dict[str, str], body: bytes, attribute: str | None, text: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await site.post("/default", (raw, body))
    assert answer.status == 400
    assert error(answer).get("attribute") == attribute
    assert text in error(answer)["error"]
    assert await site.kept() == 0


async def test_an_unknown_broker_is_404_and_the_known_ones_are_named(site: Site, kit: Any) -> None:
    for path in ("/nope", "/default/nope", "/", "/a/b/default"):
        answer = await site.post(path, write_binary(kit.event("1")))
        assert answer.status == 404
        assert "brokers: audit, default" in error(answer)["error"]
    assert (await site.post("/audit", write_binary(kit.event("1")))).status == 202


async def test_a_broker_is_there_as_soon_as_a_subscription_names_it(site: Site, kit: Any) -> None:
    assert (await site.post("/later", write_binary(kit.event("1")))).status == 404
    await site.world.broker.subscribe([T, Subscription(id="g/t", broker="later")])
    assert (await site.post("/later", write_binary(kit.event("1")))).status == 202
    await site.world.until(lambda: site.world.stats("g/t").delivered == 1)


async def test_other_methods_are_405(site: Site) -> None:
    answer = await site.post("/default", ([], b""), method="GET")
    assert (answer.status, answer.header(b"allow")) == (405, b"POST")


async def test_a_body_above_the_limit_is_413(site: Site, kit: Any) -> None:
    for size in (100_001, 190_000):
        large = kit.event("1", data="x" * size)
        assert (await site.post("/default", write_binary(large))).status == 413
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    head = "POST /default HTTP/1.1\r\nhost: x\r\nce-id: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode() + 4 * (b"10000\r\n" + b"x" * 65536 + b"\r\n"))
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert await site.kept() == 0


async def test_a_body_that_breaks_off_is_not_accepted(site: Site) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    head = "POST /default HTTP/1.1\r\nhost: x\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\nce-specversion: 1.0\r\n"
    writer.write(head.encode() + b"content-length: 100\r\n\r\nhalf of it")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await site.world.until(lambda: site.world.broker.counters().refused == {400: 1})
    assert await site.kept() == 0


async def test_until_the_subscriptions_are_known_senders_are_told_to_come_again(world: Any, kit: Any) -> None:
    await world.begin(T)
    world.broker._roster.ready = False
    async for site in serve(world):
        answer = await site.post("/default", write_binary(kit.event("1")))
        assert (answer.status, answer.header(b"retry-after")) == (503, b"1")
        assert error(answer)["error"] == "the broker is starting"


async def test_when_too_much_waits_for_the_disk_senders_are_told_to_come_again(site: Site, kit: Any) -> None:
    site.world.broker._queue.writer.waiting += 2**40
    answer = await site.post("/default", write_binary(kit.event("1")))
    assert (answer.status, answer.header(b"retry-after")) == (503, b"1")
    assert site.world.broker.counters().refused == {503: 1}


async def test_a_full_disk_is_507_keeps_nothing_of_the_request_and_is_left_behind(site: Site, kit: Any) -> None:
    world = site.world
    assert (await site.post("/default", write_binary(kit.event("before")))).status == 202
    await limit_pages(world, 0)
    batch = [kit.event(f"{number}", data="x" * 900) for number in range(60)]
    answer = await site.post("/default", write_batch(batch))
    assert (answer.status, answer.header(b"retry-after")) == (507, b"1")
    assert "no room to write" in error(answer)["error"]
    assert str(world.path) in error(answer)["error"]
    assert await site.kept() == 1
    await limit_pages(world, 100_000)
    assert (await site.post("/default", write_batch(batch))).status == 202
    assert await site.kept() == 61
    assert world.stats().pending == 61


async def test_the_last_room_on_the_disk_is_kept_for_what_was_accepted_before(site: Site, kit: Any) -> None:
    assert (await site.post("/default", write_binary(kit.event("1")))).status == 202
    site.world.broker._queue._reserve = 2**62
    answer = await site.post("/default", write_binary(kit.event("2")))
    assert (answer.status, answer.header(b"retry-after")) == (507, b"1")
    assert "no new events while the disk of" in error(answer)["error"]
    await site.world.broker.subscribe([Subscription(id="f/t", broker="default")])
    await site.world.until(lambda: site.world.stats().delivered == 1)


async def test_a_request_that_does_not_fit_takes_nothing_of_the_others_with_it(site: Site, kit: Any) -> None:
    await limit_pages(site.world, 20)
    large = [kit.event(f"large-{number}", data="x" * 90_000) for number in range(8)]
    small = [kit.event(f"small-{number}") for number in range(8)]
    mixed = [event for pair in zip(large, small, strict=True) for event in pair]
    answers = await asyncio.gather(*(site.post("/default", write_binary(event)) for event in mixed))
    statuses = {event.id: answer.status for event, answer in zip(mixed, answers, strict=True)}
    assert {statuses[event.id] for event in small} == {202}
    assert {statuses[event.id] for event in large} == {507}
    assert await site.kept() == 8


async def test_concurrent_requests_share_a_sync_of_the_disk(site: Site, kit: Any) -> None:
    before = site.world.broker.counters()
    await asyncio.gather(*(site.post("/default", write_binary(kit.event(str(number)))) for number in range(300)))
    after = site.world.broker.counters()
    assert after.accepted - before.accepted == 300
    assert after.commits - before.commits < 200


async def test_garbage_is_refused_and_leaves_no_trace(site: Site) -> None:
    chance = random.Random(7)
    names = ["ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "content-type", "ce-data", "ce-x y"]
    values = [b"", b"1.0", b"\xff\xfe", b"application/cloudevents+json", b"application/cloudevents-batch+json", b"%zz"]
    for _ in range(300):
        headers = [(name.encode(), chance.choice(values)) for name in chance.sample(names[:-1], chance.randint(0, 6))]
        answer = await site.post("/default", (headers, chance.randbytes(chance.randint(0, 60))))
        assert answer.status == 400, headers
    assert await site.kept() == 0


async def limit_pages(world: Any, spare: int) -> None:
    """Let the file grow by `spare` pages at most: to SQLite that is a full disk."""

    def operation(transaction: Any) -> None:
        transaction.execute(f"PRAGMA max_page_count = {transaction.execute('PRAGMA page_count').fetchone()[0] + spare}")

    await world.broker._queue.writer.write(operation)
