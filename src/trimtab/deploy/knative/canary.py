"""A canary: a new revision gets the traffic step by step, and none when its figures trip the guard, or its replicas fail.

The figures are those of the revision's own pods, `/metrics` read through the cluster's API or from Prometheus. The decision and the figures
of each step are kept on the function's Service.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct, field

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import POD, REVISION, SERVICE
from trimtab.deploy.knative.describe import OF_REVISION, is_ready
from trimtab.deploy.knative.failing import all_down, ends, failing
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.errors import NotFound, TargetError, TargetUnreachable

NOTE = "trimtab.dev/canary"
"""The Service's annotation that holds the last decision."""
_PORT = 8080
_COUNT = re.compile(r'trimtab_requests_total\{[^}]*worker="(?P<worker>\d+)"[^}]*code="(?P<code>\d+)"\} (?P<value>\d+)')
_BUCKET = re.compile(
    r'trimtab_request_duration_seconds_bucket\{[^}]*worker="(?P<worker>\d+)"[^}]*le="(?P<le>[^"]+)"\} (?P<value>\d+)'
)
Counters = dict[tuple[str, str, str], float]
"""By (pod and worker, 'code' or 'le', its value)."""


class Guard(Struct, frozen=True, kw_only=True):
    """What a revision must keep to."""

    max_error_rate: float = 0.01
    """Share of answers that are 5xx."""
    max_latency: float | None = None
    """Seconds in which `quantile` of the answers begin. None: latency is not looked at."""
    quantile: float = 0.99
    min_requests: int = 50
    """Nothing is decided on fewer: one error in three requests says little."""


class Figures(Struct, frozen=True, kw_only=True):
    """What a revision did during one step."""

    percent: int
    requests: int = 0
    error_rate: float = 0.0
    latency: float = 0.0
    """Seconds: the upper end of the histogram's bucket that the guard's quantile is in."""


class Decision(Struct, kw_only=True):
    """What became of a canary."""

    revision: str
    state: Literal["running", "promoted", "rolled back"] = "running"
    reason: str = ""
    steps: list[Figures] = field(default_factory=list)


def read(pod: str, text: str) -> Counters:
    """Read one pod's page."""
    found: Counters = {}
    for match in _COUNT.finditer(text):
        found[f"{pod}/{match['worker']}", "code", match["code"]] = float(match["value"])
    for match in _BUCKET.finditer(text):
        found[f"{pod}/{match['worker']}", "le", match["le"]] = float(match["value"])
    return found


def since(now: Counters, before: Counters) -> Counters:
    """Give what was counted in between; a counter that fell was started anew."""
    return {key: value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value for key, value in now.items()}


def figures(counters: Counters, percent: int, quantile: float) -> Figures:
    """Sum up. Pure."""
    codes = [(int(value), count) for (_, kind, value), count in counters.items() if kind == "code"]
    total = sum(count for _, count in codes)
    failed = sum(count for code, count in codes if code >= 500)
    below: dict[float, float] = {}
    for (_, kind, bound), count in counters.items():
        if kind == "le":
            below[float(bound)] = below.get(float(bound), 0.0) + count
    counted = max(below.values(), default=0.0)
    latency = next((bound for bound, count in sorted(below.items()) if counted and count >= quantile * counted), 0.0)
    rate = failed / total if total else 0.0
    return Figures(percent=percent, requests=int(total), error_rate=rate, latency=latency)


def tripped(found: Figures, guard: Guard) -> str:
    """Say what trips the guard; empty while nothing does. Pure."""
    if found.requests < guard.min_requests:
        return ""
    if found.error_rate > guard.max_error_rate:
        return f"{found.error_rate:.2%} of {found.requests} answers were 5xx; at most {guard.max_error_rate:.2%} may be"
    if guard.max_latency is not None and found.latency > guard.max_latency:
        share = f"{guard.quantile:.0%} of {found.requests} answers"
        return f"{share} took up to {found.latency:g} s; at most {guard.max_latency:g} s may they take"
    return ""


