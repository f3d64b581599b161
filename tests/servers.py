"""Real servers for tests, on free loopback ports, gone at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START = 20.0
"""Seconds a server has to begin to listen, on a machine that is busy with other tests."""


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis that keeps what it acknowledged; give its URL."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: scripts/test-servers installs it")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([*command, "--appendonly", "yes", "--appendfsync", "always"], stdout=log, stderr=log)
    try:
        _wait_for(port, server, folder / "redis.log")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(_START)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"the server did not begin to listen: {log.read_text('utf-8', 'replace')[-2000:]}")
