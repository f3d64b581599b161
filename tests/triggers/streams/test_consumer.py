"""What a consumer does with messages, over the embedded stream and functions that answer as a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import Conflict, StreamError
from trimtab.events import Envelope, make, to_json
from trimtab.runtime.binding import Header, Mode, is_event, read, read_batch, write_binary
from trimtab.runtime.client import Client, Reply
from trimtab.runtime.codec import to_json as encode
from trimtab.spec.stream import parse
from trimtab.triggers.broker.retry import Policy
from trimtab.triggers.streams.abc import Lag, Options, Record, Start, Stream
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.dead import Letter
from trimtab.triggers.streams.plan import Plan

pytestmark = pytest.mark.anyio

TAKEN = Reply(202, [], b"")


class Function(Client):
    """`answer` gets the bodies of a call; `calls` remembers them, `most` the most calls at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.events: list[Envelope] = []
        self.answer: Callable[[list[str]], Any] = lambda bodies: TAKEN
        self.running = self.most = 0

    async def request(
        self, method: str, url: str, headers: list[Header], body: bytes = b"", *, timeout: float
    ) -> Reply:
        events = read_batch(body) if is_event(headers) is Mode.BATCH else [read(headers, body)]
        bodies = [(event.data or b"").decode() for event in events]
        self.calls.append(bodies)
        self.events += events
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = self.answer(bodies)
            return answer if isinstance(answer, Reply) else await answer
        finally:
            self.running -= 1

    @property
    def bodies(self) -> list[str]:
        return [body for call in self.calls for body in call]


class World:
    def __init__(self, home: Path) -> None:
        self.home, self.function, self.slots = home, Function(), 4
        self.letters: list[Letter] = []
        self.grave_is_full = False
        self.replies: list[Envelope] = []
        self.url = parse("local:orders?group=g")
        self.consumer: Consumer
        self.running: asyncio.Task[None] | None = None

    async def begin(self, *, stream: Stream | None = None, **plan: Any) -> None:
        given = {"start": Start(at="earliest"), "policy": Policy(attempts=2, delay=0.01, timeout=5.0), **plan}
        made = Plan(id="f/t", url=self.url, **given)
        stream = stream or open_stream(self.url, made.options(self.slots), self.home)
        self.consumer = Consumer(made, stream, self.function, _Slots(self), self, replies=self._reply)
        self.running = asyncio.create_task(self.consumer.run())

    async def end(self) -> None:
        if self.running is not None:
            await self.consumer.stop(5)
            await self.running
            self.running = None

    async def put(self, *bodies: str, key: str | None = None) -> None:
        publisher = open_publisher(self.url, self.home)
        await publisher.open()
        await publisher.publish([Record(body=body.encode(), key=key) for body in bodies])
        await publisher.close()

    async def until(self, condition: Callable[[], Any], within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, self.consumer.figures
            await asyncio.sleep(0.005)

    def free(self, function: str) -> int:
        return self.slots - self.consumer.figures.in_flight

    async def bury(self, letters: Sequence[Letter]) -> None:
        if self.grave_is_full:
            raise StreamError("no room")
        self.letters += letters

    async def _reply(self, envelopes: list[Envelope]) -> None:
        self.replies += envelopes


class _Slots:
    def __init__(self, world: World) -> None:
        self._world = world

    def url(self, function: str) -> str | None:
        return "http://f.test"

    def free(self, function: str) -> int:
        return self._world.free(function)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.end()
    await world.function.aclose()


def rows(*statuses: int) -> Reply:
    return Reply(
        max(statuses), [(b"content-type", b"application/json")], encode({"events": [{"status": s} for s in statuses]})
    )


async def test_messages_call_the_function_and_are_acked(world: World) -> None:
    await world.put("a", "b")
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == 2)
    await world.end()
    await world.begin()
    await world.put("c")
    await world.until(lambda: world.consumer.figures.delivered == 1)
    assert world.function.bodies == ["a", "b", "c"]


