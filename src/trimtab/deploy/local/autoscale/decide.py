"""From averages to a number of replicas: rates, panic, scale-down delay, bounds, and the way to zero and back."""

from __future__ import annotations

import math

from msgspec import Struct

from trimtab.deploy.local.autoscale.config import ScalerConfig
from trimtab.deploy.local.autoscale.windows import AverageWindow, MaximumWindow
from trimtab.deploy.local.autoscale.zero import WayToZero

SAMPLE_INTERVAL = 1.0
"""Seconds between two records: the windows' buckets."""
TICK_INTERVAL = 2.0
"""Seconds between two decisions: Knative's, and the scale-down delay's slots."""


class Decision(Struct, frozen=True, kw_only=True):
    """How many replicas there should be now, and why."""

    want: int
    panic: bool
    """In panic the number never falls, until the surge has been over for a stable window."""
    reason: str
    """A sentence for people."""
    stable: float
    """Average of the metric over the stable window."""
    panic_average: float
    """Average of the metric over the panic window."""
    desired: int
    """What load, panic and delay ask for, before the bounds and the way to zero."""


class Desire(Struct, frozen=True):
    """What the averages ask for within the rates, and how many times the ready replicas the panic window asks for."""

    stable: int
    panic: int
    pressure: float


def desire(config: ScalerConfig, stable: float, panic: float, ready: int, *, reachable: bool = True) -> Desire:
    """Turn averages into replicas: divided by the target, at most `up_rate` times and at least 1 / `down_rate` of ready.

    From nothing ready the rates count as from one. `activation` applies as soon as an average asks for anything.
    """
    base = max(1, ready)
    up = math.ceil(config.up_rate * base)
    down = math.floor(base / config.down_rate) if reachable else 0
    asked = math.ceil(stable / config.target), math.ceil(panic / config.target)
    wants = [min(max(replicas, down), up) for replicas in asked]
    if config.activation > 1:
        wants = [
            max(want, config.activation) if replicas else want for want, replicas in zip(wants, asked, strict=True)
        ]
    return Desire(wants[0], wants[1], asked[1] / base)


class Autoscaler:
    """One revision's autoscaler. The caller gives it the time, what it measured, and how many replicas are ready.

    Contract of the caller: `record` every SAMPLE_INTERVAL for as long as a replica runs or a request waits, zeros too;
    `decide` every TICK_INTERVAL. The first request after idle is `record(now, 1)` and `decide` at once: any load
    asks for a replica. Times never go backwards.

    Unlike Knative's there is no grace period of 30 s before zero: it exists to put the activator in the path first,
    and here the daemon holds the listening socket all the time.
    """

    def __init__(self, config: ScalerConfig, *, initialised: bool = False) -> None:
        """Start without history. `initialised` is True for a revision that was ready before (the daemon restarted):
        its initial scale counts no more."""
        self.config = config
        self._initialised = initialised
        self._stable = AverageWindow(config.window)
        self._panic = AverageWindow(config.panic_window)
        self._delay = MaximumWindow(config.delay) if config.delay else None
        self._panic_since: float | None = None
        self._most_in_panic = 0
        self._zero: WayToZero | None = None
        self._want = 0

    def record(self, now: float, concurrency: float, rps: float = 0.0) -> None:
        """Note the requests in flight and waiting over all replicas (an average since the last record), and those that
        arrived per second. Only the configured metric counts."""
        value = concurrency if self.config.metric == "concurrency" else rps
        self._stable.record(now, value)
        self._panic.record(now, value)

    def decide(self, now: float, ready: int, *, reachable: bool = True) -> Decision:
        """Say how many replicas there should be. `reachable` is False for a revision without traffic: no minimum, and
        all the way down at once. Without records for a window the last decision stands, within the bounds."""
        zero = self._zero = self._zero or self._begin(now, ready)
        self._initialised = self._initialised or ready >= self.config.initial
        stable, panic = self._stable.average(now), self._panic.average(now)
        if self._stable.empty(now):
            desired, reason = self._want, "no measurements: the number stays"
        else:
            wish = desire(self.config, stable, panic, ready, reachable=reachable)
            desired, why = self._desired(now, wish, reachable=reachable)
            reason = f"{self._load(stable, panic)}; {why}"
        want, bounds = self._bounded(desired, reachable=reachable)
        self._want, hold = zero.hold(now, ready, want, self._want)
        return Decision(
            want=self._want,
            panic=self._panic_since is not None,
            reason="; ".join(part for part in (reason, bounds, hold) if part),
            stable=stable,
            panic_average=panic,
            desired=desired,
        )

    def _begin(self, now: float, ready: int) -> WayToZero:
        # Without history, what is there is kept: more than one replica by panic, until there is some history.
        self._want = ready
        if ready > 1:
            self._panic_since, self._most_in_panic = now, ready
        return WayToZero(self.config, now, ready)

    def _desired(self, now: float, wish: Desire, *, reachable: bool) -> tuple[int, str]:
        self._update_panic(now, wish)
        want, reason = wish.stable, f"{_replicas(wish.stable)} wanted"
        if self._panic_since is not None:
            self._most_in_panic = want = max(self._most_in_panic, wish.stable, wish.panic)
            reason = f"panic, no fewer than {_replicas(want)} until the surge is {self.config.window:g} s old"
        if self._delay and reachable:
            kept = self._delay.record(now, want)
            reason += f", {kept} kept by the scale-down delay of {self.config.delay:g} s" if kept > want else ""
            want = kept
        return want, reason

    def _update_panic(self, now: float, wish: Desire) -> None:
        if wish.pressure >= self.config.panic_threshold:
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + self.config.window < now:
            self._panic_since, self._most_in_panic = None, 0

    def _bounded(self, desired: int, *, reachable: bool) -> tuple[int, str]:
        least = self.config.min if reachable else 0
        if not self._initialised:
            least = max(least, self.config.initial)
        want = min(max(desired, least), self.config.max)
        if want < desired:
            return want, f"{_replicas(want)} at most"
        why = "at least" if self._initialised else "to begin with"
        return want, f"{_replicas(want)} {why}" if want > desired else ""

    def _load(self, stable: float, panic: float) -> str:
        config = self.config
        if not stable and not panic:
            return f"no load in {config.window:g} s"
        unit = "requests at once" if config.metric == "concurrency" else "requests per second"
        return (
            f"{stable:.3g} {unit} in {config.window:g} s and {panic:.3g} in {config.panic_window:g} s,"
            f" {config.target:.3g} aimed at for one replica"
        )


def _replicas(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"
