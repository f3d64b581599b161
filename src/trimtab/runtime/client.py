"""A small HTTP/1.1 client: what the broker's delivery and the emitter need, at a cost of microseconds per request."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import lru_cache
from urllib.parse import quote, urlsplit

from msgspec import Struct

from trimtab.errors import SendError
from trimtab.runtime.connection import Connection, Header, Reply, Stale

__all__ = ["Client", "Header", "Reply", "check_url"]

_BODYLESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_OURS = frozenset({b"content-length", b"transfer-encoding"})
_SAFE = "%/:?#[]@!$&'()*+,;=~"


class Target(Struct, frozen=True):
    """A URL taken apart."""

    origin: tuple[str, int, bool]
    """Host, port, TLS."""
    path: bytes
    host: bytes
    """The Host header."""


class Client:
    """Sends requests over keep-alive connections. Belongs to one event loop; close it with `aclose`.

    `connections`: at most so many per origin, further requests wait for their turn. `idle`: seconds an unused connection
    is kept (less than servers keep theirs: uvicorn 5, Go 180). `connect_timeout`: seconds for name, TCP and TLS together.
    `response_limit`: bytes of a body that are read at most. `ca_certs`: certificates in PEM that are trusted besides the
    system's (Knative's `K_CA_CERTS`).
    """

    def __init__(
        self,
        *,
        connections: int = 64,
        idle: float = 4.0,
        connect_timeout: float = 10.0,
        response_limit: int = 32 * 1024 * 1024,
        ca_certs: str | None = None,
    ) -> None:
        self._connections, self._idle = connections, idle
        self._connect_timeout, self._response_limit = connect_timeout, response_limit
        self._ca_certs = ca_certs
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, int, bool], _Pool] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(
        self, method: str, url: str, headers: list[Header], body: bytes = b"", *, timeout: float
    ) -> Reply:
        """Send a request and give the whole answer, whatever its status; redirects are not followed.

        `timeout`: seconds for everything, waiting for a connection included. Content-Length and Host are added. A
        request is sent a second time only if it went out on a connection that had been idle and that the server closed
        before a byte of the answer. Errors: SendError. Cancelling closes the connection.
        """
        target = _target(url)
        message = _message(method, target, headers, body)
        deadline = asyncio.get_running_loop().time() + timeout
        pool = self._pools.get(target.origin) or self._open(target.origin)
        await pool.enter(deadline)
        try:
            connection = pool.take()
            if connection is not None:
                try:
                    return await self._exchange(pool, connection, message, body, method, deadline)
                except Stale:
                    pool.drop_idle()  # they are as old
            connection = await self._connect(pool, target, deadline)
            try:
                return await self._exchange(pool, connection, message, body, method, deadline)
            except Stale as exc:
                raise SendError(f"{url}: the server closed the connection without an answer ({exc})", "broken") from exc
        finally:
            pool.leave()

    async def aclose(self) -> None:
        """Close all connections; requests under way end with SendError."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()

    def _open(self, origin: tuple[str, int, bool]) -> _Pool:
        if self._closed:
            raise SendError("the client is closed", "connect")
        pool = self._pools[origin] = _Pool(self._connections)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._idle / 2, self._sweep)
        return pool

    def _sweep(self) -> None:
        """Close what has been idle for too long and forget origins that nobody uses."""
        loop = asyncio.get_running_loop()
        for origin, pool in list(self._pools.items()):
            pool.expire(loop.time() - self._idle)
            if pool.unused:
                del self._pools[origin]
        self._sweeper = loop.call_later(self._idle / 2, self._sweep) if self._pools else None

    async def _exchange(
        self, pool: _Pool, connection: Connection, message: bytes, body: bytes, method: str, deadline: float
    ) -> Reply:
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, connection.expire)
        try:
            return await connection.send(message, body, head=method == "HEAD")
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            timer.cancel()
            pool.put_back(connection, loop.time())

    async def _connect(self, pool: _Pool, target: Target, deadline: float) -> Connection:
        host, port, tls = target.origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._response_limit, pool.remove),
                    host,
                    port,
                    ssl=self._context() if tls else None,
                )
        except TimeoutError as exc:
            raise SendError(f"no connection to {host}:{port} in time", "connect") from exc
        except (OSError, ssl.SSLError, UnicodeError) as exc:
            raise SendError(f"no connection to {host}:{port}: {exc}", "connect") from exc
        pool.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if self._ca_certs:
                self._tls.load_verify_locations(cadata=self._ca_certs)
        return self._tls


def check_url(url: str) -> None:
    """Say whether a request could be sent there. Errors: SendError."""
    _target(url)


class _Pool:
    """The connections to one origin. A request enters (waiting its turn), takes a connection or opens one, and leaves."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._limit = limit
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed: asyncio.Future[None] | None = None
        """Set when the pool closes, done when its last connection is gone."""

    @property
    def unused(self) -> bool:
        return not self._all and self._free == self._limit

    async def enter(self, deadline: float) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the turn came in the same moment
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise SendError("no free connection in time", "timeout") from exc
            raise

    def leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    def put_back(self, connection: Connection, now: float) -> None:
        if connection.reusable:
            connection.idle_since = now
            self._idle.append(connection)

    def add(self, connection: Connection) -> None:
        """Count a new connection in, unless it or the pool has been closed meanwhile."""
        if self._closed is not None:
            connection.abort()
        elif connection.reusable:
            self._all.add(connection)

    def remove(self, connection: Connection) -> None:
        self._all.discard(connection)
        if not self._all and self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def expire(self, before: float) -> None:
        fresh = [connection for connection in self._idle if connection.idle_since > before and connection.reusable]
        for connection in set(self._idle).difference(fresh):
            connection.abort()
        self._idle = fresh

    async def close(self) -> None:
        self._closed = asyncio.get_running_loop().create_future()
        closed = SendError("the client was closed", "broken")
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(closed)
        for connection in list(self._all):
            connection.fail(closed)
        if self._all:
            await self._closed


@lru_cache(1024)
def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as exc:
        raise SendError(f"{url!r} is not a URL: {exc}", "protocol") from exc
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        # Not shown: a user part may hold a password.
        raise SendError("the URL is not allowed: it must be http or https, with a host and without a user", "protocol")
    tls = parts.scheme == "https"
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    name = f"[{host}]" if ":" in host else host
    return Target(
        origin=(host, port or (443 if tls else 80), tls),
        path=path.encode("ascii"),
        host=(name if port is None else f"{name}:{port}").encode("ascii"),
    )


def _message(method: str, target: Target, headers: list[Header], body: bytes) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target.path)]
    hosted = False
    for name, value in headers:
        if name not in _OURS:
            hosted = hosted or name == b"host"
            lines.append(name + b": " + value)
    if not hosted:
        lines.append(b"host: " + target.host)
    if body or method not in _BODYLESS:
        lines.append(b"content-length: %d" % len(body))
    count = len(lines)
    lines += (b"", b"")
    message = b"\r\n".join(lines)
    if message.count(b"\n") != count + 1 or message.count(b"\r") != count + 1 or b"\0" in message:
        raise SendError("a header of the request has a line break or a null byte in it", "protocol")
    return message
