"""A replica in a thread: the real application on the real server, asked over sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import uvloop
from msgspec import Struct

from trimtab.events import Envelope
from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import load
from trimtab.runtime.logs import JsonFormatter
from trimtab.runtime.outbox import Counters
from trimtab.runtime.server import Server

DEADLINE = 20.0


def wait_until(condition: Callable[[], Any]) -> None:
    """Poll until the condition holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


class Reply(Struct):
    """What came back over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> dict[str, str]:
        """The CloudEvent's attributes, of an answer in binary mode."""
        return {name[3:]: value for name, value in self.headers if name.startswith("ce-")}


class Outbox:
    """Keeps what is emitted."""

    def __init__(self) -> None:
        self.events: list[Envelope] = []

    def start(self) -> None:
        pass

    def emit(self, envelope: Envelope) -> None:
        self.events.append(envelope)

    def counters(self) -> Counters:
        return Counters(emitted=len(self.events), sent=len(self.events))

    def close(self, deadline: float) -> None:
        pass


class Running:
    """A replica and its loop. `globals` are those of the handler's module."""

    def __init__(self, folder: Path, source: str, name: str, **settings: Any) -> None:
        (folder / "function.py").write_text(dedent(source))
        loaded = load(f"function.py:{name}" if name else "function.py", folder)
        self.outbox = Outbox()
        config = ReplicaConfig(function="shop", revision="shop-00001", **settings)
        self.app = App(loaded, config, emitter=self.outbox)
        self.globals: dict[str, Any] = vars(
            sys.modules[next(m for m in ("function_function", "function") if m in sys.modules)]
        )
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._sock.setblocking(False)
        self.port = self._sock.getsockname()[1]
        self._failure: list[BaseException] = []
        self._is_started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._live()), name="replica")
        self._thread.start()
        assert self._is_started.wait(DEADLINE)
        if self._failure:
            self._thread.join(DEADLINE)
            self._sock.close()
            raise self._failure[0]

    async def _live(self) -> None:
        try:
            await self.app.startup()
        except BaseException as exc:
            self._failure.append(exc)
            await self.app.shutdown()
            return
        finally:
            self.loop = asyncio.get_running_loop()
            self.server = Server(self.app, [self._sock], linger=0.05, drain=5.0)
            self._is_started.set()
        self.app.ready = True
        await self.server.serve()
        await self.app.shutdown()

    def ask(
        self,
        body: bytes | str = b"",
        content_type: str | None = None,
        *,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask on a connection of its own."""
        connection = self.connect()
        try:
            return self.ask_on(connection, body, content_type, method=method, path=path, headers=headers)
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def ask_on(
        self,
        connection: http.client.HTTPConnection,
        body: bytes | str = b"",
        content_type: str | None = None,
        *,
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        given = {**({"content-type": content_type} if content_type else {}), **(headers or {})}
        connection.request(method, path, body.encode() if isinstance(body, str) else body, given)
        answer = connection.getresponse()
        pairs = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(answer.status, pairs, answer.read())

    def event(self, body: bytes | str = b"{}", content_type: str = "application/json", **more: str) -> Reply:
        """Send a CloudEvent in binary mode; `prefer` and `accept` are headers, the rest are attributes."""
        plain = ("prefer", "accept", "traceparent")
        headers: dict[str, str] = {name: more.pop(name) for name in plain if name in more}
        attributes = {"specversion": "1.0", "id": "1", "source": "/me", "type": "com.example.made", **more}
        headers.update({f"ce-{name}": value for name, value in attributes.items()})
        return self.ask(body, content_type, headers=headers)

    def raw(self, request: bytes) -> socket.socket:
        """Send bytes on a new connection, and give it."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        sock.sendall(request)
        return sock

    def later(self, **request: Any) -> Later:
        """Ask in a thread."""
        return Later(self, request)

    def metrics(self) -> dict[str, float]:
        """The metrics page, by name and labels without those that are the same everywhere."""
        text = self.ask(method="GET", path="/metrics").body.decode()
        found = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name.replace('function="shop",revision="shop-00001",worker="0"', "").replace("{,", "{")] = float(
                    value
                )
        return found

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.stop)
            self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        assert self.app.limiter.in_flight == 0


class Later:
    """A request that is under way."""

    def __init__(self, running: Running, request: dict[str, Any]) -> None:
        self._reply: Reply | None = None
        self._thread = threading.Thread(target=self._ask, args=(running, request))
        self._thread.start()

    def _ask(self, running: Running, request: dict[str, Any]) -> None:
        self._reply = running.ask(**request)

    @property
    def done(self) -> bool:
        return self._reply is not None

    def reply(self) -> Reply:
        self._thread.join(DEADLINE)
        assert self._reply is not None
        return self._reply


Serve = Callable[..., Running]


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    return wait_until


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("shop", "shop-00001"))
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as the replica writes it."""
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a handler's source: `serve(source, name, **ReplicaConfig fields)`. Everything is stopped at the end."""
    running: list[Running] = []
    path, modules = list(sys.path), set(sys.modules)

    def start(source: str, name: str = "", **settings: Any) -> Running:
        folder = tmp_path / str(len(running))
        folder.mkdir(exist_ok=True)
        running.append(Running(folder, source, name, **settings))
        return running[-1]

    yield start
    for one in running:
        one.stop()
    sys.path[:] = path
    for name in ("function", "function_function"):
        if name not in modules:
            sys.modules.pop(name, None)
