"""What a simulation found."""

from __future__ import annotations

import math
from typing import Any, Self

import msgspec
from msgspec import Struct

from trimtab.deploy.local.simulate.chart import axis, chart, table


class Point(Struct, frozen=True, kw_only=True):
    """One second that ends at `time`. Load and requests are averages over it, replicas those at its end."""

    time: float
    arrived: int
    in_flight: float
    waiting: float
    ready: int
    starting: int
    want: int


class Change(Struct, frozen=True, kw_only=True):
    """The autoscaler changed its mind."""

    time: float
    before: int
    after: int
    reason: str


class Waits(Struct, frozen=True, kw_only=True):
    """How long served requests waited for a slot, in seconds; percentiles are by nearest rank."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    waited: int = 0
    """Requests that waited at all."""

    @classmethod
    def of(cls, waits: list[float]) -> Self:
        """Summarise; sorts the list in place."""
        if not waits:
            return cls()
        waits.sort()
        p50, p90, p95, p99 = (waits[math.ceil(len(waits) * p / 100) - 1] for p in (50, 90, 95, 99))
        waited = sum(1 for wait in waits if wait > 0)
        mean = math.fsum(waits) / len(waits)
        return cls(mean=mean, p50=p50, p90=p90, p95=p95, p99=p99, longest=waits[-1], waited=waited)


class Report(Struct, frozen=True, kw_only=True):
    """The outcome of one simulation."""

    seconds: float
    """Simulated time: the trace, and then until all is served and scaled down again."""
    requests: int
    served: int
    refused: int
    """Requests that came while the queue was full."""
    cold_starts: int
    """Replicas that were started."""
    cold_requests: int
    """Requests that came while no replica was ready."""
    replica_seconds: float
    """Lifetime of all replicas, from their start to their end."""
    peak_replicas: int
    waits: Waits
    points: list[Point]
    changes: list[Change]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built

    def render(self, *, width: int = 78, ascii_only: bool = False) -> str:
        """Draw load and replicas over time and tabulate the rest, in at most `width` columns."""
        lines: list[str] = []
        for title, height, values in self._series():
            lines += [*chart(title, values, width=width, height=height, ascii_only=ascii_only), ""]
        lines[-1] = axis(self.seconds, len(self.points), width=width)
        return "\n".join([*lines, "", *table(self._rows()), ""])

    def _series(self) -> list[tuple[str, int, list[float]]]:
        points = self.points
        return [
            ("requests per second", 3, [float(point.arrived) for point in points]),
            ("requests in flight", 3, [point.in_flight for point in points]),
            ("requests waiting", 3, [point.waiting for point in points]),
            ("replicas", 5, [float(point.ready + point.starting) for point in points]),
        ]

    def _rows(self) -> list[tuple[str, str]]:
        waits = self.waits
        share = waits.waited / self.served if self.served else 0.0
        return [
            ("requests", f"{self.requests} ({self.served} served, {self.refused} refused)"),
            ("waited for a slot", f"{waits.waited} ({share:.1%})"),
            ("wait p50 / p90 / p95", " / ".join(map(_time, (waits.p50, waits.p90, waits.p95)))),
            ("wait p99 / longest / mean", " / ".join(map(_time, (waits.p99, waits.longest, waits.mean)))),
            ("replicas started", f"{self.cold_starts} ({self.cold_requests} requests came while none was ready)"),
            ("most replicas", str(self.peak_replicas)),
            ("replica time", f"{self.replica_seconds:.1f} s, {self.replica_seconds / self.seconds:.2f} on average"),
            ("simulated", f"{self.seconds:.1f} s"),
        ]


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
