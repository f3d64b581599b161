"""When the last replica may go, and how long a first one may take to come."""

from __future__ import annotations

from typing import Literal

from trimtab.deploy.local.autoscale.config import ScalerConfig


class WayToZero:
    """Follows a revision from zero over starting to active and back (knative/serving `kpa/scaler.go`).

    An active revision that is wanted no more keeps one replica until it was active for a stable window, and then for
    the retention. One that is starting is waited for up to `start_timeout`, whatever the load does meanwhile.
    """

    def __init__(self, config: ScalerConfig, now: float, ready: int) -> None:
        self._config = config
        self._state: Literal["zero", "starting", "active"] = "active" if ready else "zero"
        self._since = now
        self._idle: float | None = None

    def hold(self, now: float, ready: int, want: int, previous: int) -> tuple[int, str]:
        """Return how many replicas to have when `want` are wanted and `previous` were before, and why if not `want`."""
        self._follow(now, ready, want)
        if want or self._state == "zero":
            return want, ""
        kept, why = self._starting(now, previous) if self._state == "starting" else self._active(now)
        if not kept:
            self._enter("zero", now)
        return kept, why

    def _follow(self, now: float, ready: int, want: int) -> None:
        if want:
            self._idle = None
            if self._state == "zero":
                self._enter("starting", now)
        if self._state == "starting" and ready:
            self._enter("active", now)
        elif self._state == "active" and not ready:
            self._enter("starting", now)

    def _enter(self, state: Literal["zero", "starting", "active"], now: float) -> None:
        self._state, self._since, self._idle = state, now, None

    def _starting(self, now: float, previous: int) -> tuple[int, str]:
        timeout = self._config.start_timeout
        if now - self._since > timeout:
            return 0, f"given up: nothing became ready in {timeout:g} s"
        return max(1, previous), "kept until the first one is ready"

    def _active(self, now: float) -> tuple[int, str]:
        config = self._config
        if now - self._since < config.window:
            return 1, f"the last one stays until it was there for {config.window:g} s"
        if self._idle is None:
            self._idle = now
        if now - self._idle < config.retention:
            return 1, f"the last one is retained for {config.retention:g} s"
        return 0, ""
