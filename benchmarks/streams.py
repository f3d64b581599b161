"""How many messages a second go from a Redis stream to a function, beside FastStream taking the same stream in process.

We cross a process boundary for every call, FastStream crosses none; both ack. The consumer runs as `trimtab consume` does,
the function as one replica. The last row is what a million messages do to the consumer's memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.peers import PYTHON
from benchmarks.rounds import Effort, alternate
from benchmarks.row import Row
from benchmarks.server import APPS, ROOT, ours, serving
from trimtab.runtime.client import Client
from trimtab.spec.stream import parse
from trimtab.triggers.streams.abc import Record, Start
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.dead import Letter
from trimtab.triggers.streams.plan import Plan
from trimtab.triggers.streams.standalone import Fixed

DATA = json.dumps({"station": "blindern", "values": [round(0.1 * i, 1) for i in range(20)], "unit": "celsius"}).encode()
BATCH, SLOTS = 100, 4
_ROUNDS = 5
_PER_SECOND = {BATCH: 30_000, 1: 4_000}
"""About how fast it is, so that a round takes about as long as it should."""
MILLION = 1_000_000
_MB = 1024 * 1024


def rows(effort: Effort) -> list[Row]:
    """Measure. Errors: FileNotFoundError where the peer or the server is missing."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` makes it")
    found: dict[int, dict[str, list[float]]] = {}
    with redis() as port:
        for batch, handler in ((BATCH, "taken_all"), (1, "taken")):
            count = max(2000, round(_PER_SECOND[batch] * effort.seconds * 2))
            fill(port, count)
            with serving(ours(handler)) as function:
                sides = {
                    "ours": partial(consume, port, function.port, batch, count),
                    "peer": partial(peer, port, batch, count),
                }
                found[batch] = alternate(sides, min(effort.rounds, _ROUNDS))
        growth = memory(port, MILLION if effort.seconds >= 1 else 20_000)
    many, one = found[BATCH], found[1]
    batches, single = f"Redis to function, batches of {BATCH}", "Redis to function, one at a time"
    row = partial(Row, unit="msg/s")
    return [
        row(what=batches, ours=many["ours"], must=20_000),
        row(
            what=batches,
            ours=many["ours"],
            beside="FastStream in process, as lists",
            theirs=many["peer"],
            must=0.8,
            of="ratio",
        ),
        row(what=single, ours=one["ours"], must=2_500),
        row(what=single, ours=one["ours"], beside="FastStream in process", theirs=one["peer"], must=0.8, of="ratio"),
        Row(what="memory after a million messages", unit="MB more", ours=[growth], must=5, bound="at most"),
    ]


@contextmanager
def redis() -> Iterator[int]:
    """Run a Redis that writes no file."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not _answers(port):
                time.sleep(0.02)
            yield port
        finally:
            child.terminate()
            child.wait()


def fill(port: int, count: int) -> None:
    """Put messages into an empty stream."""

    async def put() -> None:
        publisher = open_publisher(parse(f"redis://127.0.0.1:{port}?stream=bench"), Path())
        await publisher.open()
        for start in range(0, count, 1000):
            await publisher.publish(
                [
                    Record(body=DATA, headers={"content-type": "application/json"}, key=f"k{number % 100}")
                    for number in range(start, min(start + 1000, count))
                ]
            )
        await publisher.close()

    _redis(port, "DEL", "bench")
    asyncio.run(put())


def consume(port: int, function: int, batch: int, count: int) -> float:
    """Take the stream with a new group in a process of its own; give messages a second."""
    _redis(port, "XGROUP", "DESTROY", "bench", "trimtab")
    command = [sys.executable, "-m", "benchmarks.streams", str(port), str(function), str(batch), str(count)]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=300)
    return float(answer.stdout.split()[0])


def peer(port: int, batch: int, count: int) -> float:
    """Have FastStream take it."""
    _redis(port, "XGROUP", "DESTROY", "bench", "faststream")
    _redis(port, "XGROUP", "CREATE", "bench", "faststream", "0")
    environ = {**os.environ, "REDIS": f"redis://127.0.0.1:{port}", "COUNT": str(count), "BATCH": str(batch)}
    command = [str(PYTHON), str(APPS / "faststream_redis.py")]
    answer = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, timeout=300)
    return float(answer.stdout.split()[-1])  # it logs there too


def memory(port: int, count: int) -> float:
    """Give the MB that the consumer grows by between a tenth of `count` messages and all."""
    fill(port, count)
    _redis(port, "XGROUP", "DESTROY", "bench", "trimtab")
    with serving(ours("taken_all")) as function:
        command = [sys.executable, "-m", "benchmarks.streams", str(port), str(function.port), str(BATCH), str(count)]
        answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=600)
    return float(answer.stdout.split()[1])


def main() -> None:
    """Be the consumer: messages a second, and the MB that it grew by."""
    logging.disable(logging.WARNING)
    port, function, batch, count = map(int, sys.argv[1:])
    print(*uvloop.run(_consume(port, function, batch, count)))


async def _consume(port: int, function: int, batch: int, count: int) -> tuple[float, float]:
    url = parse(f"redis://127.0.0.1:{port}?stream=bench&group=trimtab")
    slots = SLOTS if batch > 1 else 16
    plan = Plan(id="bench/stream", url=url, batch=batch, concurrency=slots, start=Start(at="earliest"), order="none")
    fixed, client = Fixed(f"http://127.0.0.1:{function}", slots), Client(connections=slots)
    consumer = fixed.consumer = Consumer(plan, open_stream(url, plan.options(slots), Path()), client, fixed, _Grave())
    running = asyncio.create_task(consumer.run())
    while consumer.figures.delivered < count // 20:
        await asyncio.sleep(0.001)
    first, began, before = consumer.figures.delivered, time.perf_counter(), 0.0
    while consumer.figures.delivered < count:
        await asyncio.sleep(0.005)
        if not before and consumer.figures.delivered > count // 10:
            before = _resident()
    rate = (consumer.figures.delivered - first) / (time.perf_counter() - began)
    grown = _resident() - before
    await consumer.stop()
    await running
    await client.aclose()
    return rate, grown


class _Grave:
    async def bury(self, letters: list[Letter]) -> None:
        raise RuntimeError(f"no message may die here: {letters[0].reason}")


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


def _redis(port: int, *words: str) -> None:
    import redis as client

    with client.Redis(port=port) as connection:
        connection.execute_command(*words)


def _answers(port: int) -> bool:
    import redis as client

    try:
        with client.Redis(port=port) as connection:
            return bool(connection.ping())
    except client.RedisError:
        return False


if __name__ == "__main__":
    main()
