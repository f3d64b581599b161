"""The simulated replicas and the one queue before them, moved by events in order of time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count


class Clock:
    """Calls actions at their times; of those for one moment the first that was given goes first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Call `action` at `time`, which is not in the past."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def step(self) -> None:
        """Go on to the next action and call it."""
        self.now, _, action = heapq.heappop(self._events)
        action()


class Area:
    """The integral of a number over time."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._area, self._since = clock, 0.0, 0.0
        self.value = 0

    def add(self, more: int) -> None:
        """Change the number now."""
        self._area += self.value * (self._clock.now - self._since)
        self._since = self._clock.now
        self.value += more

    def take(self) -> float:
        """The integral since the last `take`."""
        self.add(0)
        area, self._area = self._area, 0.0
        return area


class Replica:
    """From its start to its end it counts; between it is ready or starting, and at last may only finish its work."""

    __slots__ = ("busy", "leaving", "ready")

    def __init__(self) -> None:
        self.busy = 0
        self.ready = self.leaving = False


class Pool:
    """Replicas of `slots` slots each; requests that find none free wait, first come first served, up to `limit`."""

    def __init__(self, clock: Clock, times: Iterator[float], slots: float, cold_start: float, limit: int) -> None:
        self._clock, self._times, self._slots, self._cold_start, self._limit = clock, times, slots, cold_start, limit
        self._open: deque[Replica] = deque()
        self._queue: deque[tuple[float, float]] = deque()
        self.kept: list[Replica] = []
        """Starting or ready, oldest first; not those that only finish their work."""
        self.in_flight, self.waiting, self.replicas = Area(clock), Area(clock), Area(clock)
        self.waits: list[float] = []
        self.arrived = self.refused = self.started = self.cold_requests = 0

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return sum(replica.ready for replica in self.kept)

    def warm(self, number: int) -> None:
        """Put replicas there that are ready now and were never started."""
        for _ in range(number):
            self._ready(self._add())

    def arrive(self, duration: float | None) -> None:
        """A request comes now and takes `duration`, or else a service time."""
        self.arrived += 1
        self.cold_requests += not any(replica.ready for replica in self.kept)
        takes = next(self._times) if duration is None else duration
        if self._open:
            self._serve(self._clock.now, takes)
        elif len(self._queue) < self._limit:
            self._queue.append((self._clock.now, takes))
            self.waiting.add(1)
        else:
            self.refused += 1

    def scale(self, want: int) -> None:
        """Start replicas, or let go first of those that are still starting, then of idle ones, newest first."""
        for _ in range(want - len(self.kept)):
            self.started += 1
            self._clock.at(self._clock.now + self._cold_start, partial(self._ready, self._add()))
        newest_first = self.kept[::-1]
        newest_first.sort(key=lambda replica: (replica.ready, replica.busy))
        for replica in newest_first[: max(0, len(self.kept) - want)]:
            self._leave(replica)

    def _add(self) -> Replica:
        self.kept.append(replica := Replica())
        self.replicas.add(1)
        return replica

    def _ready(self, replica: Replica) -> None:
        if replica.leaving:
            return
        replica.ready = True
        self._open.append(replica)
        self._pull()

    def _leave(self, replica: Replica) -> None:
        self.kept.remove(replica)
        replica.leaving = True
        if replica in self._open:
            self._open.remove(replica)
        if not replica.busy:
            self.replicas.add(-1)

    def _pull(self) -> None:
        while self._open and self._queue:
            self.waiting.add(-1)
            self._serve(*self._queue.popleft())

    def _serve(self, arrived: float, takes: float) -> None:
        replica = self._open.popleft()
        replica.busy += 1
        if replica.busy < self._slots:
            self._open.append(replica)
        self.waits.append(self._clock.now - arrived)
        self.in_flight.add(1)
        self._clock.at(self._clock.now + takes, partial(self._finish, replica))

    def _finish(self, replica: Replica) -> None:
        self.in_flight.add(-1)
        replica.busy -= 1
        if not replica.leaving and replica.busy + 1 >= self._slots:
            self._open.append(replica)
            self._pull()
        elif replica.leaving and not replica.busy:
            self.replicas.add(-1)
