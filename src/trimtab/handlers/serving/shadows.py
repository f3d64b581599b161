"""Copies of requests for a model whose answers nobody gets: made after the caller has the real one, and never waited for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("trimtab.models")

MOST = 64
"""Copies under way at a time; a request beyond is not copied, and counted."""


class Shadows:
    """One process's copies."""

    def __init__(self) -> None:
        self.copied = self.left_out = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def copy(self, answer: Callable[[], Awaitable[object]]) -> None:
        """Have a copy answered some time soon."""
        if len(self._tasks) >= MOST:
            self.left_out += 1
            return
        task = asyncio.get_running_loop().create_task(self._run(answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.copied += 1

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, answer: Callable[[], Awaitable[object]]) -> None:
        try:
            await answer()
        except Exception as exc:
            logger.warning("a shadow failed: %s: %s", type(exc).__name__, exc)
