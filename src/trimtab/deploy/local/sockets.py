"""A function's port, shared by its revisions with no proxy in between.

Every live revision has a listening socket of its own on the same port (SO_REUSEPORT), handed to that revision's replicas.
A classic BPF program attached to the group lets the kernel choose the socket of each new connection at random by
percent (socket(7), SO_ATTACH_REUSEPORT_CBPF; the random number is the ancillary load SKF_AD_RANDOM of filter.txt).
The daemon keeps every socket open, so that a connection waiting in a backlog outlives the replicas.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from pathlib import Path

from trimtab.errors import TargetError

BACKLOG = 4096
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_RANDOM = struct.pack("HBBI", 0x20, 0, 0, 0xFFFFF000 + 56)  # ld rand
_TCP_INFO_UNACKED = 24  # of a listening socket: connections that wait to be accepted
_LISTEN = "0A"


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """Open a listening socket that can share its port with others of this user. Errors: TargetError (port taken)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise TargetError(f"port {port} on {host} cannot be listened on: {exc.strerror}") from exc
    sock.setblocking(False)
    return sock


def free_port(wanted: int = 0) -> int:
    """Find a port that nobody listens on, `wanted` if it is free."""
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise TargetError("no free port on 127.0.0.1")


def waiting(sock: socket.socket) -> int:
    """Count the connections in the backlog: completed by the kernel, accepted by nobody."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, _TCP_INFO_UNACKED)[0])


def listeners(port: int) -> set[int]:
    """Give the inodes of all sockets that listen on `port` of 127.0.0.1, whoever holds them."""
    suffix = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    return {int(row[9]) for row in rows if row[3] == _LISTEN and row[1].endswith(suffix)}


class PortGroup:
    """The sockets of one port by revision, and the percents between them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._order: list[str] = []  # the kernel's index of each socket in the group
        self._sockets: dict[str, socket.socket] = {}
        self._percents: dict[str, int] = {}

    def __contains__(self, revision: str) -> bool:
        return revision in self._sockets

    def open(self, revision: str) -> socket.socket:
        """Give the revision's socket, a new one if it has none; it gets no connection before `split` names it."""
        if revision not in self._sockets:
            sock = listen(self.port)
            self._sockets[revision] = sock
            self._order.append(revision)
            self._attach()
        return self._sockets[revision]

    def split(self, percents: dict[str, int]) -> None:
        """Choose new connections' revisions by percent from now on; every revision named must be open."""
        self._percents = {revision: percent for revision, percent in percents.items() if percent > 0}
        self._attach()

    def close(self, revision: str) -> None:
        """Close the daemon's end of the revision's socket; connections still in its backlog are reset."""
        sock = self._sockets.pop(revision, None)
        if sock is None:
            return
        # The kernel fills the gap with the last socket of the group (reuseport_detach_sock), and so does the list.
        index = self._order.index(revision)
        last = self._order.pop()
        if index < len(self._order):
            self._order[index] = last
        sock.close()
        self._percents.pop(revision, None)
        self._attach()

    def close_all(self) -> None:
        """Close every socket."""
        for revision in list(self._sockets):
            self.close(revision)

    def _attach(self) -> None:
        if not self._sockets:
            return
        program = _program([(self._order.index(name), share) for name, share in self._percents.items()])
        buffer = ctypes.create_string_buffer(program, len(program))
        filters = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
        next(iter(self._sockets.values())).setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filters)


def _program(shares: list[tuple[int, int]]) -> bytes:
    """Write the filter that returns index i with probability percent/total."""
    if len(shares) < 2:
        return _return(shares[0][0] if shares else 0)
    total = sum(percent for _, percent in shares)
    code = [_LOAD_RANDOM, struct.pack("HBBI", 0x94, 0, 0, total)]  # mod total
    upto = 0
    for index, percent in shares[:-1]:
        upto += percent
        code += [struct.pack("HBBI", 0x35, 1, 0, upto), _return(index)]  # if below `upto` fall into: return index
    return b"".join([*code, _return(shares[-1][0])])


def _return(index: int) -> bytes:
    return struct.pack("HBBI", 0x06, 0, 0, index)
