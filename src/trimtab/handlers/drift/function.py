"""The drift check as a function: at each tick of its cron trigger, every window that was closed since the last one is judged.

One event `dev.trimtab.drift` for each endpoint and window, whatever is killed in between; a GET shows the reports.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trimtab.artifacts import ArtifactStore, open_store
from trimtab.errors import NotFound, PermanentError, SpecError, StoreError, TemporaryError, TrimtabError
from trimtab.events import Envelope, make
from trimtab.handlers.documents import open_documents, state_url
from trimtab.handlers.drift.inspect import inspect
from trimtab.handlers.drift.progress import Reports
from trimtab.handlers.drift.report import EVENT, SCHEMA, DriftReport
from trimtab.handlers.drift.rule import Rule
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.runtime.event import PING, Event
from trimtab.runtime.post import post

logger = logging.getLogger("trimtab.drift")

PREFIX = "TRIMTAB_DRIFT_"
MOST = 50
"""Windows of one endpoint that a tick judges: after a long stop the rest waits for the next one."""
_DELAY = 5.0


class Checker:
    """Judges closed windows, once each. `post` gives an event to the sink, or raises a TrimtabError."""

    def __init__(
        self,
        monitor: Monitor,
        artifacts: ArtifactStore,
        reports: Reports,
        rule: Rule,
        post: Callable[[Envelope], None],
    ) -> None:
        self.monitor, self.reports, self.rule = monitor, reports, rule
        self._artifacts, self._post = artifacts, post

    def tick(self) -> None:
        """Look at every endpoint. What fails for one is logged, and done at the next tick."""
        for seen in self.monitor.endpoints():
            try:
                self.look(seen.endpoint.name)
            except Exception as exc:
                level = logging.WARNING if isinstance(exc, TrimtabError) else logging.ERROR
                logger.log(
                    level, "%s is looked at again: %s", seen.endpoint.name, exc, exc_info=level > logging.WARNING
                )

    def look(self, endpoint: str) -> None:
        """Judge an endpoint's windows, oldest first. Errors: StoreError; TargetUnreachable while the sink takes nothing."""
        self._send(endpoint)  # what a former tick could not
        since = self.reports.progress(endpoint).closing
        for window in self.monitor.closed_windows(endpoint, since)[:MOST]:
            try:
                report = inspect(self.monitor, self._artifacts, window, self.rule)
            except NotFound as exc:  # it is gone already: the monitor keeps so many windows and no more
                logger.warning("window %d of %s is not judged: %s", window.number, endpoint, exc)
                continue
            self.reports.add(endpoint, window.number, window.closing, report)
            self._send(endpoint)

    def _send(self, endpoint: str) -> None:
        for number in self.reports.progress(endpoint).unposted:
            self._post(event(self.reports.report(endpoint, number), number))
            self.reports.posted(endpoint, number)


def event(report: DriftReport, number: int) -> Envelope:
    """Make a report's event; its id is the endpoint and the window, so that posting it twice is posting it once."""
    return make(
        EVENT,
        "/functions/drift",
        report.to_json(),
        id=f"{report.endpoint}/{number}",
        subject=report.endpoint,
        datacontenttype="application/json",
        dataschema=SCHEMA,
        **report.extensions,
    )


class Handler:
    """One process's; `handler` is its name as a function."""

    def __init__(self) -> None:
        self._checker: Checker | None = None

    def load(self) -> None:
        """Open what it works with, so that a wrong setting fails the deployment."""
        to = os.environ.get("K_SINK", "")
        self._checker = Checker(
            Monitor.open(),
            open_store(),
            Reports(open_documents(state_url())),
            rule(os.environ),
            lambda envelope: _post(to, envelope),
        )

    @property
    def checker(self) -> Checker:
        """What judges."""
        assert self._checker is not None
        return self._checker

    def __call__(self, context: Any, event: Event) -> Any:
        """Judge at a tick; show reports at a GET."""
        try:
            if event.envelope is None:
                return self._shown(event)
            if event.envelope.type != PING:
                raise PermanentError(f"type: found {event.envelope.type!r}, allowed: {PING!r} (a cron trigger)")
            self.checker.tick()
        except StoreError as exc:
            raise TemporaryError(str(exc), delay=_DELAY) from exc
        return None

    def _shown(self, event: Event) -> Any:
        if event.method not in ("GET", "HEAD"):
            raise PermanentError("the check runs by a cron trigger; reports are read by GET", status=405)
        endpoint, most = event.fields.get("endpoint", ""), event.fields.get("last", "1")
        reports = self.checker.reports
        if not endpoint:
            names = [seen.endpoint.name for seen in self.checker.monitor.endpoints()]
            return {"endpoints": [_summary(name, reports) for name in names]}
        if not most.isdecimal() or not int(most):
            raise PermanentError(f"last: found {most!r}, allowed: a whole number from 1")
        return [msgspec.to_builtins(each) for each in reports.latest(endpoint, int(most))]


def rule(environ: Mapping[str, str]) -> Rule:
    """Read the rule from `TRIMTAB_DRIFT_RUN_TIME`, `..._WINDOW`, `..._LONG`, `..._EFFECT` ... Errors: SpecError."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Rule):
        name = f"{PREFIX}{field.name.upper()}"
        if text := environ.get(name, "").strip():
            try:
                values[field.name] = msgspec.convert(text, field.type, strict=False)
            except msgspec.ValidationError as exc:
                raise SpecError(f"environment variable {name}", text, "a number") from exc
    return Rule(**values)


def _summary(endpoint: str, reports: Reports) -> dict[str, Any]:
    latest = reports.latest(endpoint, 1)
    if not latest:
        return {"endpoint": endpoint, "severity": "unknown", "drifted": []}
    report = latest[0]
    names = [feature.name for feature in report.features if feature.state == "detected"]
    return {"endpoint": endpoint, "severity": report.severity, "end": report.end, "drifted": names}


def _post(to: str, envelope: Envelope) -> None:
    if not to:
        raise TrimtabError("the drift function has no sink: set spec.sink, or K_SINK")
    post(to, envelope)


handler = Handler
