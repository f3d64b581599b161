"""Answer those who wait for a replica that will not come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import msgspec

_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b"
)
_WITHIN = 2.0
"""Seconds for one client to say what it wants and hear that it cannot have it."""


def waiting_connections(sock: socket.socket) -> Iterator[socket.socket]:
    """Accept what waits in a socket's backlog now."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = sock.accept()
            connection.setblocking(False)
            yield connection


async def apologise(connection: socket.socket, message: str) -> None:
    """Read a request, answer 503 with `message`, close."""
    body = msgspec.json.encode({"error": message})
    loop = asyncio.get_running_loop()
    with contextlib.closing(connection), contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_WITHIN):
            await loop.sock_recv(connection, 65536)
            await loop.sock_sendall(connection, _ANSWER % (len(body), body))
