"""How many events a second the broker makes durable, and how many it delivers, beside the limits of the same machine.

The limits: what SQLite commits with nothing around it, and what an application that answers 202 and does nothing else takes
under the same uvicorn and the same load.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from benchmarks.rounds import Effort, say
from benchmarks.row import Row
from benchmarks.server import ROOT
from trimtab.events import Envelope
from trimtab.runtime.binding import write_batch, write_binary
from trimtab.runtime.client import Client
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue
from trimtab.triggers.broker.store import create

MUST = 3000
BATCH = 100
CONNECTIONS = 16
_ROUNDS = 3
_TABLE = [
    ("broker, durable events, one connection, batches of 100", "broker, batch", "bare 202, batch", BATCH),
    ("broker, durable events, 16 connections, single", "broker, single", "bare 202, single", CONNECTIONS),
]
DATA = json.dumps({"station": "blindern", "values": [round(0.1 * i, 1) for i in range(20)], "unit": "celsius"}).encode()


class Slots:
    """One function behind a fixed address, 64 requests at a time."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.broker: Broker

    def url(self, function: str) -> str | None:
        """Where it is."""
        return self._url

    def free(self, function: str) -> int:
        """How much it takes."""
        return 64 - self.broker.in_flight(function)


async def accepting(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The bare application: reads the body, answers 202."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def serve_bare(descriptor: int) -> None:
    await _serve(accepting, descriptor)


async def serve_broker(descriptor: int, path: str, port: int) -> None:
    """A broker with one subscription, which is paused while `port` is 0."""
    slots = Slots(port)
    slots.broker = broker = Broker(Queue(Path(path)), Client(), slots)
    await broker.start()
    await broker.subscribe(
        [Subscription(id="f/t", broker="default", filters=[{"exact": {"type": "com.example.made"}}], paused=not port)]
    )
    await _serve(broker.app, descriptor)
    await broker.close()


async def _serve(app: Any, descriptor: int) -> None:
    config = uvicorn.Config(app, lifespan="off", ws="none", log_level="error", access_log=False)
    await uvicorn.Server(config).serve(sockets=[socket.socket(fileno=descriptor)])


@contextmanager
def process(role: str, *arguments: object) -> Iterator[int]:
    """Run this module in a role on a socket of its own; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "benchmarks.broker", role, str(listener.fileno()), *map(str, arguments)]
        child = subprocess.Popen(command, pass_fds=[listener.fileno()], cwd=ROOT)
        try:
            yield listener.getsockname()[1]
        finally:
            child.terminate()
            child.wait()


class Load(asyncio.Protocol):
    """One keep-alive connection that sends the next request as soon as the last was answered 202."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.answered = 0
        self._requests, self._buffer = requests, b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Send the first."""
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Send the next."""
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            return
        if not self._buffer.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(self._buffer.decode("latin-1"))
        self.answered, self._buffer = self.answered + 1, b""
        self._transport.write(next(self._requests))


def _same(sender: Load) -> Load:
    return sender


def requests(name: str, batch: int) -> Iterator[bytes]:
    """Build messages with ids of their own."""
    count = 0
    while True:
        events = [_event(f"{name}-{count + index}") for index in range(batch or 1)]
        count += len(events)
        headers, body = write_batch(events) if batch else write_binary(events[0])
        lines = [b"POST /default HTTP/1.1", b"host: bench", *(name + b": " + value for name, value in headers)]
        yield b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def _event(name: str) -> Envelope:
    return Envelope(
        {
            "specversion": "1.0",
            "id": name,
            "source": "/bench/sensors",
            "type": "com.example.made",
            "time": "2026-01-01T00:00:00Z",
            "datacontenttype": "application/json",
        },
        DATA,
    )


async def load(port: int, connections: int, batch: int, seconds: float) -> float:
    """Give the events accepted per second."""
    loop = asyncio.get_running_loop()
    await _reachable(port)
    senders = [Load(requests(f"{time.time_ns()}-{number}", batch)) for number in range(connections)]
    transports = [(await loop.create_connection(partial(_same, sender), "127.0.0.1", port))[0] for sender in senders]
    await asyncio.sleep(0.5)
    before, began = sum(sender.answered for sender in senders), time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended = sum(sender.answered for sender in senders), time.perf_counter()
    for transport in transports:
        transport.abort()
    return (after - before) * (batch or 1) / (ended - began)


async def _reachable(port: int) -> None:
    client = Client()
    headers, body = write_binary(_event(f"first-{time.time_ns()}"))
    while (await client.request("POST", f"http://127.0.0.1:{port}/default", headers, body, timeout=30)).status != 202:
        await asyncio.sleep(0.05)
    await client.aclose()


def commits(path: Path, rows: int, seconds: float) -> float:
    """Rows per second that SQLite makes durable in transactions of `rows`, in the broker's own schema and settings."""
    connection = create(path)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO events (broker, accepted, ttl, attributes, data) VALUES ('default', 0, 255, ?, ?)",
            [("x" * 180, DATA)] * rows,
        )
        connection.execute("COMMIT")
        done += rows
    rate = done / (time.perf_counter() - began)
    connection.close()
    return rate


