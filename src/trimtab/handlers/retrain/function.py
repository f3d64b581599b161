"""The loop as a function: it hears of endpoints, drift and ended runs as events, of time by cron, and of people by POST."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from trimtab.artifacts import is_store_uri, open_store
from trimtab.errors import PermanentError, StoreError, TemporaryError
from trimtab.events import Envelope
from trimtab.handlers.documents import open_documents, state_url
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.retrain.executor import Executor
from trimtab.handlers.retrain.messages import Approved, Judged, Message, Observed, Registered, Rejected, RunEnded
from trimtab.handlers.retrain.rollout import since
from trimtab.handlers.retrain.runner import Runner
from trimtab.handlers.retrain.state import Loop, Severity, Traffic
from trimtab.handlers.serving.register import ENDPOINT, Registration
from trimtab.runtime.ended import RUN
from trimtab.runtime.event import PING, Event

logger = logging.getLogger("trimtab.retrain")

DRIFT = "dev.trimtab.drift"
_VERBS: dict[str, tuple[str, ...]] = {
    "approve": ("approval",),
    "promote": ("approve", "canary", "shadow"),
    "reject": ("approval", "training", "comparing", "canary", "shadow", "approve"),
}
"""What people may say, and in which stages."""
_DELAY = 5.0
"""Seconds after which an event that could not be kept may come again."""


class Handler:
    """One process's; `handler` is its name as a function. Any number of replicas may run."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._executor: Executor | None = None

    def load(self) -> None:
        """Open what it works with, so that a wrong setting fails the deployment."""
        documents = open_documents(state_url())
        self._executor = Executor(open_store(), Monitor.open(), documents, os.environ.get("K_SINK", ""))
        self._runner = Runner(documents, self._executor)

    @property
    def runner(self) -> Runner:
        """What keeps the loops."""
        assert self._runner is not None
        return self._runner

    def __call__(self, context: Any, event: Event) -> Any:
        """Take in an event, do what a person asks, or show what there is."""
        try:
            if event.envelope is None:
                return self._asked(event)
            if event.envelope.type == PING:
                self.tick()
            else:
                self._heard(event.envelope, event.body)
        except StoreError as exc:
            raise TemporaryError(str(exc), delay=_DELAY) from exc
        return None

    def tick(self) -> None:
        """Look at every loop: time went on, and what failed before is tried again."""
        for endpoint in self.runner.endpoints():
            try:
                loop = self.runner.loop(endpoint)
                if loop.attempt is not None or loop.incident is not None or loop.todo:
                    self._observe(loop)
            except Exception:
                logger.exception("the loop of %s is looked at again at the next tick", endpoint)

    def _observe(self, loop: Loop) -> None:
        assert self._executor is not None
        rolling = loop.attempt is not None and loop.attempt.stage in ("canary", "shadow")
        total: dict[str, Traffic] = {}
        if rolling and loop.attempt is not None:
            try:
                total = self._executor.traffic(loop, loop.attempt)
            except Exception:  # patience counts all the same
                logger.exception("what the models of %s answered is not known", loop.endpoint)
        before = loop.attempt.before if loop.attempt is not None else {}
        traffic = {model: since(seen, before.get(model)) for model, seen in total.items()}
        self.runner.hear(loop.endpoint, Observed(traffic, total))
        self.runner.work(loop.endpoint)

    # Events

    def _heard(self, envelope: Envelope, data: Any) -> None:
        if envelope.type == ENDPOINT:
            found = _read(Registration, data, envelope.type)
            when = _seconds(envelope)
            said = Registered(found.model, found.function, found.retrain, found.revision, when, found.stamp)
            self.runner.hear(found.endpoint, said)
        elif envelope.type == DRIFT:
            self._judged(data)
        elif envelope.type == RUN:
            self._ended(envelope, data)
        else:
            allowed = ", ".join((ENDPOINT, DRIFT, RUN, PING))
            raise PermanentError(f"type: found {envelope.type!r}, allowed: {allowed}")

    def _judged(self, data: Any) -> None:
        report = _read(_Report, data, DRIFT)
        drifted = [feature.name for feature in report.features if feature.state == "detected"]
        message = Judged(
            report.start, report.end, report.severity, drifted, report.model, report.number, report.revision
        )
        self.runner.hear(report.endpoint, message)

    def _ended(self, envelope: Envelope, data: Any) -> None:
        """Find whose training it was: of all ended runs, those that a loop's event started."""
        cause = envelope.attributes.get("cause")
        waiting = [
            loop
            for loop in map(self.runner.loop, self.runner.endpoints())
            if (loop.attempt is not None and loop.attempt.training == cause)
            or any(each.training and each.training == cause for each in loop.decisions)
        ]
        for loop in waiting:
            self.runner.hear(loop.endpoint, _run_ended(str(cause), data, loop))

    # People

    def _asked(self, event: Event) -> Any:
        path = event.path.strip("/")
        if event.method in ("GET", "HEAD"):
            if not path:
                return {"loops": [msgspec.to_builtins(self.runner.loop(name)) for name in self.runner.endpoints()]}
            return msgspec.to_builtins(self._known(path))
        endpoint, _, verb = path.rpartition("/")
        if event.method != "POST" or verb not in _VERBS:
            allowed = f"GET /, GET /ENDPOINT and POST /ENDPOINT/{{{','.join(_VERBS)}}}"
            raise PermanentError(f"found {event.method} {event.path}, allowed: {allowed}", status=404)
        return self._decided(self._known(endpoint), verb, event.body)

    def _decided(self, loop: Loop, verb: str, body: Any) -> Any:
        attempt = loop.attempt
        if attempt is None or attempt.stage not in _VERBS[verb]:
            stage = "no attempt is under way" if attempt is None else f"the attempt is in stage {attempt.stage!r}"
            allowed = f"{verb} is said in stage {' or '.join(map(repr, _VERBS[verb]))}"
            raise PermanentError(f"{loop.endpoint}: {stage}; {allowed}", status=409)
        by = str(body.get("by", "")) if isinstance(body, Mapping) else ""
        message: Message = Rejected(attempt.id, by) if verb == "reject" else Approved(attempt.id, by)
        return msgspec.to_builtins(self.runner.hear(loop.endpoint, message))

    def _known(self, endpoint: str) -> Loop:
        endpoint = unquote(endpoint)
        if endpoint not in self.runner.endpoints():
            there = ", ".join(self.runner.endpoints()) or "none"
            raise PermanentError(f"there is no endpoint {endpoint!r}; there is {there}", status=404)
        return self.runner.loop(endpoint)