async def test_a_batch_is_what_is_there_up_to_its_size(world: World) -> None:
    await world.put(*map(str, range(25)))
    world.slots = 1
    await world.begin(batch=10)
    await world.until(lambda: world.consumer.figures.delivered == 25)
    assert [len(call) for call in world.function.calls] == [10, 10, 5]


async def test_a_batch_waits_for_others_as_long_as_it_is_told(world: World) -> None:
    await world.begin(batch=3, wait=5.0)
    await world.put("a", "b")
    await world.until(lambda: world.consumer.figures.held == 2)
    assert world.function.calls == []
    await world.put("c")
    await world.until(lambda: world.consumer.figures.delivered == 3)
    assert world.function.calls == [["a", "b", "c"]]


async def test_never_more_calls_than_free_slots_and_never_more_than_concurrency(world: World) -> None:
    async def slow(bodies: list[str]) -> Reply:
        await asyncio.sleep(0.01)
        return TAKEN

    world.function.answer = slow
    await world.put(*map(str, range(40)))
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == 40)
    assert world.function.most == 4
    await world.end()
    world.function.most = 0
    await world.put(*map(str, range(20)))
    await world.begin(concurrency=2)
    await world.until(lambda: world.consumer.figures.delivered == 20)
    assert world.function.most == 2


async def test_a_permanent_error_is_a_dead_letter_at_once_and_the_others_are_not_touched(world: World) -> None:
    world.function.answer = lambda bodies: (
        rows(*(400 if body == "bad" else 202 for body in bodies)) if len(bodies) > 1 else TAKEN
    )
    await world.put("a", "bad", "b")
    await world.begin(batch=3)
    await world.until(lambda: world.consumer.figures.delivered == 2 and world.consumer.figures.held == 0)
    assert world.function.calls == [["a", "bad", "b"]]
    assert [(letter.envelope.data, letter.reason) for letter in world.letters] == [(b"bad", "status 400 is final")]


async def test_one_poison_message_takes_no_neighbour_with_it(world: World) -> None:
    world.function.answer = lambda bodies: Reply(500, [], b"crash") if "poison" in bodies else TAKEN
    await world.put("a", "poison", "b", "c")
    await world.begin(batch=4)
    await world.until(lambda: world.consumer.figures.dead == 1 and world.consumer.figures.delivered == 3)
    (letter,) = world.letters
    assert letter.envelope.data == b"poison"
    assert letter.reason == "3 tries failed, the last with status 500"
    assert [status for _, status, _ in letter.history] == [500, 500, 500]


async def test_a_retry_blocks_its_key_and_no_other(world: World) -> None:
    fail = {"a1"}
    late = Reply(503, [(b"retry-after", b"1")], b"")
    world.function.answer = lambda bodies: late if bodies[0] in fail else TAKEN
    await world.put("a1", "a2", key="a")
    await world.put("b1", "b2", key="b")
    await world.put("none")
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == 3)
    assert set(world.function.bodies) == {"a1", "b1", "b2", "none"}
    fail.clear()
    await world.until(lambda: world.consumer.figures.delivered == 5)
    assert [body for body in world.function.bodies if body[0] == "a"] == ["a1", "a1", "a2"]


async def test_without_order_nothing_waits_for_a_retry(world: World) -> None:
    world.function.answer = lambda bodies: Reply(503, [(b"retry-after", b"60")], b"") if bodies == ["a1"] else TAKEN
    await world.put("a1", "a2", "a3", key="a")
    await world.begin(order="none")
    await world.until(lambda: world.consumer.figures.delivered == 2)


async def test_while_dead_letters_cannot_be_kept_the_message_is_not_acked(world: World) -> None:
    world.function.answer = lambda bodies: Reply(400, [], b"never")
    world.grave_is_full = True
    await world.put("bad")
    await world.begin()
    await world.until(lambda: world.consumer.figures.failed == 1)
    await world.end()
    assert world.letters == []
    world.grave_is_full = False
    await world.begin()
    await world.until(lambda: world.consumer.figures.dead == 1)


