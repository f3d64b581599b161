"""One subscription in memory: the deliveries that come next, and how many there are in all.

The file holds every delivery; a line holds a window of them, so that a backlog of a million costs no memory. New events
enter the window straight from the commit for as long as it has room; after that they are read from the file in pages.
"""

from __future__ import annotations

import math
from collections import Counter, deque

from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker.entries import Arrival, Delivery
from trimtab.triggers.broker.pages import BYTES, ROWS, Page
from trimtab.triggers.broker.retry import Policy
from trimtab.triggers.broker.stats import Stats
from trimtab.triggers.broker.subscriptions import Standing

LOW = ROWS // 4
"""So many left in the window, and the next page is read."""


class Line:
    """The deliveries of one subscription. `claimed` are those in the window or in flight, by event."""

    def __init__(self, subscription: Subscription, policy: Policy, standing: Standing) -> None:
        self.subscription, self.policy, self.n = subscription, policy, standing.n
        self.pending, self.dead = standing.pending, standing.dead
        self.delivered, self.failed = standing.delivered, standing.failed
        self.last, self.outcome = standing.last, standing.outcome
        self.claimed: set[int] = set()
        self.leaving = False
        """The subscription is being removed: what is pending has gone, or is about to go, to the dead letters."""
        self.loading = False
        self.next_due = min(standing.waiting, default=math.inf)
        """When the first retry that is not in the window is due."""
        self._waiting = Counter(map(int, standing.waiting))
        self._fresh: deque[Delivery] = deque()
        self._again: deque[Delivery] = deque()
        self._again_turn = True
        self._cursor = 0
        self._more = standing.pending > 0
        self._bytes = 0

    @property
    def remembers(self) -> bool:
        """Whether the file keeps the (source, id) of its events."""
        return self.subscription.broker is None or self.subscription.deduplicate > 0

    @property
    def ready(self) -> bool:
        """Whether there is something to send now."""
        return not self.subscription.paused and not self.leaving and bool(self._fresh or self._again)

    def wanted(self, now: float) -> int:
        """Deliveries that are due or in flight."""
        if self.subscription.paused:
            return len(self.claimed) - len(self._fresh) - len(self._again)
        return self.pending - sum(count for due, count in self._waiting.items() if due > now)

    def offer(self, arrival: Arrival) -> None:
        """Take note of a committed event; it enters the window when nothing older waits in the file."""
        self.pending += 1
        if self._more or self.loading or len(self._fresh) >= ROWS or self._bytes > BYTES:
            self._more = True
            return
        self._cursor = arrival.seq
        self._push(self._fresh, Delivery(arrival.seq, arrival.envelope, arrival.ttl))

    def take(self) -> Delivery | None:
        """Give the next delivery: in order of acceptance, retries and first tries by turns so that neither starves."""
        queue = self._again if self._again and (self._again_turn or not self._fresh) else self._fresh
        if not queue:
            return None
        self._again_turn = queue is self._fresh
        delivery = queue.popleft()
        self._bytes -= delivery.weight
        return delivery

    def hungry(self, now: float) -> bool:
        """Whether a page should be read."""
        if self.loading or self.leaving or self.subscription.paused:
            return False
        return (self._more and len(self._fresh) <= LOW) or (self.next_due <= now and len(self._again) <= LOW)

    def sleeps(self, now: float) -> bool:
        """Whether nothing but the time wakes it: a retry that is due already waits for room in the window instead."""
        return not self.loading and not self.subscription.paused and now < self.next_due < math.inf

    def begin_load(self) -> int:
        """Note that a page is being read; give the event after which it starts."""
        self.loading, self._more, self.next_due = True, False, math.inf
        return self._cursor

    def end_load(self, page: Page | None) -> None:
        """Take the page in; None: it could not be read, so all is as before."""
        self.loading = False
        if page is None:
            self._more, self.next_due = True, 0.0
            return
        self._more = self._more or page.more
        self.next_due = min(self.next_due, page.next_due)
        for delivery in page.again:
            if delivery.seq not in self.claimed:
                self._push(self._again, delivery)
        for delivery in page.fresh:
            self._cursor = delivery.seq
            self._push(self._fresh, delivery)

    def release(self, delivery: Delivery) -> None:
        """A delivery is no longer pending: delivered, or given up."""
        self.claimed.discard(delivery.seq)
        self.pending -= 1
        self._forget(delivery.due)

    def put_off(self, delivery: Delivery, due: float) -> None:
        """A delivery waits for its next try."""
        self.claimed.discard(delivery.seq)
        self._forget(delivery.due)
        self.wait(due)

    def ended(self, at: float, text: str, *, delivered: bool) -> None:
        """Count a try."""
        self.last, self.outcome = at, text
        self.delivered += delivered
        self.failed += not delivered

    def stats(self) -> Stats:
        """The figures."""
        return Stats(
            pending=self.pending,
            delivered=self.delivered,
            failed=self.failed,
            dead=self.dead,
            last=self.last,
            outcome=self.outcome,
        )

    def wait(self, due: float, count: int = 1) -> None:
        """Take note of deliveries in the file that are due at a time."""
        self._waiting[int(due)] += count
        self.next_due = min(self.next_due, due)

    def _push(self, queue: deque[Delivery], delivery: Delivery) -> None:
        self.claimed.add(delivery.seq)
        self._bytes += delivery.weight
        queue.append(delivery)

    def _forget(self, due: float) -> None:
        if due:
            self._waiting[int(due)] -= 1
            if not self._waiting[int(due)]:
                del self._waiting[int(due)]
