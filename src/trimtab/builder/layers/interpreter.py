"""Finds a Python of the target's version on this machine: only such a one can compile for it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

_ASK = (
    "import sys, json, platform; print(json.dumps([sys.executable, platform.python_version(),"
    " sys.implementation.cache_tag]))"
)


class Interpreter(NamedTuple):
    """A CPython. `version` is the whole one, because a patch release may compile a file differently."""

    path: Path
    version: str
    tag: str
    """Between the module's name and `.pyc`, such as `cpython-312`."""


@cache
def find(python: str) -> Interpreter | None:
    """Give a CPython of minor version `python` ("3.12"): the one that runs now, or one that uv knows; None: none here.

    Nothing is downloaded: an image must not depend on whether this machine was online.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python == ours and sys.implementation.name == "cpython" and sys.implementation.cache_tag:
        return Interpreter(Path(sys.executable), ".".join(map(str, sys.version_info[:3])), sys.implementation.cache_tag)
    found = _uv(python)
    return _asked(found) if found else None


def _uv(python: str) -> str:
    from uv import find_uv_bin

    command = [
        find_uv_bin(),
        "python",
        "find",
        "--no-python-downloads",
        "--no-project",
        "--system",
        f"cpython@{python}",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    return run.stdout.strip() if run.returncode == 0 else ""


def _asked(path: str) -> Interpreter | None:
    run = subprocess.run([path, "-I", "-S", "-c", _ASK], capture_output=True, text=True, check=False)
    if run.returncode:
        return None
    executable, version, tag = msgspec.json.decode(run.stdout, type=tuple[str, str, str])
    return Interpreter(Path(executable), version, tag)
