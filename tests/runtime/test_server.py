"""The server shares a socket fairly and leaves without dropping a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trimtab.runtime.server import Server

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Application:
    """Answers when told to, with `connection: close` when told to, and limits itself to `slots` requests."""

    def __init__(self, slots: int = 0) -> None:
        self.slots = slots
        self.closing = False
        self.busy = 0
        self.seen = 0
        self.go = asyncio.Event()
        self.go.set()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def full(self) -> bool:
        return bool(self.slots) and self.busy >= self.slots

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.busy += 1
        self.seen += 1
        self.on_change()
        try:
            await self.go.wait()
            headers = [(b"content-length", b"2")] + ([(b"connection", b"close")] if self.closing else [])
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})
        finally:
            self.busy -= 1
            self.on_change()


class Running:
    """A server on a socket of its own, or on a given one."""

    def __init__(self, app: Application, sock: socket.socket | None = None, **settings: Any) -> None:
        self.sock = sock if sock is not None else socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        gate = app if app.slots else None
        self.server = Server(app, [self.sock], gate=gate, slots=app.slots, **settings)
        self.task = asyncio.create_task(self.server.serve())

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def get(self) -> bytes:
        reader, writer = await self.connect()
        writer.write(REQUEST)
        answer = await reader.readuntil(b"ok")
        writer.close()
        return answer

    async def stop(self) -> bool:
        self.server.stop()
        return await self.task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def test_it_answers_and_leaves() -> None:
    async def scene() -> None:
        running = Running(Application(), linger=0.05)
        assert (await running.get()).startswith(b"HTTP/1.1 200 OK\r\ndate: ")
        assert await running.stop()

    asyncio.run(scene())


def test_a_connection_without_a_next_request_is_closed_and_one_with_a_request_in_flight_is_not() -> None:
    async def scene() -> None:
        app = Application()
        running = Running(app, linger=0.05, keep_alive=0.01)
        idle, idler = await running.connect()
        idler.write(REQUEST)
        await idle.readuntil(b"ok")
        app.go.clear()
        busy, worker = await running.connect()
        worker.write(REQUEST)
        async with asyncio.timeout(10):
            assert await idle.read() == b""
        app.go.set()
        assert (await busy.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")
        idler.close()
        worker.close()
        assert await running.stop()

    asyncio.run(scene())


def test_requests_that_come_at_once_on_one_connection_are_answered_one_after_the_other() -> None:
    async def scene() -> None:
        app = Application()
        running = Running(app, linger=0.05)
        reader, writer = await running.connect()
        writer.write(REQUEST * 3)
        for _ in range(3):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")
        assert app.seen == 3
        writer.close()
        assert await running.stop()

    asyncio.run(scene())


def test_a_request_in_flight_is_finished_while_leaving() -> None:
    async def scene() -> None:
        app = Application()
        running = Running(app, linger=0.05)
        app.go.clear()
        asked = asyncio.create_task(running.get())
        await until(lambda: app.busy == 1)
        running.server.stop()
        await asyncio.sleep(0.1)
        app.go.set()
        assert (await asked).endswith(b"ok")
        assert await running.task

    asyncio.run(scene())


def test_a_request_that_outlives_the_grace_period_is_cut_off() -> None:
    async def scene() -> None:
        app = Application()
        running = Running(app, linger=0.05, drain=0.2)
        app.go.clear()
        reader, writer = await running.connect()
        writer.write(REQUEST)
        await until(lambda: app.busy == 1)
        assert not await running.stop()
        assert b" 200 " not in await reader.read()
        writer.close()

    asyncio.run(scene())


def test_an_open_connection_may_ask_once_more_while_leaving() -> None:
    async def scene() -> None:
        app = Application()
        running = Running(app, linger=5.0)
        reader, writer = await running.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"ok")
        app.closing = True
        running.server.stop()
        await asyncio.sleep(0.05)
        writer.write(REQUEST)
        assert b"connection: close" in await reader.readuntil(b"ok")
        writer.close()
        async with asyncio.timeout(2):
            assert await running.task

    asyncio.run(scene())


def test_connections_beyond_the_slots_stay_in_the_backlog_for_another_replica() -> None:
    async def scene() -> None:
        first, second = Application(slots=1), Application(slots=1)
        running = Running(first, linger=0.05)
        first.go.clear()
        asked = [asyncio.create_task(running.get())]
        await until(lambda: first.busy == 1)
        asked += [asyncio.create_task(running.get()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert running.server.connections == 1
        other = Running(second, running.sock.dup(), linger=0.05)
        await asyncio.gather(*asked[1:])
        assert (first.seen, second.seen) == (1, 3)
        first.go.set()
        await asyncio.gather(*asked)
        assert await running.stop()
        assert await other.stop()

    asyncio.run(scene())


def test_a_silent_connection_does_not_hold_the_only_slot() -> None:
    async def scene() -> None:
        running = Running(Application(slots=1), linger=0.05)
        _, silent = await running.connect()
        async with asyncio.timeout(5):
            assert (await running.get()).endswith(b"ok")
        silent.close()
        assert await running.stop()

    asyncio.run(scene())


@pytest.mark.parametrize("slots", [0, 1, 3])
def test_many_short_connections_are_all_answered(slots: int) -> None:
    async def scene() -> None:
        app = Application(slots=slots)
        running = Running(app, linger=0.05)
        answers = await asyncio.gather(*(running.get() for _ in range(200)))
        assert len(answers) == 200
        assert await running.stop()

    asyncio.run(scene())


def test_headers_without_an_end_are_refused() -> None:
    async def scene() -> None:
        running = Running(Application())
        reader, writer = await running.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for _ in range(70):
            writer.write(b"x-filler: " + b"a" * 1000 + b"\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert answer.endswith(b"the request line and its headers have more than 65536 bytes")
        writer.close()
        await running.stop()

    asyncio.run(scene())


def test_a_body_may_be_larger_than_headers_may() -> None:
    async def scene() -> None:
        running = Running(Application())
        reader, writer = await running.connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" + b"a" * 200_000)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await running.stop()

    asyncio.run(scene())


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nhost: "])
def test_a_connection_that_does_not_ask_is_closed(beginning: bytes) -> None:
    async def scene() -> None:
        running = Running(Application(), keep_alive=0.05)
        reader, writer = await running.connect()
        writer.write(beginning)
        assert await reader.read() == b""
        writer.close()
        await running.stop()

    asyncio.run(scene())


def test_headers_that_come_bit_by_bit_do_not_keep_a_connection() -> None:
    async def scene() -> None:
        running = Running(Application(), keep_alive=0.5)
        reader, writer = await running.connect()

        async def drip() -> None:
            writer.write(b"GET / HTTP/1.1\r\n")
            while not writer.is_closing():
                writer.write(b"x-drip: a\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await reader.read() == b""
        dripping.cancel()
        writer.close()
        await running.stop()

    asyncio.run(scene())
