"""Serve an ASGI application on sockets that somebody else bound, and leave without dropping a request.

uvicorn's protocol speaks HTTP; the accepting and the leaving are done here, because replicas share one socket. A
replica that has no free slot leaves connections in the kernel's backlog, where the next free replica finds them. A
replica that leaves goes on answering open connections, with `connection: close`, and closes only those that stay silent.

The load that the autoscaler sees is counted here, from a request's headers to the end of its answer: a request that
waits for the loop, for a thread or for a slot is load as much as one inside a handler, as it is to Knative's queue-proxy.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Sequence
from email.utils import formatdate
from time import monotonic
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trimtab.runtime.stats import StatsSlot

logger = logging.getLogger("trimtab.server")

KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than common clients' pools keep theirs, so that they close first."""
LINGER = 1.0
"""Seconds that open connections get, while leaving, to send a request and be told to close."""
HEAD_LIMIT = 64 * 1024
"""Bytes of a request line with its headers, as with h11; beyond it the answer is 431. httptools itself has no bound."""
UNPROVEN = 0.05
"""Seconds a new connection may hold a slot before its first request; an idle one must not block the others."""
_TOO_LARGE_TEXT = b"the request line and its headers have more than %d bytes" % HEAD_LIMIT
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_TOO_LARGE_TEXT), _TOO_LARGE_TEXT)
)


class Gate(Protocol):
    """What the server asks of an application that limits its concurrency."""

    @property
    def full(self) -> bool:
        """No free slot."""

    on_change: Any
    """Called without arguments when `full` may have changed."""


class Server:
    """One process's share of the listening sockets.

    `gate` None accepts whatever comes. `closing` is called when responses should start to carry `connection: close`.
    """

    def __init__(
        self,
        app: Any,
        sockets: Sequence[socket.socket],
        *,
        gate: Gate | None = None,
        slots: int = 0,
        page: StatsSlot | None = None,
        drain: float = 30.0,
        linger: float = LINGER,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self.sockets, self.drain, self.linger, self.page = list(sockets), drain, linger, page
        self.keep_alive = keep_alive
        self._gate, self._slots = gate, slots
        self._state = ServerState()
        self._config = Config(
            app if page is None else _Counted(app, page),
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._stop = asyncio.Event()
        self._unproven: set[_Connection] = set()
        self._accepting = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def connections(self) -> int:
        """Open connections of this process."""
        return len(self._state.connections)

    def stop(self) -> None:
        """Begin to leave; `serve` returns when the last request is answered or the grace period is over."""
        self._stop.set()

    async def serve(self) -> bool:
        """Serve until `stop`; True if every request in flight was answered within the grace period."""
        self._config.load()
        self._loop = asyncio.get_running_loop()
        ticker = self._loop.create_task(self._tick())
        if self._gate is not None:
            self._gate.on_change = self._regulate
        self._regulate()
        try:
            await self._stop.wait()
            return await self._leave()
        finally:
            ticker.cancel()

    # Accepting

    def _regulate(self) -> None:
        wanted = not self._stop.is_set() and not self._is_full()
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for sock in self.sockets:
            if wanted:
                self._loop.add_reader(sock.fileno(), self._accept, sock)
            else:
                self._loop.remove_reader(sock.fileno())

    def _is_full(self) -> bool:
        if self._gate is None or not self._slots:
            return False
        return self._gate.full or len(self._unproven) >= self._slots

    def _accept(self, sock: socket.socket) -> None:
        # One at a time: with several replicas on one socket, whoever takes two makes one of them wait.
        try:
            connection, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            logger.error("cannot accept connections: %s; trying again in a second", exc.strerror)
            self._loop.remove_reader(sock.fileno())
            self._loop.call_later(1.0, self._resume, sock)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume(self, sock: socket.socket) -> None:
        if self._accepting:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _protocol(self) -> HttpToolsProtocol:
        connection = _Connection(self.page, self._config, self._state, {}, self._loop)
        if self._gate is not None and self._slots:
            connection.prover = self
            self._unproven.add(connection)
            self._loop.call_later(UNPROVEN, self.proven, connection)
            self._regulate()
        return connection

    def proven(self, connection: _Connection) -> None:
        """Stop counting a new connection as a taken slot: its request counts itself, or it never came."""
        connection.prover = None
        self._unproven.discard(connection)
        self._regulate()

    # Leaving

    async def _leave(self) -> bool:
        started = self._loop.time()
        self._regulate()
        for sock in self.sockets:
            sock.close()
        while self._busy() and self._loop.time() < started + min(self.linger, self.drain):
            await asyncio.sleep(0.02)
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._busy() and self._loop.time() < started + self.drain:
            await asyncio.sleep(0.02)
        unfinished = list(self._state.tasks)
        for task in unfinished:
            task.cancel("the grace period is over")
        if unfinished:
            logger.error("%d requests were cut off by the end of the grace period of %g s", len(unfinished), self.drain)
            await asyncio.wait(unfinished, timeout=1.0)
        return not unfinished

    def _busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks or self._tasks)

    async def _tick(self) -> None:
        while True:
            self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            self._close_idle(monotonic() - self.keep_alive)
            await asyncio.sleep(1.0)

    def _close_idle(self, before: float) -> None:
        for connection in list(self._state.connections):
            if isinstance(connection, _Connection) and connection.idle(before):
                connection.timeout_keep_alive_handler()


class _Counted:
    """An application whose every request was counted in by `_Connection` and is counted out here."""

    def __init__(self, app: Any, page: StatsSlot) -> None:
        self.app, self.page = app, page

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            self.page.end(monotonic())


class _Connection(HttpToolsProtocol):
    """A connection that counts its requests in, and says when its first one begins.

    A timer per answer, to close the connection should no request follow, costs a twentieth of a small request. Here an
    idle connection notes since when it is, and the server looks once a second. A connection on which a request's headers
    are still to come is idle too, however slowly they come.
    """

    def __init__(self, page: StatsSlot | None, *args: Any) -> None:
        super().__init__(*args)
        self.page = page
        self.prover: Server | None = None
        """Whoever waits for the first request."""
        self.idle_since: float | None = monotonic()
        """When the connection was made, the last answer finished, or the headers began; None while there is something to
        do."""
        self._head: int | None = None
        """Bytes of the headers that are under way; None when none are."""
        self._head_since = 0.0

    def idle(self, before: float) -> bool:
        """Whether nothing has been asked since that time."""
        return self.idle_since is not None and self.idle_since < before

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            self.idle_since = self._head_since
            if self._head > HEAD_LIMIT and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()  # type: ignore[no-untyped-call,unused-ignore]
        self._head, self._head_since = 0, monotonic()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()  # type: ignore[no-untyped-call,unused-ignore]
        if self.page is not None:
            self.page.begin(monotonic())
        if self.prover is not None:
            # After the application has counted the request: its task runs in this iteration of the loop.
            self.loop.call_soon(self.loop.call_soon, self.prover.proven, self)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.idle_since = monotonic()

    def _unset_keepalive_if_required(self) -> None:
        """Be told by uvicorn that the connection is not idle."""
        self.idle_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.page is not None:
            for _ in self.pipeline:  # requests that were read and will never be started
                self.page.end(monotonic())
        super().connection_lost(exc)
        if self.prover is not None:
            self.prover.proven(self)
