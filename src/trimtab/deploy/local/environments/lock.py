"""A lock between tasks and processes that the kernel gives back when its holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_POLL = 0.05


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock file `path`; waits for it for as long as it takes."""
    while (fd := try_lock(path)) is None:
        await asyncio.sleep(_POLL)
    try:
        yield
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """Lock `path` now and return the fd that holds the lock, or None when another holds it.

    The holder may remove the file: whoever then gets the lock of the removed one does not have it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(fd), path.stat())
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        os.close(fd)
        return None
    return fd
