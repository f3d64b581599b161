"""A broker in a world of its own: a clock that goes when it is told to, functions that answer as a test says."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from trimtab.errors import SendError
from trimtab.events import Envelope
from trimtab.runtime.binding import Header, read, write_binary
from trimtab.runtime.client import Client, Reply
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue

DEADLINE = 20.0


class HandClock:
    """A clock for delivery; `advance` wakes who sleeps."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            woken = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), woken))
            await woken
        else:
            await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)


class Call(Struct, frozen=True):
    """One request that a function got."""

    url: str
    headers: dict[bytes, bytes]
    envelope: Envelope
    at: float


Answer = Callable[[Call], "Reply | Awaitable[Reply]"]


class Functions(Client):
    """The far side of every URL: `answer` decides, `calls` remembers."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock
        self.calls: list[Call] = []
        self.answer: Answer = lambda call: reply(202)

    async def request(
        self, method: str, url: str, headers: list[Header], body: bytes = b"", *, timeout: float
    ) -> Reply:
        call = Call(url, dict(headers), read(headers, body), self._clock.now())
        self.calls.append(call)
        answer = self.answer(call)
        return answer if isinstance(answer, Reply) else await answer

    @property
    def ids(self) -> list[str]:
        return [call.envelope.id for call in self.calls]


class Capacity:
    """Slots: `free` slots for each function, less what is in flight; a function without an entry is not there."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {"f": 10, "g": 10}
        self.broker: Broker | None = None

    def url(self, function: str) -> str | None:
        return f"http://{function}.test" if function in self.slots else None

    def free(self, function: str) -> int:
        assert self.broker is not None
        return self.slots[function] - self.broker.in_flight(function)


class World:
    """One broker over `path`, which may be ended and begun again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = HandClock()
        self.functions = Functions(self.clock)
        self.capacity = Capacity()
        self.broker: Broker

    async def begin(self, *subscriptions: Subscription, **options: Any) -> None:
        self.broker = Broker(Queue(self.path), self.functions, self.capacity, self.clock, **options)
        self.capacity.broker = self.broker
        await self.broker.start()
        await self.broker.subscribe(subscriptions)

    async def end(self, grace: float = 5.0) -> None:
        await self.broker.close(grace)

    async def publish(self, *ids: str, broker: str = "default", **attributes: str) -> None:
        await self.broker.publish(broker, [event(name, **attributes) for name in ids])

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for real things (the file, the loop) with the virtual clock standing still."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            await asyncio.sleep(0.001)

    async def advance_until(self, condition: Callable[[], Any], step: float = 1.0) -> None:
        """As `until`, with the clock going on by `step` seconds at a time."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            await asyncio.sleep(0.002)
            self.clock.advance(step)

    async def quiet(self) -> None:
        """Wait until nothing is due and nothing in flight."""
        await self.until(lambda: not any(self.broker.wanted(function) for function in ("f", "g")))

    def loaded(self, subscription: str) -> int:
        """How many deliveries are in the window or in flight."""
        return len(self.broker._roster.lines[subscription].claimed)

    def stats(self, subscription: str = "f/t") -> Any:
        return self.broker.stats()[subscription]


def event(id: str, **attributes: str) -> Envelope:
    data = attributes.pop("data", None)
    base = {"specversion": "1.0", "id": id, "source": "/tests", "type": "com.example.made"}
    return Envelope(base | attributes, data.encode() if data is not None else None)


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()], body)


def event_reply(id: str, **attributes: str) -> Reply:
    headers, body = write_binary(event(id, **attributes))
    return Reply(200, headers, body)


def refuse(call: Call) -> Reply:
    raise SendError(f"no connection to {call.url}", kind="connect")


class Kit(Struct, frozen=True):
    """The makers above, for tests: modules of tests are not imported from one another."""

    event: Callable[..., Envelope] = event
    reply: Callable[..., Reply] = reply
    event_reply: Callable[..., Reply] = event_reply
    refuse: Callable[[Call], Reply] = refuse


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "broker.db")
    yield world
    if hasattr(world, "broker"):
        await world.end()
    await world.functions.aclose()