def _seconds(envelope: Envelope) -> float:
    """When an event happened, as its sender says; 0 where it does not."""
    try:
        return datetime.fromisoformat(str(envelope.attributes.get("time", ""))).timestamp()
    except ValueError:
        return 0.0


def _run_ended(cause: str, data: Any, loop: Loop) -> RunEnded:
    run = _read(_Run, data, RUN)
    models = [uri for uri in run.artifacts.values() if is_store_uri(uri) and uri.startswith("store://models/")]
    key = loop.champion.partition("#")[0]
    models.sort(key=lambda uri: uri.partition("#")[0] != key)  # the one that is logged as the champion was comes first
    return RunEnded(
        training=cause,
        run=run.id,
        succeeded=run.state == "succeeded",
        model=models[0] if models else "",
        error=run.error or "",
        lost=run.lost,
        data={"results": run.results, "parameters": run.parameters},
    )


class _Run(msgspec.Struct):
    """What of a run's end counts here."""

    id: str
    state: str
    error: str | None = None
    lost: bool = False
    artifacts: dict[str, str] = {}
    results: dict[str, Any] = {}
    parameters: dict[str, Any] = {}


class _Feature(msgspec.Struct):
    name: str
    state: Severity


class _Report(msgspec.Struct):
    """What of a drift report counts here."""

    endpoint: str
    start: float
    end: float
    severity: Severity
    model: str = ""
    number: int = 0
    revision: str = ""
    features: list[_Feature] = []


def _read(kind: Any, data: Any, type: str) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as exc:
        raise PermanentError(f"the data of a {type} event: {exc}") from exc


handler = Handler
