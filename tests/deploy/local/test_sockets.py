"""The kernel splits connections between revisions as told, and loses none while the split changes."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from trimtab.deploy.local import sockets
from trimtab.errors import TargetError


@pytest.fixture
def group() -> Iterator[sockets.PortGroup]:
    made = sockets.PortGroup(sockets.free_port())
    yield made
    made.close_all()


def connect(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


def accepted(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def shares(group: sockets.PortGroup, names: list[str], count: int) -> Counter[str]:
    clients = connect(group.port, count)
    result = Counter({name: accepted(group.open(name)) for name in names})
    for client in clients:
        client.close()
    return result


def test_a_single_revision_gets_every_connection(group: sockets.PortGroup) -> None:
    group.open("a")
    group.split({"a": 100})
    assert shares(group, ["a"], 50) == Counter(a=50)


def test_percents_are_kept_within_chance(group: sockets.PortGroup) -> None:
    for name in "abc":
        group.open(name)
    group.split({"a": 70, "b": 20, "c": 10})
    seen = shares(group, ["a", "b", "c"], 2000)
    assert sum(seen.values()) == 2000
    assert 1300 < seen["a"] < 1500
    assert 320 < seen["b"] < 480
    assert 140 < seen["c"] < 260


def test_an_open_revision_without_a_share_gets_nothing(group: sockets.PortGroup) -> None:
    group.open("a")
    group.split({"a": 100})
    group.open("b")
    assert shares(group, ["a", "b"], 100) == Counter(a=100)


@pytest.mark.parametrize("closed", ["a", "b", "c"])
def test_indices_follow_when_a_revision_is_closed(group: sockets.PortGroup, closed: str) -> None:
    names = [name for name in "abc" if name != closed]
    for name in "abc":
        group.open(name)
    group.split({names[1]: 100})
    group.close(closed)
    assert shares(group, names, 60) == Counter({names[1]: 60})


def test_the_backlog_is_counted_before_anyone_accepts(group: sockets.PortGroup) -> None:
    sock = group.open("a")
    clients = connect(group.port, 7)
    assert sockets.waiting(sock) == 7
    for client in clients:
        client.close()


def test_listeners_name_the_inodes_on_a_port(group: sockets.PortGroup) -> None:
    sock = group.open("a")
    assert sockets.listeners(group.port) == {os.fstat(sock.fileno()).st_ino}
    group.close_all()
    assert sockets.listeners(group.port) == set()


def test_a_port_in_use_is_refused_with_its_number() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TargetError, match=rf"port {port} on 127\.0\.0\.1 cannot be listened on"):
            sockets.listen(port)
