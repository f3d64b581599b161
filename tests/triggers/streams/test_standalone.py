"""`trimtab consume`: a consumer without a daemon, as an image runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.triggers.streams.servers import Redis, free_port, until

from trimtab.spec.stream import StreamUrl, parse
from trimtab.triggers.streams.abc import Options, Record, Start
from trimtab.triggers.streams.backends import open_publisher, open_stream

FUNCTION = """
import time
def handler(context, event):
    if event.body == "slow":
        time.sleep(1)
    if event.body == "bad":
        return 400, "never"
"""


class Consumer:
    def __init__(self, home: Path, url: str, *options: str) -> None:
        self.home, self.port = home, free_port()
        self.function = free_port()
        (home / "function.py").write_text(FUNCTION)
        self.log = (home / "log").open("wb")
        self._run("serve", str(home / "function.py"), "--port", str(self.function))
        until(lambda: self.get(self.function, "/readyz") == 200)
        watch = ["--host", "127.0.0.1", "--port", str(self.port), "--start", "earliest"]
        self.process = self._run("consume", url, "--to", f"http://127.0.0.1:{self.function}", *watch, *options)
        until(lambda: self.get(self.port, "/readyz") == 200)

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "TRIMTAB_HOME": str(self.home), "SECRET": "hunter2"}
        process = subprocess.Popen(
            [sys.executable, "-m", "trimtab", *words], env=environ, stdout=self.log, stderr=self.log
        )
        self.processes = [*getattr(self, "processes", []), process]
        return process

    @staticmethod
    def get(port: int, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
                return int(response.status)
        except OSError:
            return 0

    def read(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as response:
            text: str = response.read().decode()
            return text

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()


def put(home: Path, url: StreamUrl, *bodies: str) -> None:
    async def go() -> None:
        publisher = open_publisher(url, home)
        await publisher.open()
        await publisher.publish([Record(body=json.dumps(body).encode()) for body in bodies])
        await publisher.close()

    asyncio.run(go())


def held(home: Path, url: StreamUrl) -> list[bytes]:
    """What the group is lent next."""

    async def go() -> list[bytes]:
        stream = open_stream(url, Options(consumer="other", start=Start(at="earliest")), home)
        await stream.open()
        found = [message.body for message in await stream.receive(100, 1.0)]
        await stream.close()
        return found

    return asyncio.run(go())


@pytest.fixture
def consume(tmp_path: Path) -> Iterator[Callable[..., Consumer]]:
    made: list[Consumer] = []

    def start(url: str, *options: str) -> Consumer:
        made.append(Consumer(tmp_path, url, *options))
        return made[-1]

    yield start
    for consumer in made:
        consumer.close()


def test_it_says_how_it_stands_and_buries_in_the_same_broker(consume: Any, tmp_path: Path) -> None:
    url = "local:orders?group=g"
    consumer = consume(url, "--name", "f/orders")
    put(tmp_path, parse(url), "good", "bad")
    until(lambda: 'trimtab_stream_dead_total{function="f",trigger="orders"} 1' in consumer.read("/metrics"))
    assert 'trimtab_stream_delivered_total{function="f",trigger="orders"} 1' in consumer.read("/metrics")
    until(lambda: json.loads(consumer.read("/lag")) == {"waiting": 0, "pending": 0, "lost": 0})
    assert held(tmp_path, parse("local:orders-dead?group=look")) == [b'"bad"']
    answer = subprocess.run(
        [sys.executable, "-m", "trimtab", "consume", "local:orders", "--redrive"],
        env={**os.environ, "TRIMTAB_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout == "1 message put back into local:orders\n", answer.stderr
    until(lambda: 'trimtab_stream_dead_total{function="f",trigger="orders"} 2' in consumer.read("/metrics"))


def test_sigterm_finishes_what_is_in_flight_and_gives_back_the_rest(consume: Any, tmp_path: Path) -> None:
    url = "local:orders?group=g"
    consumer = consume(url, "--concurrency", "2", "--order", "partition")
    put(tmp_path, parse(url), "slow", "b", "c")
    until(lambda: 'trimtab_stream_held{function="consume",trigger=""} 2' in consumer.read("/metrics"))
    consumer.process.send_signal(signal.SIGTERM)
    assert consumer.process.wait(20) == 0
    assert held(tmp_path, parse(url)) == [b'"b"', b'"c"']


def test_a_redis_is_reached_by_tls_with_a_password_from_the_environment(consume: Any, tmp_path: Path) -> None:
    if missing := Redis.missing():
        pytest.skip(f"{missing} is not installed")
    (folder := tmp_path / "redis").mkdir()
    _certificate(folder)
    server = Redis(folder)
    plain = server.command()
    secure = free_port()
    files = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
    server.command = lambda: [*plain, "--tls-port", str(secure), *files, "--requirepass", "hunter2"]  # type: ignore[method-assign]
    server.answers = lambda: _listens(secure)  # type: ignore[method-assign]
    server.start()
    try:
        address = f"rediss://:$(SECRET)@127.0.0.1:{secure}?stream=orders&group=g&tls_ca={folder / 'cert.pem'}"
        consumer = consume(address)
        put(tmp_path, parse(address).resolved({"SECRET": "hunter2"}), "good")
        until(
            lambda: "trimtab_stream_delivered_total" in consumer.read("/metrics") and " 1" in consumer.read("/metrics")
        )
        assert "hunter2" not in (tmp_path / "log").read_text()
    finally:
        server.stop()


def _certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
