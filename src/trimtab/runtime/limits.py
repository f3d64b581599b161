"""How many requests one process works on at once, and how many may wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

QUEUE_PER_SLOT = 10
"""Waiting requests per slot where the spec does not say: Knative's queue-proxy has ten."""


class Full(Exception):
    """Every slot is taken and the queue is full."""


class Limiter:
    """`slots` 0 = no limit. First come, first served: `enter`, or where that gives False `wait`; then `release`."""

    def __init__(self, slots: int, queue: int | None = None) -> None:
        self.slots = slots
        self.room = slots * QUEUE_PER_SLOT if queue is None else queue
        self.in_flight = 0
        self.on_change: Callable[[], None] | None = None
        """Called when a slot or the queue has changed; not without a limit."""
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """No slot is free."""
        return 0 < self.slots <= self.in_flight

    def enter(self) -> bool:
        """Take a slot, if one is free."""
        if self.slots:
            if self.in_flight >= self.slots:
                return False
            self.in_flight += 1
            self._changed()
            return True
        self.in_flight += 1
        return True

    async def wait(self) -> None:
        """Take the next slot that nobody waits for longer. Errors: Full."""
        if len(self._queue) >= self.room:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._changed()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()  # the slot was ours already
            elif turn in self._queue:
                self._queue.remove(turn)
                self._changed()
            raise

    def release(self) -> None:
        """Give a slot back, or hand it to the request that has waited longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self._changed()
                return
        self.in_flight -= 1
        if self.slots:
            self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
