"""One HTTP/1.1 connection to a server: a request goes out, httptools reads the answer that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
from msgspec import Struct

from trimtab.errors import SendError

Header = tuple[bytes, bytes]

HEAD_LIMIT = 64 * 1024
"""Bytes of status line and headers that an answer may have."""


class Reply(Struct, frozen=True):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: list[Header]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Give the first header of that name."""
        return next((value for found, value in self.headers if found == name), None)


class Stale(Exception):
    """The server closed the connection before it answered anything: harmless on a connection that had been idle."""


class Connection(asyncio.Protocol):
    """Sends one request at a time. `reusable` says whether another may follow once an answer has been read."""

    __slots__ = (
        "_answer", "_body", "_head", "_head_size", "_headers", "_length", "_limit", "_lost", "_parser", "_received",
        "_transport", "_until_close", "idle_since", "reusable",
    )  # fmt: skip

    def __init__(self, limit: int, lost: Callable[[Connection], object]) -> None:
        self._limit, self._lost = limit, lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._head = self._received = self._until_close = False
        self._head_size = self._length = 0
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self.reusable = True
        self.idle_since = 0.0

    def send(self, request: bytes, body: bytes, *, head: bool) -> asyncio.Future[Reply]:
        """Write a request; the future gives the Reply, or Stale or SendError. `head`: the answer has no body (HEAD)."""
        answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(Stale())
            return answer
        self._answer, self._head = answer, head
        self._received = False
        self._reset()
        # One write for small messages: a second would be a packet of its own.
        if len(body) < HEAD_LIMIT:
            self._transport.write(request + body)
        else:
            self._transport.writelines((request, body))
        return answer

    def fail(self, error: Exception) -> None:
        """End the request that is under way with this error, and the connection with it."""
        answer, self._answer = self._answer, None
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def expire(self) -> None:
        """End the request that is under way because its time is up."""
        self.fail(SendError("no whole answer in time", "timeout"))

    def abort(self) -> None:
        """Close at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read what came; anything on a connection without a request is a fault of the server."""
        if self._answer is None:
            self.abort()
            return
        self._received = True
        if self._head_size >= 0:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            # What follows a complete answer does not spoil the answer, only the connection.
            self.fail(SendError(f"the answer is not HTTP: {exc!r}", "protocol"))
            return
        if self._head_size > HEAD_LIMIT:
            self.fail(SendError(f"the answer's headers are longer than {HEAD_LIMIT} bytes", "protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request under way: well, where the end of the connection is the end of the body."""
        self.reusable = False
        if self._answer is not None:
            if self._until_close and exc is None:
                self._finish()
            elif self._received:
                self.fail(SendError(f"the connection broke in the middle of the answer ({exc or 'closed'})", "broken"))
            else:
                self.fail(Stale(str(exc or "closed")))
        self._transport = None
        self._lost(self)

    # httptools

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for: the next request would take it for its own."""
        if self._answer is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header (or a trailer, which is one as good as the others)."""
        self._headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """Decide where the body ends."""
        if self._parser.get_status_code() < 200:
            return
        self._head_size = -1
        if self._head:
            self._finish()
            # The parser waits for a body that never comes.
            self._parser = httptools.HttpResponseParser(self)
            return
        named = dict(self._headers)
        chunked = named.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        self._until_close = not chunked and b"content-length" not in named

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, within the limit."""
        if self._answer is None:
            return
        self._length += len(data)
        if self._length > self._limit:
            self.fail(SendError(f"the answer is longer than {self._limit} bytes", "protocol"))
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Give the answer; an interim one (100, 103) only makes room for the next."""
        if self._answer is None:
            return
        if self._parser.get_status_code() < 200:
            self._reset()
        else:
            self._finish()

    def _reset(self) -> None:
        self._headers, self._body = [], []
        self._head_size = self._length = 0
        self._until_close = False

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        self.reusable = self.reusable and bool(self._parser.should_keep_alive())
        if not self.reusable:
            self.abort()
        reply = Reply(self._parser.get_status_code(), self._headers, b"".join(self._body))
        if answer is not None and not answer.done():
            answer.set_result(reply)
