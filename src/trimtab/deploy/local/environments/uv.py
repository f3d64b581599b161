"""Runs `uv`, and says in our words what it could not do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from trimtab.builder.requirements.uv import environ, explain, find
from trimtab.errors import DeployFailed

__all__ = ["explain", "find", "run"]

_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the given program, which the kernel kills when the given parent dies: a uv that outlived its daemon would go
on writing where the next one begins anew."""


async def run(*arguments: str, cwd: Path, stdin: str = "", failing: str) -> str:
    """Run `uv` to its end and return its standard output; when cancelled, its processes are killed.

    Errors: DeployFailed, opening with `failing` or with the reason where it is a known one; TargetError without uv.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), find()),
        *arguments,
        cwd=cwd,
        env=environ(),
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