def drained(path: Path) -> float:
    """Wait until nothing is pending; give deliveries per second since now."""
    connection = sqlite3.connect(path)
    total = connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
    while (left := _pending(connection)) > total * 0.95:
        time.sleep(0.005)
    began, first = time.perf_counter(), left
    while left := _pending(connection):
        time.sleep(0.02)
    connection.close()
    return first / (time.perf_counter() - began)


def _pending(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
    return found


def rows(effort: Effort) -> list[Row]:
    """Measure everything, one after the other, as often as there are rounds for something that takes this long."""
    runs = []
    for number in range(rounds := min(effort.rounds, _ROUNDS)):
        runs.append(measure(effort.seconds * 2))
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in runs[-1].items()))
    found = {name: [run[name] for run in runs] for name in runs[0]}
    row = partial(Row, unit="events/s")
    made = []
    for what, broker, bare, sqlite in _TABLE:
        made.append(row(what=what, ours=found[broker], must=MUST, beside="bare app answering 202", theirs=found[bare]))
        made.append(
            row(
                what=what,
                ours=found[broker],
                beside=f"SQLite alone, {sqlite} a commit",
                theirs=found[f"sqlite, {sqlite} a commit"],
            )
        )
    return [*made, row(what="broker, delivered from a backlog", ours=found["delivered from a backlog"])]


def measure(seconds: float) -> dict[str, float]:
    """Run everything once."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for rows in (1, CONNECTIONS, BATCH):
            found[f"sqlite, {rows} a commit"] = commits(Path(folder) / f"bare-{rows}.db", rows, min(seconds, 2.0))
        with process("bare") as port:
            found["bare 202, batch"] = uvloop.run(load(port, 1, BATCH, seconds))
            found["bare 202, single"] = uvloop.run(load(port, CONNECTIONS, 0, seconds))
        with process("broker", Path(folder) / "batch.db", 0) as port:
            found["broker, batch"] = uvloop.run(load(port, 1, BATCH, seconds))
        path = Path(folder) / "single.db"
        with process("broker", path, 0) as port:
            found["broker, single"] = uvloop.run(load(port, CONNECTIONS, 0, seconds))
        with process("bare") as function, process("broker", path, function):
            found["delivered from a backlog"] = drained(path)
    return found


def main() -> None:
    """Be one of the processes that `process` starts."""
    logging.disable(logging.WARNING)
    role, descriptor, *rest = sys.argv[1:]
    uvloop.run(serve_bare(int(descriptor)) if role == "bare" else serve_broker(int(descriptor), rest[0], int(rest[1])))


if __name__ == "__main__":
    main()
