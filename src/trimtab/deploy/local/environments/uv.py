"""Runs `uv`, and says in our words what it could not do."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path

from trimtab.errors import DeployFailed, TargetError

_FOREIGN = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT")
_MOST_LINES = 20
_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the given program, which the kernel kills when the given parent dies: a uv that outlived its daemon would go
on writing where the next one begins anew."""
_OFFLINE = re.compile(
    r"error sending request|dns error|failed to fetch|request failed|network|timed out", re.IGNORECASE
)
_UNMET = re.compile(r"no solution found", re.IGNORECASE)
_UNKNOWN = "was not found in the package registry"
_DECORATION = re.compile(r"^\s*(?:error:|cause:|Caused by:|[\u00d7├╰│─▶]+)\s*")


def find() -> str:
    """The path of `uv`: that of the `build` extra, or the one on PATH. Errors: TargetError."""
    try:
        from uv import find_uv_bin
    except ImportError:
        found = shutil.which("uv")
    else:
        try:
            found = find_uv_bin()
        except FileNotFoundError:
            found = shutil.which("uv")
    if not found:
        raise TargetError("functions with requirements need uv: pip install 'trimtab[build]'")
    return found


async def run(*arguments: str, cwd: Path, stdin: str = "", failing: str) -> str:
    """Run `uv` to its end and return its standard output; when cancelled, its processes are killed.

    Errors: DeployFailed, opening with `failing` or with the reason where it is a known one; TargetError without uv.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), find()),
        *arguments,
        cwd=cwd,
        env=_environ(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(stdin.encode())
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if process.returncode:
        raise DeployFailed(explain(errors.decode(errors="replace"), failing))
    return output.decode()


def explain(errors: str, failing: str) -> str:
    """Turn what uv wrote to standard error into a message: what failed, and the lines that say why."""
    lines = errors.replace("\r", "\n").splitlines()
    first = next((n for n, line in enumerate(lines) if re.match(r"\s*(?:error:|\u00d7)", line)), 0)
    told = [line.rstrip() for line in lines[first:]]
    told = told[: next((n for n, line in enumerate(told) if line.startswith("hint:")), len(told))]
    told = [_DECORATION.sub("", line) for line in told if line.strip(" │")]
    if _UNMET.search(errors):
        unknown = any(_UNKNOWN in line for line in told)
        failing, told = "a required package does not exist" if unknown else "the requirements cannot be met", told[1:]
    elif _OFFLINE.search("\n".join(told)):
        failing = f"{failing}: the package index does not answer (is this machine online?)"
    cut = [] if len(told) <= _MOST_LINES else [f"... ({len(told) - _MOST_LINES} lines more)"]
    return "\n  ".join([f"{failing}:", *told[:_MOST_LINES], *cut])


def _environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**kept, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
