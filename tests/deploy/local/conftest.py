"""A real daemon in a home of its own, for tests that deploy; afterwards nothing of it may be left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from trimtab.config import settings
from trimtab.deploy.abc import Deployment
from trimtab.deploy.local.target import LocalTarget
from trimtab.spec import Function, FunctionSpec, Metadata, Scale, Source


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


class Local:
    """One home with its daemon, and what tests do with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = settings({"TRIMTAB_HOME": str(home)})
        self.target = LocalTarget(self.settings)
        self.code = home.parent / "code"
        self.code.mkdir(exist_ok=True)

    def function(self, name: str, code: str, **spec: Any) -> Function:
        """Make a document with the code inside; `scale` may be a dict of Scale's fields."""
        scale = Scale(**spec.pop("scale", {}))
        handler = spec.pop("handler", "handler:handler")
        return Function(
            metadata=Metadata(name=name),
            spec=FunctionSpec(handler=handler, source=Source(code=code), scale=scale, **spec),
        )

    def deploy(self, name: str, code: str, **spec: Any) -> Deployment:
        return self.target.deploy(self.function(name, code, **spec))

    def pid(self) -> int:
        return int(self.target.status()["pid"])

    def kill(self) -> None:
        """SIGKILL the daemon."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid))

    def processes(self) -> dict[int, str]:
        """Every live process that belongs to this home, by its environment."""
        mark = f"TRIMTAB_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and int(folder.name) != os.getpid():
                try:
                    if mark in (folder / "environ").read_bytes().split(b"\0") and not gone(int(folder.name)):
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
        return found

    def cli(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line in this home."""
        environ = {**os.environ, "TRIMTAB_HOME": str(self.home), **more.pop("env", {})}
        return subprocess.run(
            [sys.executable, "-m", "trimtab", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            **more,
        )


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie that nobody collects counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """Poll until the condition holds; fail the test when it does not."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {condition!r}")
        time.sleep(0.01)


def call(
    url: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    method: str | None = None,
    path: str = "",
) -> Answer:
    """Send one request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(
            method or ("POST" if body is not None else "GET"), path or parts.path or "/", body, headers or {}
        )
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    home = tmp_path / "Zuhause mit Ümlaut"
    made = Local(home)
    yield made
    made.target.down()
    left = made.processes()
    until(lambda: not made.processes(), 15)
    assert not made.processes(), left


@pytest.fixture(name="call")
def _call() -> Callable[..., Answer]:
    return call


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until
