"""The local target in a home of its own, with its daemon ended at the end."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from trimtab.config import settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.spec import Function, FunctionSpec, Metadata, Scale, Source

_WITHIN = 60.0


class Home:
    """A folder with a daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = LocalTarget(settings({"TRIMTAB_HOME": str(folder / "home")}))

    def deploy(self, name: str, code: str, **scale: object) -> str:
        """Deploy code; give its URL."""
        spec = FunctionSpec(handler="handler:handler", source=Source(code=code), scale=Scale(**scale))  # type: ignore[arg-type]
        return self.target.deploy(Function(metadata=Metadata(name=name), spec=spec)).url

    def trimtab(self, *arguments: str) -> None:
        """Run the command line. Errors: RuntimeError with its words."""
        done = subprocess.run(
            [sys.executable, "-m", "trimtab", *arguments],
            env={**os.environ, "TRIMTAB_HOME": str(self.folder / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"trimtab {' '.join(arguments)}: {done.stderr}")


@contextmanager
def home() -> Iterator[Home]:
    """Make a home, start its daemon, end it."""
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        made = Home(Path(folder))
        made.target.up()
        try:
            yield made
        finally:
            made.target.down()


def ask(url: str) -> str:
    """Send one request on a connection of its own; give the body. Errors: RuntimeError for any status but 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{url} answered {response.status}: {body}")
    return body


def until(condition: Callable[[], object], pause: float = 0.05) -> None:
    """Poll until the condition holds. Errors: TimeoutError."""
    deadline = time.monotonic() + _WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_WITHIN:g} s")
        time.sleep(pause)
