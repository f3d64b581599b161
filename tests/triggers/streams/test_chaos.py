"""Nothing is lost, whoever is killed when: consumer, function, broker, and the connection between them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.triggers.streams.servers import SERVERS, Proxy, Server, free_port

from trimtab.errors import StreamError
from trimtab.spec.stream import parse
from trimtab.triggers.streams.abc import Options, Record, Start
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.cloudevent import to_event
from trimtab.triggers.streams.redrive import dead_name

COUNT = int(os.environ.get("TRIMTAB_CHAOS", "20000"))
KEYS = 50
CHUNK = 500
ROUNDS = 10
LEASE = "2s"
WITHIN = 100.0
LOCAL_DEAD = "local:chaos-dead"
FUNCTION = """
import os
from trimtab import PermanentError

log = os.open("{log}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
failed = set()

def handler(context, events: list):
    outcomes, stuck = [], set()
    for event in events:
        n, key = event.body["n"], event.body["k"]
        if n % 1000 == 7:
            outcomes.append(PermanentError("poison"))
        elif key in stuck or (n % 499 == 3 and n not in failed):
            failed.add(n)
            stuck.add(key)
            outcomes.append(False)
        else:
            os.write(log, b"%d %d\\n" % (n, key))
            outcomes.append(None)
    return outcomes
"""


class Killed:
    """A process that is killed and started again."""

    def __init__(self, log: Path, *command: str) -> None:
        self.command, self.log = command, log
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            environ = {**os.environ, "TRIMTAB_HOME": str(self.log.parent / "home")}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trimtab", *self.command], stdout=log, stderr=log, env=environ
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def again(self) -> None:
        self.kill()
        self.start()


class Log:
    """What the function did, read on as it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        path.touch()
        self.lines = 0
        self.seen: set[int] = set()
        self.first: dict[int, list[int]] = defaultdict(list)
        """By key: the numbers in the order in which they came first."""

    def read(self) -> int:
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            n, key = map(int, line.split())
            self.lines += 1
            if n not in self.seen:
                self.seen.add(n)
                self.first[key].append(n)
        return len(self.seen)


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind: type[Server] = request.param
    if missing := kind.missing():
        pytest.skip(f"{missing} is not installed")
    (folder := tmp_path / "broker").mkdir()
    server = kind(folder)
    server.start()
    yield server
    server.stop()


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_message_is_processed_or_dead_whoever_is_killed_when(server: Server, tmp_path: Path) -> None:
    asyncio.run(_chaos(server, tmp_path))


async def _chaos(server: Server, folder: Path) -> None:
    home, log = folder / "home", Log(folder / "done")
    port, watch, proxy = free_port(), free_port(), Proxy(server.port)
    await proxy.start()
    (folder / "function.py").write_text(FUNCTION.format(log=folder / "done"))
    url = server.url("chaos", "g")
    function = Killed(folder / "f.log", "serve", str(folder / "function.py"), "--port", str(port))
    _until_open(port)
    dead = open_stream(_grouped(url, "check"), Options(consumer="check", start=Start(at="earliest"), lease=6.0), home)
    await dead.open()
    await dead.close()
    consumer = Killed(folder / "c.log", *_consume(server, port, watch, proxy))
    try:
        await _until_ready(watch, folder)
        publishing = asyncio.create_task(_publish(url, home))
        await _rounds(server, log, function, consumer, proxy, random.Random(7))
        await publishing
        letters = await _finish(log, dead, folder)
    finally:
        consumer.kill()
        function.kill()
        await proxy.close()
    missing = set(range(COUNT)) - log.seen - letters
    print(
        f"\n{server.kind}: {COUNT} messages, {len(letters)} dead, {log.lines - len(log.seen)} duplicates, {proxy.cuts} cuts"
    )
    assert missing == set()
    assert {n for n in range(COUNT) if n % 1000 == 7} <= letters
    if server.ordered:
        assert [pair for numbers in log.first.values() for pair in pairwise(numbers) if pair[0] > pair[1]] == []


async def _rounds(
    server: Server, log: Log, function: Killed, consumer: Killed, proxy: Proxy, dice: random.Random
) -> None:
    deeds = [consumer.again] * 3 + [function.again] * 3 + [proxy.cut] * 3 + [server.restart] * server.survives
    dice.shuffle(deeds)
    for number, deed in enumerate(deeds, 1):
        goal = min(COUNT * 9 // 10, COUNT * number // (ROUNDS + 2))
        deadline = time.monotonic() + 20
        while log.read() < goal and time.monotonic() < deadline:
            await asyncio.sleep(dice.uniform(0.01, 0.05))
        await asyncio.to_thread(deed) if deed != proxy.cut else deed()


async def _finish(log: Log, dead: Any, folder: Path) -> set[int]:
    letters: set[int] = set()
    deadline = time.monotonic() + WITHIN
    await dead.open()
    while len(log.seen | letters) < COUNT:
        messages = await dead.receive(100, 0.5)
        letters |= {json.loads(to_event(message, "/").data or b"")["n"] for message in messages}
        if messages:
            await dead.ack(messages)
        log.read()
        assert time.monotonic() < deadline, _state(log, letters, folder)
    await dead.close()
    return letters


def _state(log: Log, letters: set[int], folder: Path) -> str:
    missing = sorted(set(range(COUNT)) - log.seen - letters)
    tail = (folder / "c.log").read_text()[-3000:]
    return f"{len(missing)} are missing: {missing[:20]}; {len(letters)} dead; consumer:\n{tail}"


async def _publish(url: Any, home: Path) -> None:
    publisher = open_publisher(url, home)
    opened = False
    for start in range(0, COUNT, CHUNK):
        numbers = range(start, min(start + CHUNK, COUNT))
        records = [Record(body=json.dumps({"n": n, "k": n % KEYS}).encode(), key=f"k{n % KEYS}") for n in numbers]
        while True:
            try:
                if not opened:
                    await publisher.open()
                opened = True
                await publisher.publish(records)
                break
            except StreamError:
                await publisher.close()
                opened = False
                await asyncio.sleep(0.2)
    await publisher.close()


def _grouped(url: Any, group: str) -> Any:
    from msgspec.structs import replace

    # An MQTT broker keeps nothing that nobody subscribes to, so there the embedded stream takes the letters.
    return (
        parse(f"{LOCAL_DEAD}?group={group}") if url.kind == "mqtt" else replace(url.named(dead_name(url)), group=group)
    )


def _consume(server: Server, port: int, watch: int, proxy: Proxy) -> list[str]:
    url = server.url("chaos", "g", proxy.port)
    options = "?" + "&".join(
        f"{name}={urllib.parse.quote(value)}"
        for name, value in {"stream": url.stream, "group": url.group, **url.options}.items()
        if url.kind != "local" or name != "stream"
    )
    login = "guest:guest@" if url.kind == "rabbitmq" else ""
    place = (
        "local:chaos"
        if url.kind == "local"
        else f"{url.scheme}://{login}{url.hosts[0]}{'/0' if url.kind == 'redis' else ''}"
    )
    dead = ["--dead-letter", LOCAL_DEAD] if url.kind == "mqtt" else []
    lease = "6s" if server.kind == "kafka" else LEASE
    return [
        "consume", place + options, "--to", f"http://127.0.0.1:{port}", "--batch", "50", "--concurrency", "4",
        "--start", "earliest", "--lease", lease, "--consumer", "chaos", "--attempts", "20",
        "--host", "127.0.0.1", "--port", str(watch), "--timeout", "30s", *dead,
    ]  # fmt: skip


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


async def _until_ready(port: int, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(_ready, port):
        assert time.monotonic() < deadline, (folder / "c.log").read_text()
        await asyncio.sleep(0.1)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
