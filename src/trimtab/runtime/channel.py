"""Messages between the daemon, its zygotes and its replicas: JSON objects, with file descriptors where needed.

The carrier is a pair of SOCK_SEQPACKET sockets: messages keep their bounds, and an end of file says that the other
process is gone, whatever killed it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import msgspec

LARGEST = 200_000
"""Bytes of one message; the kernel's default send buffer holds a little more."""
_MOST_DESCRIPTORS = 64


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Errors: OSError when the other end is gone, ValueError when the message is too large."""
    data = msgspec.json.encode(message)
    if len(data) > LARGEST:
        raise ValueError(f"a message of {len(data)} bytes, at most {LARGEST} are allowed")
    socket.send_fds(sock, [data], list(descriptors))


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one message and its descriptors; None when the other end is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(sock, LARGEST + 1, _MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    if not data:
        return None
    return msgspec.json.decode(data), list(descriptors)
