"""Empties an outbox into a sink: several requests in flight, batches where the sink takes them, retries, patience.

A sink that does not answer, or answers that it is overloaded, is *away*: one probe at a time, ever more rarely, and
meanwhile everything goes to disk. An event that alone is refused again and again while others are taken is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from msgspec import Struct

from trimtab.errors import SendError
from trimtab.runtime.binding import write_batch, write_binary
from trimtab.runtime.client import Client, Reply
from trimtab.runtime.outbox import Item, Outbox
from trimtab.runtime.retry import backoff, retried, retry_after

logger = logging.getLogger(__name__)

ACCEPTS_BATCHES = b"trimtab-batch"
"""Header with which our broker's answers invite batched content mode (it must be solicited: HTTP binding, section 3)."""
_AWAY = frozenset({0, 408, 429, 502, 503, 504})
_STRIKES = 5
"""Refusals in a row after which the sink is taken to be away, whatever the status."""
_RETRY_AFTER_MOST = 3600.0


class Policy(Struct, frozen=True, kw_only=True):
    """How an emitter sends. Times in seconds."""

    in_flight: int = 8
    """Requests at a time; more would only queue at the sink."""
    batch: int = 100
    """Events of one batch, for sinks that take batches."""
    batch_bytes: int = 1024 * 1024
    timeout: float = 15.0
    """Of one request."""
    tries: int = 10
    """After so many, an event is dropped if the sink took others meanwhile: Knative's default."""
    delay: float = 0.2
    """Before the second try; doubles each time."""
    delay_most: float = 60.0
    linger: float = 0.01
    """For which an event waits for company; spares a wake-up of the sending thread per event."""


class Sender:
    """Runs in the emitter's thread. `wake` it when the outbox may have become ready."""

    def __init__(self, sink: str, outbox: Outbox, client: Client, policy: Policy) -> None:
        self._sink, self._outbox, self._client, self._policy = sink, outbox, client, policy
        self.loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._sending: dict[asyncio.Task[None], list[Item]] = {}
        self._failures = 0
        """Requests in a row that failed."""
        self._away = False
        self._away_until = 0.0
        self._probes = 0
        """How often the sink was found to be away, in a row."""
        self._batches = False
        self._finishing = self._over = False

    def wake(self) -> None:
        """Have a look at the outbox. In the loop's thread."""
        self._event.set()

    def linger(self) -> None:
        """Have a look at the outbox a little later. In the loop's thread."""
        self.loop.call_later(self._policy.linger, self._event.set)

    def finish(self, deadline: float) -> None:
        """Come to an end within so many seconds. In the loop's thread."""
        self._finishing = True
        self.loop.call_later(deadline, self._end)
        self._event.set()

    def _end(self) -> None:
        self._over = True
        self._event.set()

    async def run(self, idle: Callable[[], None]) -> None:
        """Send until told to finish. `idle` is called before each wait: from then on a new event must wake the sender."""
        while not self._finished():
            self._event.clear()
            idle()
            while self._may_send() and (items := self._take()):
                self._start(items)
            if self._away or (self._outbox.half_full and len(self._sending) >= self._policy.in_flight):
                self._outbox.spill()
            if not self._finished():
                await self._wait()
        tasks = list(self._sending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finished(self) -> bool:
        if not self._finishing:
            return False
        if self._over:
            return True
        if self._outbox.empty and not self._sending:
            return True
        # Nobody is there to take the rest; the disk keeps it, and the replica need not wait.
        return self._away and self._outbox.spool is not None

    def _may_send(self) -> bool:
        if self._away:
            return not self._sending and self.loop.time() >= self._away_until
        return len(self._sending) < self._policy.in_flight

    async def _wait(self) -> None:
        """Wait for a wake-up, an answer, or the time at which there is something to do without either."""
        if self._may_send() and self._outbox.ready:
            return  # its time came since we looked
        delay: float | None = max(0.0, self._away_until - self.loop.time()) if self._away else 0.0
        if not delay:
            delay = self._outbox.next_try if self._may_send() else None
        timer = None if delay is None else self.loop.call_later(delay, self._event.set)
        await self._event.wait()
        if timer is not None:
            timer.cancel()

    def _take(self) -> list[Item]:
        together = self._batches and not self._away
        return self._outbox.take(self._policy.batch if together else 1, self._policy.batch_bytes)

    def _start(self, items: list[Item]) -> None:
        task = self.loop.create_task(self._send(items))
        self._sending[task] = items
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        items = self._sending.pop(task)
        self._event.set()
        if task.cancelled():
            self._outbox.again(items, 0.0)
        elif (error := task.exception()) is not None:
            logger.error("an emitted event could not be sent", exc_info=error)
            self._outbox.drop(items, f"{type(error).__name__} while sending")

    async def _send(self, items: list[Item]) -> None:
        envelopes = [item.envelope for item in items]
        headers, body = write_binary(envelopes[0]) if len(items) == 1 else write_batch(envelopes)
        try:
            reply = await self._client.request("POST", self._sink, headers, body, timeout=self._policy.timeout)
        except SendError as exc:
            self._refused(items, 0, str(exc), None)
        else:
            self._answered(items, reply)

    def _answered(self, items: list[Item], reply: Reply) -> None:
        if 200 <= reply.status < 300:
            self._batches = reply.header(ACCEPTS_BATCHES) == b"accept"
            self._outbox.sent_all(items)
            self._succeeded()
        elif retried(reply.status):
            wish = retry_after((reply.header(b"retry-after") or b"").decode("latin-1"), time.time())
            self._refused(items, reply.status, f"status {reply.status}", wish)
        else:
            self._succeeded()
            if len(items) > 1:
                self._split(items)
            else:
                self._outbox.drop(items, f"the sink answered {reply.status}")

    def _succeeded(self) -> None:
        """Note that the sink is there, whatever it thinks of the event."""
        if self._away:
            logger.info("the sink %s is back", self._sink)
        self._away, self._away_until, self._failures, self._probes = False, 0.0, 0, 0

    def _refused(self, items: list[Item], status: int, reason: str, wish: float | None) -> None:
        self._failures += 1
        wish = min(wish or 0.0, _RETRY_AFTER_MOST)
        if status in _AWAY or self._failures >= _STRIKES:
            self._leave(reason, wish)
        if len(items) == 1:
            self._try_again(items[0], status, wish)
        elif status in _AWAY:
            self._outbox.again(items, max(self._backoff(1), wish))
        else:
            self._split(items)

    def _try_again(self, item: Item, status: int, wish: float) -> None:
        if item.tries == 0:
            item.sent_before = self._outbox.sent
        item.tries += 1
        if status and item.tries >= self._policy.tries and self._outbox.sent > item.sent_before:
            self._outbox.drop([item], f"the sink answered {status} to {item.tries} tries")
        else:
            self._outbox.again([item], max(self._backoff(item.tries), wish))

    def _leave(self, reason: str, wish: float) -> None:
        now = self.loop.time()
        if not self._away:
            logger.warning("the sink %s is away, events are kept for it: %s", self._sink, reason)
        if now < self._away_until:
            # Another request of the same moment: no reason to be more patient.
            self._away_until = max(self._away_until, now + wish)
            return
        self._away = True
        self._probes += 1
        self._away_until = now + max(self._backoff(self._probes), wish)

    def _backoff(self, tries: int) -> float:
        return backoff(tries, random.random(), delay=self._policy.delay, most=self._policy.delay_most)

    def _split(self, items: list[Item]) -> None:
        """Send the events of a refused batch one by one: one of them may be what the sink does not like."""
        self._batches = False
        for item in items:
            self._outbox.again([item], 0.0)
