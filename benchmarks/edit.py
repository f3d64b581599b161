"""From saving a changed file to the new revision's first answer on the local target: by the command line and by Python."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.home import Home, ask, home, until
from benchmarks.rounds import Effort, alternate, milliseconds
from benchmarks.row import Row

_CODE = "VERSION = {!r}\n\n\ndef handler(context, event):\n    return VERSION\n"


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    with home() as local:
        file, versions = local.folder / "hello.py", count()
        file.write_text(_CODE.format("first"), "utf-8")
        local.trimtab("deploy", str(file), "--min", "1")
        url = local.target.get("hello").url
        sides = {
            "command": partial(milliseconds, lambda: _edit(local, file, url, next(versions))),
            "python": partial(milliseconds, lambda: _redeploy(local, next(versions))),
            "bare": partial(milliseconds, partial(subprocess.run, [sys.executable, "-c", "pass"], check=True)),
        }
        local.deploy("again", _CODE.format("first"), min=1)
        found = alternate(sides, max(1, effort.count // 2))
    row = partial(Row, unit="ms", beside="bare Python, no work", theirs=found["bare"], bound="at most")
    return [
        row(what="edit -> new revision answering, `trimtab deploy`", ours=found["command"], must=400),
        row(what="edit -> new revision answering, Python's `deploy()`", ours=found["python"]),
    ]


def _edit(local: Home, file: Path, url: str, version: int) -> None:
    file.write_text(_CODE.format(f"version {version}"), "utf-8")
    local.trimtab("deploy", str(file), "--min", "1")
    until(lambda: ask(url) == f"version {version}", pause=0.001)


def _redeploy(local: Home, version: int) -> None:
    url = local.deploy("again", _CODE.format(f"version {version}"), min=1)
    until(lambda: ask(url) == f"version {version}", pause=0.001)
