"""A load generator: keep-alive connections, each with one request under way. It checks every answer.

It runs in the benchmark's own process and does no more than compare bytes, so that the server on the other core is what
limits. `Rate.client` is the share of a core that it took itself: near 1.0 it would be the generator that was measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import uvloop
from msgspec import Struct

PAYLOAD = b'{"name":"trimtab","values":[1,2,3,4.5],"nested":{"a":true,"b":null}}'
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Rate(Struct, frozen=True):
    """Answers per second, the share of a core that asking took, all answers, from the first on."""

    per_second: float
    client: float
    answered: int
    p99: float
    """Seconds from a question to its answer that 99 of 100 stay below."""


def echo(port: int, seconds: float, connections: int = 32) -> Rate:
    """Post JSON that comes back. Errors: RuntimeError at the first answer that is not the question."""
    request = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(PAYLOAD), PAYLOAD)
    )
    return uvloop.run(_run(port, request, seconds, connections))


def ask(
    port: int,
    path: str,
    body: bytes,
    good: Callable[[Any], bool],
    seconds: float,
    connections: int = 32,
    **headers: str,
) -> Rate:
    """Post one body again and again; `good` judges what came back, parsed. Errors: RuntimeError at the first bad answer."""
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{told}"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return uvloop.run(_run(port, request, seconds, connections, good))


async def _run(
    port: int, request: bytes, seconds: float, connections: int, good: Callable[[Any], bool] | None = None
) -> Rate:
    loop = asyncio.get_running_loop()
    load = _Load(request) if good is None else _Judge(request, good)
    made = [await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(0.05)
    load.took.clear()
    before, began, spent = load.answered, time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    answered, took = load.answered - before, time.perf_counter() - began
    client = (time.process_time() - spent) / took
    for transport, _ in made:
        transport.abort()
    if load.failed:
        raise RuntimeError(f"an answer that was not expected: {load.failed!r}")
    if any(connection.lost for _, connection in made):
        raise RuntimeError("the server closed a connection")
    p99 = sorted(load.took)[int(len(load.took) * 0.99)] if load.took else 0.0
    return Rate(answered / took, client, load.answered, p99)


class _Load:
    """What the connections share: the request, the body that must come back, how many did."""

    def __init__(self, request: bytes) -> None:
        self.request, self.answered = request, 0
        self.body, self.size = b"\0", -1
        self.failed = b""
        self.took: list[float] = []

    def check(self, data: bytes) -> bool:
        """Tell whether an answer is complete. Remembers the size and body of the good ones."""
        if len(data) == self.size and data.endswith(self.body):
            return True
        head, found, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return False
        if head.startswith(b"HTTP/1.1 200") and json.loads(body) == json.loads(PAYLOAD):
            self.size, self.body = len(data), body
        else:
            self.failed = data
        return True


_LOOK = 50
"""Of so many answers one is parsed; the others must have come with the same status, and a body that looks alike."""


class _Judge(_Load):
    """For answers that are never twice the same: they hold ids and times."""

    def __init__(self, request: bytes, good: Callable[[Any], bool]) -> None:
        super().__init__(request)
        self.good = good

    def check(self, data: bytes) -> bool:
        """Tell whether an answer is complete."""
        head, found, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if found else None
        if length is None or len(body) < int(length[1]):
            return False
        alike = head.startswith(b"HTTP/1.1 200") and b'"outputs"' in body
        if not alike or (self.answered % _LOOK == 0 and not self.good(json.loads(body))):
            self.failed = data
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self.load, self.buffer, self.lost = load, b"", False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.asked = time.perf_counter()
        transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        if not self.load.check(data):
            self.buffer = data
            return
        self.buffer = b""
        now = time.perf_counter()
        self.load.took.append(now - self.asked)
        self.asked = now
        self.load.answered += 1
        self.transport.write(self.load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc is not None or not self.transport.is_closing()
