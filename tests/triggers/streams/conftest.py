"""Brokers that run for the whole session, one of each kind, and streams that are a test's own."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.triggers.streams.servers import SERVERS, Server

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams.abc import Message, Options, Publisher, Record, Start, Stream
from trimtab.triggers.streams.backends import open_publisher, open_stream

_numbers = itertools.count(1)


class Bench:
    """One stream of one broker, and what a test does with it; closes what it opened."""

    def __init__(self, server: Server, home: Path, stack: AsyncExitStack) -> None:
        self.server, self.home, self._stack = server, home, stack
        self.name = f"s{os.getpid()}-{next(_numbers)}"

    def url(self, group: str = "g") -> StreamUrl:
        return self.server.url(self.name, f"{self.name}-{group}")

    async def consumer(self, group: str = "g", **options: Any) -> Stream:
        # NATS lends again only after a lease; Tansu keeps who joins a group waiting for a session, which is that long.
        lease = {"nats": 2.0, "kafka": 6.0}.get(self.server.kind, 30.0)
        given = {
            "consumer": f"{self.name}-c",
            "start": Start(at="earliest"),
            "lease": lease,
            "prefetch": 100,
            **options,
        }
        stream = open_stream(self.url(group), Options(**given), self.home)
        await stream.open()
        self._stack.push_async_callback(stream.close)
        return stream

    async def publisher(self) -> Publisher:
        publisher = open_publisher(self.url(), self.home)
        await publisher.open()
        self._stack.push_async_callback(publisher.close)
        return publisher

    async def put(self, *bodies: str, key: str | None = None) -> None:
        publisher = await self.publisher()
        await publisher.publish([Record(body=body.encode(), key=key) for body in bodies])
        await publisher.close()

    @staticmethod
    async def get(stream: Stream, count: int, within: float = 20.0) -> list[Message]:
        """Receive exactly `count` messages, or fewer when no more come."""
        import time

        found: list[Message] = []
        deadline = time.monotonic() + within
        while len(found) < count and time.monotonic() < deadline:
            found += await stream.receive(count - len(found), 0.3)
        return found

    @staticmethod
    async def nothing(stream: Stream) -> bool:
        return not await stream.receive(10, 0.4)


def _started(kind: type[Server], folder: Path) -> Server:
    if missing := kind.missing():
        pytest.skip(f"{missing} is not installed")
    server = kind(folder)
    server.start()
    return server


@pytest.fixture(scope="session")
def brokers() -> Iterator[dict[str, Server]]:
    """Those that were started so far."""
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest, brokers: dict[str, Server]) -> Server:
    """A broker of each kind by turns."""
    kind: type[Server] = request.param
    if kind.kind not in brokers:
        brokers[kind.kind] = _started(kind, Path(tempfile.mkdtemp(prefix="trimtab-broker-")))
    return brokers[kind.kind]


@pytest.fixture
async def bench(server: Server, tmp_path: Path) -> AsyncIterator[Bench]:
    """A stream that no other test knows."""
    async with AsyncExitStack() as stack:
        yield Bench(server, tmp_path, stack)
