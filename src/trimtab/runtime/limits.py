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
    """`slots` 0 = no limit. First come, first served.

    `acquire` and `release` of the unlimited case are left to the caller: it only counts `in_flight`.
    """

    def __init__(self, slots: int, queue: int | None = None) -> None:
        self.slots = slots
        self.room = slots * QUEUE_PER_SLOT if queue is None else queue
        self.in_flight = 0
        self.on_change: Callable[[], None] | None = None
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """No slot is free."""
        return 0 < self.slots <= self.in_flight

    async def acquire(self) -> None:
        """Take a slot, waiting for one if need be. Errors: Full."""
        if self.in_flight < self.slots:
            self.in_flight += 1
            self._changed()
            return
        if len(self._queue) >= self.room:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._changed()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the slot was ours already
            else:
                self._queue.remove(turn)
                self._changed()
            raise

    def release(self) -> None:
        """Give a slot back, or hand it to the request that waited longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self._changed()
                return
        self.in_flight -= 1
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
