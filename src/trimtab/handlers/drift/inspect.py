"""One closed window becomes one report: the verdict on its features, and what kind of change the evidence supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab.artifacts import ArtifactStore, is_store_uri
from trimtab.errors import DataError, NotFound, TrimtabError
from trimtab.handlers.drift.report import DriftReport, report
from trimtab.handlers.drift.result import Result
from trimtab.handlers.drift.rule import Rule, check
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.performance import compare
from trimtab.handlers.monitor.shift import Evidence, describe
from trimtab.handlers.monitor.types import Window
from trimtab.sketches.reference import Reference

__all__ = ["inspect"]

_OUTPUTS = ("prediction", "probability")


def inspect(monitor: Monitor, artifacts: ArtifactStore, window: Window, rule: Rule) -> DriftReport:
    """Judge a window by itself and with those before it, of the same reference. Errors: NotFound, StoreError."""
    reference = monitor.reference(window)
    before = [
        each
        for each in monitor.closed_windows(window.endpoint)
        if each.reference == window.reference and each.closing <= window.closing
    ][-rule.long :]
    sketches = [monitor.sketch(each) for each in before]
    about: dict[str, Any] = {
        "endpoint": window.endpoint,
        "model": window.model,
        "start": window.start,
        "end": window.end,
        "number": window.number,
        "revision": window.revision,
    }
    try:
        verdict = check(reference, sketches, rule)
    except DataError as exc:  # a model without training data has nothing to be compared with
        return DriftReport(method="default", severity="unknown", rows_seen=window.rows, message=str(exc), **about)
    judged = [before[place] for place in verdict.windows]
    current = sketches[-1] if verdict.horizon == "short" else monitor.merge(judged)
    performance = _performance(monitor, artifacts, window)
    evidence = Evidence(
        inputs=_moved(verdict.result, reference, ("input",)),
        predictions=_moved(verdict.result, reference, _OUTPUTS),
        labels=_labels(monitor, window, rule),
        performance=performance.get("dropped"),
    )
    return report(
        reference,
        current,
        verdict.result,
        severity=verdict.state,
        drifted=verdict.drifted,
        p_value=verdict.p_value,
        threshold=verdict.threshold,
        horizon=verdict.horizon,
        performance=performance,
        change=msgspec.to_builtins(describe(evidence)),
        **about,
    )


def _moved(result: Result, reference: Reference, roles: tuple[str, ...]) -> bool | None:
    """Whether a column of these roles drifted; None when none of them could be judged."""
    found = [
        each.drifted
        for column in reference.columns
        if column.role in roles and (each := result.per_feature.get(column.name)) is not None
    ]
    known = [each for each in found if each is not None]
    return any(known) if known else None


def _labels(monitor: Monitor, window: Window, rule: Rule) -> bool | None:
    """Whether the labels that arrived are distributed as those of the training data."""
    labels = monitor.labels(window)
    try:
        return check(labels.reference, [labels], rule).drifted if labels.rows else None
    except DataError:
        return None  # the training data's labels are not known


def _performance(monitor: Monitor, artifacts: ArtifactStore, window: Window) -> dict[str, Any]:
    """Compare what is known of the window with what was logged with the model."""
    performance = monitor.performance(window)
    found = compare(performance, _logged(artifacts, window.model))
    return {**performance.metrics(), "labels": performance.joined, **msgspec.to_builtins(found)}


def _logged(artifacts: ArtifactStore, model: str) -> Mapping[str, Any]:
    if not is_store_uri(model):
        return {}
    try:
        return artifacts.get(model).model.metrics
    except (NotFound, TrimtabError):
        return {}
