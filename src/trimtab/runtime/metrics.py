"""A replica's figures in Prometheus' text format (exposition format 0.0.4). Counting costs well under a microsecond."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.runtime.emit import Emitter
    from trimtab.runtime.limits import Limiter

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the duration histogram in seconds."""


class Metrics:
    """One process's counters. With several workers a scrape sees the worker that answers it (label `worker`)."""

    def __init__(self, function: str, revision: str, worker: int = 0) -> None:
        self.labels = f'function="{function}",revision="{revision}",worker="{worker}"'
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        self.codes: dict[int, int] = {}
        self.phases: dict[str, float] = {}

    def observe(self, seconds: float, status: int) -> None:
        """Count one request."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self.codes[status] = self.codes.get(status, 0) + 1

    def started(self, phases: dict[str, float]) -> None:
        """Keep how long each phase of the cold start took, in seconds."""
        self.phases = dict(phases)

    def render(self, limiter: Limiter, emitter: Emitter | None, more: Sequence[str] = ()) -> str:
        """Write the page; `more` are the function's own lines."""
        lines = ["# TYPE trimtab_request_duration_seconds histogram"]
        below = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self.counts, strict=True):
            below += count
            lines.append(f'trimtab_request_duration_seconds_bucket{{{self.labels},le="{bound}"}} {below}')
        lines.append(f"trimtab_request_duration_seconds_sum{{{self.labels}}} {self.total:.6f}")
        lines.append(f"trimtab_request_duration_seconds_count{{{self.labels}}} {below}")
        lines.append("# TYPE trimtab_requests_total counter")
        for code, count in sorted(self.codes.items()):
            lines.append(f'trimtab_requests_total{{{self.labels},code="{code}"}} {count}')
        lines += self._gauge("in_flight_requests", limiter.in_flight) + self._gauge("waiting_requests", limiter.waiting)
        lines.append("# TYPE trimtab_cold_start_seconds gauge")
        for phase, seconds in self.phases.items():
            lines.append(f'trimtab_cold_start_seconds{{{self.labels},phase="{phase}"}} {seconds:.6f}')
        if emitter is not None:
            lines += self._events(emitter)
        return "\n".join([*lines, *more]) + "\n"

    def _events(self, emitter: Emitter) -> list[str]:
        counters = emitter.counters()
        total, held = "trimtab_emitted_events_total", "trimtab_held_events"
        return [
            f"# TYPE {total} counter",
            f'{total}{{{self.labels},state="sent"}} {counters.sent}',
            f'{total}{{{self.labels},state="dropped"}} {counters.dropped}',
            f"# TYPE {held} gauge",
            f'{held}{{{self.labels},place="memory"}} {counters.queued}',
            f'{held}{{{self.labels},place="disk"}} {counters.spilled}',
        ]

    def _gauge(self, name: str, value: int) -> list[str]:
        return [f"# TYPE trimtab_{name} gauge", f"trimtab_{name}{{{self.labels}}} {value}"]
