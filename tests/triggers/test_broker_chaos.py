"""For any sequence of crashes, every accepted event is delivered at least once or is in the dead letters."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trimtab.errors import SendError
from trimtab.events import Envelope
from trimtab.runtime.binding import write_batch, write_binary
from trimtab.runtime.client import Client

PROCESSES = Path(__file__).parent / "processes"
EVENTS = 10_000
PRODUCERS = 8
BETWEEN_KILLS = (50, 350)
"""Events accepted from one kill to the next."""


class Child:
    """A process that is started again as soon as it was killed."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._command = [sys.executable, str(PROCESSES / script), *map(str, arguments)]
        self._process = subprocess.Popen(self._command)
        self.kills = 0

    def kill(self) -> None:
        self.stop()
        self._process = subprocess.Popen(self._command)
        self.kills += 1

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def reserved_port() -> Iterator[int]:
    """Keep a port for processes that come and go: while none of them listens, connections are refused."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class Producers:
    """Send events until each of them has its 202; only that counts as accepted."""

    def __init__(self, port: int) -> None:
        self.accepted: set[str] = set()
        self.sent_again = 0
        self._url = f"http://127.0.0.1:{port}/default"

    async def run(self) -> None:
        client = Client()
        share = EVENTS // PRODUCERS
        await asyncio.gather(*(self._produce(client, number, share) for number in range(PRODUCERS)))
        await client.aclose()

    async def _produce(self, client: Client, producer: int, count: int) -> None:
        chance = random.Random(producer)
        ids = [f"{producer}-{number}" for number in range(count)]
        while ids:
            size = chance.choice([1, 1, 1, 1, 10, 40]) if producer % 2 else 1
            batch, ids = ids[:size], ids[size:]
            events = [made(name, "ask.bad" if chance.random() < 0.02 else "ask") for name in batch]
            while not await self._send(client, events):
                self.sent_again += 1
                await asyncio.sleep(0.02)
            self.accepted.update(batch)

    async def _send(self, client: Client, events: list[Envelope]) -> bool:
        headers, body = write_binary(events[0]) if len(events) == 1 else write_batch(events)
        try:
            answer = await client.request("POST", self._url, headers, body, timeout=10)
        except SendError:
            return False
        assert answer.status in {202, 503}, answer
        return answer.status == 202


def made(name: str, kind: str) -> Envelope:
    return Envelope({"specversion": "1.0", "id": name, "source": "/producer", "type": kind}, name.encode())


@pytest.mark.chaos
def test_every_accepted_event_is_delivered_or_dead_whoever_is_killed_when(tmp_path: Path) -> None:
    file, log = tmp_path / "broker.db", tmp_path / "received"
    log.touch()
    with reserved_port() as port, reserved_port() as receiver_port:
        receiver = Child("receiver.py", log, receiver_port)
        broker = Child("broker.py", file, port, receiver_port)
        try:
            producers = Producers(port)
            asyncio.run(chaos(producers, broker, receiver))
            wait_until_drained(file)
        finally:
            broker.stop()
            receiver.stop()
    received = Counter(log.read_text().split())
    dead = dead_letters(file)
    duplicates = sum(count - 1 for count in received.values())
    print(
        f"\n{len(producers.accepted)} events accepted, {broker.kills} kills of the broker, {receiver.kills} of the receiver; "
        f"{received.total()} deliveries, {duplicates} of them repeated, {len(dead)} dead letters, "
        f"{producers.sent_again} requests sent again"
    )
    assert len(producers.accepted) == EVENTS
    assert broker.kills >= 6
    assert receiver.kills >= 6
    lost = producers.accepted - set(received) - dead
    assert not lost, f"{len(lost)} accepted events were lost: {sorted(lost)[:10]}"
    # A reply is written down in the transaction that ends the delivery it answers: where the one is over, the other is in.
    answered = producers.accepted - dead
    unanswered = {name for name in answered if f"reply-{name}" not in received and f"reply-{name}" not in dead}
    assert not unanswered, f"{len(unanswered)} replies were lost: {sorted(unanswered)[:10]}"


async def chaos(producers: Producers, broker: Child, receiver: Child) -> None:
    """Kill one of the two whenever some hundred more events were accepted."""
    chance = random.Random()
    producing = asyncio.create_task(producers.run())
    upcoming, victims = chance.randint(*BETWEEN_KILLS), itertools.cycle([broker, receiver])
    while not producing.done():
        await asyncio.wait([producing], timeout=0.01)
        if len(producers.accepted) >= upcoming:
            await asyncio.sleep(chance.random() * 0.2)
            next(victims).kill()
            upcoming = len(producers.accepted) + chance.randint(*BETWEEN_KILLS)
    await producing


def wait_until_drained(file: Path) -> None:
    deadline = time.monotonic() + 60
    connection = sqlite3.connect(file)
    while pending := connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]:
        assert time.monotonic() < deadline, f"{pending} deliveries are still pending"
        time.sleep(0.1)
    connection.close()


def dead_letters(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    rows = connection.execute(
        "SELECT json_extract(attributes, '$.id') FROM dead JOIN events ON events.seq = dead.event"
    ).fetchall()
    connection.close()
    return {name for (name,) in rows}
