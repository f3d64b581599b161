"""A server in a process of its own for as long as a `with` block lasts."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.load import PAYLOAD

ROOT = Path(__file__).parent.parent
APPS = Path(__file__).parent / "apps"
_WITHIN = 30.0


class Server(Struct, frozen=True):
    """Where it answers, and the process that was started."""

    port: int
    pid: int


def bare() -> list[str]:
    """Give the command of the bare ASGI application on uvicorn, with all that uvicorn can leave out left out."""
    options = "--loop uvloop --http httptools --ws none --lifespan off --no-access-log --no-proxy-headers"
    lean = [*options.split(), "--no-server-header", "--log-level", "error", "--port", "{port}"]
    return [sys.executable, "-m", "uvicorn", "benchmarks.apps.bare:app", *lean]


def ours(name: str) -> list[str]:
    """Give the command that serves one of our handlers."""
    return [sys.executable, "-m", "trimtab", "serve", f"{APPS / 'handlers.py'}:{name}", "--port", "{port}"]


def cpu(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(command: Sequence[str], *, ready: str = "", **environ: str) -> Iterator[Server]:
    """Run a server on a free port, put in for `{port}`; wait until it answers, a GET of `ready` if there is such a path.

    Errors: RuntimeError with its words.
    """
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    child = subprocess.Popen(
        [part.replace("{port}", str(port)) for part in command],
        env={**os.environ, **{name: value.replace("{port}", str(port)) for name, value in environ.items()}},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _until_it_answers(child, port, ready)
        yield Server(port, child.pid)
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def _until_it_answers(child: subprocess.Popen[bytes], port: int, ready: str) -> None:
    deadline = time.monotonic() + _WITHIN
    while True:
        try:
            if (get(port, ready) if ready else post(port)) == 200:
                return
        except OSError:
            pass
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise RuntimeError(f"{child.args!r} does not answer: {child.communicate()[1].decode()[-2000:]}")
        time.sleep(0.02)


def get(port: int, path: str) -> int:
    """Ask for a path on a connection of its own; give the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def post(port: int, body: bytes = PAYLOAD) -> int:
    """Send one request on a connection of its own; give the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
