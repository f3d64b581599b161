"""How long the log keeps what nobody waits for any more, and the task that forgets the rest."""

from __future__ import annotations

import logging

from msgspec import Struct

from trimtab.errors import StoreError
from trimtab.triggers.broker.clock import Clock
from trimtab.triggers.broker.queue import Queue

logger = logging.getLogger(__name__)

PAUSE = 10.0
"""Seconds between two rounds."""
STEPS = 400
"""Transactions of one round at most; the next round goes on from there."""


class Retention(Struct, frozen=True, kw_only=True):
    """The last `count` events stay, as long as they are younger than `age` seconds."""

    count: int = 10_000
    age: float = 86400.0


async def tidy(queue: Queue, retention: Retention, clock: Clock) -> None:
    """Forget old events for ever; cancel it to end it."""
    position = 0
    while True:
        await clock.sleep(PAUSE)
        try:
            position = await sweep(queue, retention, clock.now(), position)
            await queue.forget(clock.now())
        except StoreError as exc:
            logger.warning("old events stay in the log for now: %s", exc)


async def sweep(queue: Queue, retention: Retention, now: float, position: int = 0) -> int:
    """Do one round from `position` on; give where the next one starts."""
    for _ in range(STEPS):
        position = await queue.sweep(position, retention.count, now - retention.age)
        if not position:
            break
    return position
