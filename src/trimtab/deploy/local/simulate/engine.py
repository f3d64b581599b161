"""The simulation: requests, replicas with slots, one queue before them, and the autoscaler."""

from __future__ import annotations

import math
from functools import partial

from trimtab.deploy.local.autoscale import SAMPLE_INTERVAL, TICK_INTERVAL, Autoscaler, ScalerConfig
from trimtab.deploy.local.simulate.pool import Clock, Pool
from trimtab.deploy.local.simulate.report import Change, Point, Report, Waits
from trimtab.deploy.local.simulate.trace import Arrival, Service, Trace
from trimtab.errors import SpecError
from trimtab.spec import Scale

_BACKLOG = 4096
"""Linux's default `somaxconn`: how many connections wait in the kernel for a replica to accept them."""


def simulate(
    scale: Scale,
    trace: Trace,
    *,
    service: Service | str | float = "100ms",
    cold_start: float = 0.1,
    seed: int = 0,
    queue: int = _BACKLOG,
    replicas: int | None = None,
    max_replicas: int = 16,
) -> Report:
    """Replay `trace` against a function that scales by `scale`, with the daemon's own autoscaler.

    A replica takes `scale.concurrency` requests at once (0: any number) and each keeps its slot for the trace's
    duration, or for a `service` time where the trace has none; requests do not slow each other down. All wait in one
    queue, first come first served, as in the kernel's backlog; beyond `queue` they are refused. A replica is ready
    `cold_start` seconds after its start. The function begins deployed and idle, with `replicas` (None: `scale.min`).

    Errors: SpecError for an impossible service or cold start time.
    """
    if not 0 <= cold_start < math.inf:
        raise SpecError("cold_start", cold_start, "seconds, zero or more")
    if queue < 0:
        raise SpecError("queue", queue, "a number of requests, zero or more")
    config = ScalerConfig.of(scale, max_replicas=max_replicas)
    times = (service if isinstance(service, Service) else Service.parse(service)).times(seed)
    clock = Clock()
    pool = Pool(clock, times, scale.concurrency or math.inf, cold_start, queue)
    pool.warm(config.min if replicas is None else min(replicas, config.max))
    return _Run(config, clock, pool, trace, seed).report()


class _Run:
    """What the daemon does: measures every second, decides every other, and at once when a request finds nothing."""

    def __init__(self, config: ScalerConfig, clock: Clock, pool: Pool, trace: Trace, seed: int) -> None:
        self._config, self._clock, self._pool, self._trace = config, clock, pool, trace
        self._scaler = Autoscaler(config, initialised=True)
        self._arrivals = trace.arrivals(seed)
        self._more, self._done = True, False
        self._busy_until = self._replica_seconds = 0.0
        self._want = len(pool.kept)
        self._arrived = self._peak = 0
        self._points: list[Point] = []
        self._changes: list[Change] = []

    def report(self) -> Report:
        """Run to the end."""
        self._decide()
        self._next_arrival()
        self._clock.at(SAMPLE_INTERVAL, self._sample)
        while not self._done:
            self._clock.step()
        pool = self._pool
        return Report(
            seconds=self._clock.now,
            requests=pool.arrived,
            served=len(pool.waits),
            refused=pool.refused,
            cold_starts=pool.started,
            cold_requests=pool.cold_requests,
            replica_seconds=self._replica_seconds,
            peak_replicas=self._peak,
            waits=Waits.of(pool.waits),
            points=self._points,
            changes=self._changes,
        )

    def _goes_on(self) -> bool:
        pool, config, now = self._pool, self._config, self._clock.now
        if self._more or now < self._trace.end or pool.in_flight.value or pool.waiting.value:
            self._busy_until = now
        # Whatever windows and delays there are have passed after this.
        settled = self._busy_until + 4 * config.window + config.delay + config.retention
        return now == self._busy_until or (pool.replicas.value > config.min and now < settled)

    def _next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is None:
            self._more = False
        else:
            self._clock.at(arrival.time, partial(self._arrive, arrival))

    def _arrive(self, arrival: Arrival) -> None:
        self._pool.arrive(arrival.duration)
        if self._want == 0:
            self._scaler.record(self._clock.now, 1, 1)
            self._decide()
        self._next_arrival()

    def _sample(self) -> None:
        pool, now = self._pool, self._clock.now
        in_flight, waiting = (area.take() / SAMPLE_INTERVAL for area in (pool.in_flight, pool.waiting))
        arrived, self._arrived = pool.arrived - self._arrived, pool.arrived
        self._replica_seconds += pool.replicas.take()
        if pool.replicas.value or pool.waiting.value:
            self._scaler.record(now, in_flight + waiting, arrived / SAMPLE_INTERVAL)
        if now % TICK_INTERVAL == 0:
            self._decide()
        self._note(in_flight, waiting, arrived)
        self._done = not self._goes_on()
        self._clock.at(now + SAMPLE_INTERVAL, self._sample)

    def _decide(self) -> None:
        decision = self._scaler.decide(self._clock.now, self._pool.ready)
        if decision.want != self._want:
            change = Change(time=self._clock.now, before=self._want, after=decision.want, reason=decision.reason)
            self._changes.append(change)
        self._want = decision.want
        self._pool.scale(decision.want)
        self._peak = max(self._peak, self._pool.replicas.value)

    def _note(self, in_flight: float, waiting: float, arrived: int) -> None:
        pool, ready = self._pool, self._pool.ready
        self._points.append(
            Point(
                time=self._clock.now,
                arrived=arrived,
                in_flight=in_flight,
                waiting=waiting,
                ready=ready,
                starting=len(pool.kept) - ready,
                want=self._want,
            )
        )