async def test_a_message_that_claims_to_be_an_event_and_is_malformed_is_a_dead_letter(world: World) -> None:
    publisher = open_publisher(world.url, world.home)
    await publisher.open()
    await publisher.publish([Record(body=b"{", headers={"content-type": "application/cloudevents+json"})])
    await publisher.close()
    await world.begin()
    await world.until(lambda: world.consumer.figures.dead == 1 and world.consumer.figures.held == 0)
    assert world.letters[0].reason.startswith("not a CloudEvent, though it says so: the body is not a JSON object")
    assert world.letters[0].envelope.data == b"{"


async def test_replies_are_passed_on_before_the_message_is_acked(world: World) -> None:
    reply = make("com.example.reply", "/f", {"x": 1})
    world.function.answer = lambda bodies: Reply(200, *write_binary(reply))
    await world.put("a")
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == 1)
    assert [to_json(envelope) for envelope in world.replies] == [to_json(reply)]


async def test_paused_it_calls_nobody_and_takes_nothing(world: World) -> None:
    await world.begin()
    await world.until(lambda: world.consumer.figures.state == "consuming")
    world.consumer.pause(True)
    await world.put("a")
    await asyncio.sleep(1.3)
    assert world.function.calls == []
    assert world.consumer.figures.state == "paused"
    world.consumer.pause(False)
    await world.until(lambda: world.consumer.figures.delivered == 1)


async def test_a_replay_begins_where_it_is_told_with_the_same_ids(world: World) -> None:
    await world.put("a", "b", "c")
    await world.begin()
    await world.until(lambda: world.consumer.figures.delivered == 3)
    ids = [event.id for event in world.function.events]
    await world.consumer.seek(Start(offset=ids[1]))
    await world.until(lambda: world.consumer.figures.delivered == 5)
    assert [event.id for event in world.function.events] == [*ids, *ids[1:]]


async def test_a_broker_that_is_away_is_tried_again_and_the_figures_say_so(world: World) -> None:
    class Away(type(open_stream(world.url, Options(), world.home))):  # type: ignore[misc]
        away = True

        async def open(self, held: int = 0) -> None:
            if self.away:
                raise StreamError("nobody there")
            await super().open(held)

    stream = Away(world.url, Options(start=Start(at="earliest")), world.home / "streams.db")
    await world.put("a")
    await world.begin(stream=stream)
    await world.until(lambda: world.consumer.figures.state == "broken")
    assert world.consumer.figures.error == "nobody there"
    with pytest.raises(Conflict, match="nobody there"):
        await world.consumer.seek(Start(at="earliest"))
    stream.away = False
    await world.until(lambda: world.consumer.figures.delivered == 1)
    assert world.consumer.figures.error == ""


async def test_when_it_stops_what_was_not_called_is_given_back(world: World) -> None:
    world.function.answer = lambda bodies: Reply(503, [(b"retry-after", b"60")], b"")
    await world.put("a", "b")
    await world.begin()
    await world.until(lambda: world.consumer.figures.failed == 2)
    await world.end()
    other = open_stream(world.url, Options(consumer="other"), world.home)
    await other.open()
    assert [message.body for message in await other.receive(9, 1.0)] == [b"a", b"b"]
    await other.close()


@pytest.mark.parametrize("how", ["it is stopped", "the connection breaks"])
async def test_a_client_that_swallows_a_cancellation_holds_nothing_up(world: World, how: str) -> None:
    class Deaf(type(open_stream(world.url, Options(), world.home))):  # type: ignore[misc]
        asked = 0

        async def lag(self) -> Lag:
            Deaf.asked += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if Deaf.asked > 1:
                    raise
            return Lag()

        async def extend(self, messages: Sequence[Any]) -> None:
            raise StreamError("the connection is lost")

    stream = Deaf(world.url, Options(start=Start(at="earliest")), world.home / "streams.db")
    await world.put("a")
    world.function.answer = lambda bodies: Reply(503, [(b"retry-after", b"1")], b"")
    await world.begin(stream=stream, lease=0.06 if how == "the connection breaks" else 30.0)
    await world.until(lambda: Deaf.asked == (1 if how == "it is stopped" else 2))
    await asyncio.wait_for(world.end(), 10)