class Canary:
    """One canary. `split` sends so many percent to the revision and the rest to where it came from.

    `counters` gives the revision's counters; without it the pods are asked. `patience`: seconds in which one of its replicas must
    be ready while there are any.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        revision: str,
        guard: Guard,
        split: Callable[[int], None],
        *,
        patience: float,
        counters: Callable[[], Counters] | None = None,
        say: Callable[[Figures], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._name, self._guard, self._split, self._say = api, name, guard, split, say
        self._clock, self._sleep = clock, sleep
        self._counters, self._patience = counters, patience
        self._seen: Counters = {}
        self._ends: set[tuple[str, str]] = set()
        """Ends of containers that were there before it got traffic."""
        self._down: float | None = None
        """Since when no replica is ready."""
        self.decision = Decision(revision=revision)

    def run(self, steps: list[int], every: float) -> Decision:
        """Go through the steps, each `every` seconds and as many requests as the guard needs; 100 needs none after it.

        Interrupted, the split stays where it is, and the same call goes on from the first step.
        """
        self._ends = set(ends(self._replicas()))
        for percent in steps:
            self._split(percent)
            if percent == 100:
                break
            reason = self._watch(percent, every)
            if reason:
                self._split(0)
                return self._decide("rolled back", reason)
            self._decide("running", "")  # whoever interrupts it finds how far it came
        return self._decide("promoted" if steps[-1] == 100 else "running", "")

    def _watch(self, percent: int, every: float) -> str:
        """Look at the figures until the step is over; say what trips the guard."""
        self._scrape(self._replicas())
        before, started = dict(self._seen), self._clock()
        while True:
            self._sleep(min(5.0, every))
            pods = self._replicas()
            self._scrape(pods)
            found = figures(since(self._seen, before), percent, self._guard.quantile)
            reason = tripped(found, self._guard) or self._failing(pods)
            over = self._clock() - started >= every and found.requests >= self._guard.min_requests
            if reason or over:
                self.decision.steps.append(found)
                self._say(found)
                return reason

    def _replicas(self) -> list[Manifest]:
        return self._api.all(POD, {OF_REVISION: self.decision.revision})

    def _failing(self, pods: list[Manifest]) -> str:
        """Say what fails, though no figure tells. Errors: NotFound when the revision was deleted."""
        now = self._clock()
        self._down = (now if self._down is None else self._down) if all_down(pods) else None
        if self._down is not None and now - self._down >= self._patience:
            return f"none of its {len(pods)} replicas was ready for {self._patience:g} s"
        return failing(self._api.get(REVISION, self.decision.revision), pods, self._ends)

    def _scrape(self, pods: list[Manifest]) -> None:
        """Take over what there is; what was read of pods that are gone stays as it was."""
        self._seen |= self._counters() if self._counters is not None else self._read(pods)

    def _read(self, pods: list[Manifest]) -> Counters:
        found: Counters = {}
        for pod in filter(is_ready, pods):
            name = pod["metadata"]["name"]
            path = POD.path(self._api.namespace, f"{name}:{_PORT}", "proxy/metrics")
            try:
                with self._api.http.lines(path, {}, doing=f"read the metrics of {name}", read=5.0) as lines:
                    found |= read(name, b"\n".join(lines).decode("utf-8", "replace"))
            except (OSError, NotFound, TargetUnreachable):
                continue  # it went while we asked
        return found

    def _decide(self, state: Literal["running", "promoted", "rolled back"], reason: str) -> Decision:
        self.decision.state, self.decision.reason = state, reason
        note = msgspec.json.encode(self.decision).decode()
        self._api.change(SERVICE, self._name, {"metadata": {"annotations": {NOTE: note}}})
        return self.decision


def last(service: dict[str, object]) -> Decision | None:
    """Give the last decision that is kept on a Service."""
    metadata = service["metadata"]
    assert isinstance(metadata, dict)
    text = (metadata.get("annotations") or {}).get(NOTE)
    try:
        return msgspec.json.decode(text, type=Decision) if text else None
    except msgspec.MsgspecError as exc:
        raise TargetError(f"the annotation {NOTE} of {metadata['name']} cannot be read: {exc}") from exc
