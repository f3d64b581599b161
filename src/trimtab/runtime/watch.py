"""Requests under way: which of them are late, and whose caller is gone.

A timer per request would cost more than many a handler. All requests of a function have the same time, so they become
late in the order they came, and one timer that looks four times a second, while there is anything to look at, is enough.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

LATE = "late"
GONE = "gone"
EVERY = 0.25


class Watch:
    """The requests of one loop. A request that is late, or whose caller is gone, has its task cancelled."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._every = min(EVERY, timeout / 4) if timeout else EVERY
        self._running: dict[Any, tuple[float, Any]] = {}
        self._why: dict[Any, str] = {}
        self._listening: dict[Any, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, began: float, receive: Any) -> Any:
        """Watch the current task. `receive` is where a disconnect would show; None: it is not to be disturbed by one."""
        task = asyncio.current_task()
        self._running[task] = (began, receive)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)
        return task

    def answered(self, task: Any) -> None:
        """It is not late any more, however long the rest of its answer takes."""
        self._running.pop(task, None)

    def discard(self, task: Any) -> None:
        """Watch it no more."""
        self._running.pop(task, None)
        if self._listening:
            self.deaf(task)
        if self._why:
            self._why.pop(task, None)

    def listen(self, task: Any, receive: Any) -> None:
        """Notice from now on when its caller goes; nothing else may read from `receive`."""
        if task not in self._listening:
            self._listening[task] = asyncio.ensure_future(self._listen(task, receive))

    def deaf(self, task: Any) -> None:
        """Do not notice any more when its caller goes."""
        if (listener := self._listening.pop(task, None)) is not None:
            listener.cancel()

    def why(self, task: Any) -> str | None:
        """Say why a task was cancelled: LATE, GONE, or None where it was not us."""
        return self._why.get(task)

    def _look(self) -> None:
        self._timer = None
        if not self._running:
            return
        now = monotonic()
        for task, (began, receive) in list(self._running.items()):
            if now - began < self._every:
                break
            if self._timeout and now - began >= self._timeout:
                self._cancel(task, LATE)
            elif receive is not None:
                self.listen(task, receive)
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    async def _listen(self, task: Any, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if task in self._listening:
            self._cancel(task, GONE)

    def _cancel(self, task: Any, why: str) -> None:
        if task not in self._why:
            self._why[task] = why
            task.cancel()
