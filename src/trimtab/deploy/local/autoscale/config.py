"""The settings of one autoscaler, resolved from a function's `scale`."""

from __future__ import annotations

import math
from typing import Literal, Self

from msgspec import Struct

from trimtab.spec import Scale
from trimtab.spec.quantity import seconds

_DEFAULT_TARGET = {"concurrency": 100.0, "rps": 200.0}
_LEAST_TARGET = 0.01


class ScalerConfig(Struct, frozen=True, kw_only=True):
    """Numbers only: seconds, replicas, fractions. Defaults that `Scale` does not have are Knative's cluster settings."""

    metric: Literal["concurrency", "rps"]
    total: float
    """What one replica can take: requests at once, or per second."""
    target: float
    """What one replica is aimed at: `total` times the utilisation, at least 0.01."""
    min: int
    max: int
    initial: int
    """Held until this many replicas were ready once. Never above `max`."""
    activation: int
    """As many replicas at least as soon as there is any load."""
    window: float
    """Stable window."""
    panic_window: float
    panic_threshold: float
    """Panic begins when the panic window asks for this many times the ready replicas."""
    delay: float
    """Scale down to the largest wish of the last `delay` seconds."""
    retention: float
    """How long the last replica is kept once zero was decided."""
    start_timeout: float
    """How long a scale-up from zero may take before the autoscaler stops waiting for it."""
    up_rate: float = 1000.0
    """At most this many times the ready replicas in one decision (max-scale-up-rate)."""
    down_rate: float = 2.0
    """At least the ready replicas divided by this in one decision (max-scale-down-rate)."""

    @classmethod
    def of(cls, scale: Scale, *, max_replicas: int, start_timeout: float = 60.0) -> Self:
        """Resolve `scale`; `max_replicas` is where a function without `scale.max` stops on this machine.

        Errors: SpecError for a duration that is none.
        """
        total = scale.target or scale.concurrency or _DEFAULT_TARGET["concurrency"]
        if scale.metric == "rps":
            total = scale.target or _DEFAULT_TARGET["rps"]
        elif scale.concurrency:
            total = min(total, scale.concurrency)
        window = seconds(scale.window, "scale.window")
        most = scale.max or max(max_replicas, scale.min)
        return cls(
            metric=scale.metric,
            total=total,
            target=max(_LEAST_TARGET, total * scale.utilization / 100),
            min=scale.min,
            max=most,
            initial=min(max(scale.min, scale.initial), most),
            activation=scale.activation,
            window=window,
            panic_window=max(1.0, math.floor(window * scale.panic_window / 100 + 0.5)),
            panic_threshold=scale.panic_threshold / 100,
            delay=seconds(scale.delay, "scale.delay"),
            retention=seconds(scale.retention, "scale.retention"),
            start_timeout=start_timeout,
        )
