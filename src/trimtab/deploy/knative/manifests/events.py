"""What brings events to a function, and where its own go: Trigger and SinkBinding."""

from __future__ import annotations

import math
from typing import Any

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.delivery import delivery, in_tenths
from trimtab.deploy.knative.manifests.names import JOB_SINK, child, made
from trimtab.deploy.knative.manifests.service import SERVING
from trimtab.deploy.knative.manifests.starter import starter_name
from trimtab.errors import SpecError
from trimtab.spec import EventTrigger, Retry, Sink
from trimtab.spec.quantity import seconds
from trimtab.spec.stream import masked
from trimtab.triggers.filters import compile_filters

EVENTING = "eventing.knative.dev/v1"


def trigger(rendering: Rendering, wanted: EventTrigger, path: str) -> Manifest:
    """Give the Trigger of one event trigger; its subscriber is the function, or the sink that starts the job.

    Errors: SpecError below `path` for filters that Knative would take and never pass, or pass over without a word.
    """
    compile_filters(wanted.filters, path=f"{path}.filters")
    subscriber: dict[str, Any] = {"ref": _subscriber(rendering)}
    if wanted.path != "/" and rendering.function.spec.kind != "job":
        subscriber["uri"] = wanted.path
    spec: dict[str, Any] = {"broker": wanted.broker, "subscriber": subscriber, "delivery": delivery(wanted.retry)}
    if wanted.filters:
        spec["filters"] = [_filter(each) for each in wanted.filters]
    # A Trigger's broker cannot be changed: with another one it is another object.
    name = child(rendering.name, wanted.name, *([] if wanted.broker == "default" else [wanted.broker]))
    return made(rendering, EVENTING, "Trigger", name, spec, trigger=wanted.name)


def _subscriber(rendering: Rendering) -> dict[str, str]:
    if rendering.function.spec.kind != "job":
        return reference(rendering)
    if rendering.starter:
        return {"apiVersion": SERVING, "kind": "Service", "name": starter_name(rendering)}
    return {"apiVersion": JOB_SINK, "kind": "JobSink", "name": rendering.name}


def sink_binding(rendering: Rendering, sink: Sink, path: str) -> Manifest:
    """Give the SinkBinding that keeps K_SINK in the function's containers what it is when the sink's address changes.

    Errors: SpecError for a stream, naming `path`.
    """
    if sink.stream is not None:
        raise SpecError(
            f"{path}.stream", masked(sink.stream), "a broker or a uri: no daemon puts events into a stream there"
        )
    subject: dict[str, Any] = {**reference(rendering)}
    if rendering.function.spec.kind == "job":
        subject = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "selector": {"matchLabels": {"trimtab.dev/function": rendering.name}},
        }
    spec: dict[str, Any] = {"subject": {**subject, "namespace": rendering.namespace}, "sink": _destination(sink)}
    if sink.extensions:
        spec["ceOverrides"] = {"extensions": sink.extensions}
    return made(rendering, "sources.knative.dev/v1", "SinkBinding", child(rendering.name, "sink"), spec)


def reference(rendering: Rendering) -> dict[str, str]:
    """Point at the function's Service."""
    return {"apiVersion": SERVING, "kind": "Service", "name": rendering.name}


def notes(rendering: Rendering, wanted: EventTrigger) -> list[str]:
    """Say what Knative does otherwise."""
    found = []
    if seconds(wanted.deduplicate):
        found.append(
            f"trigger {wanted.name!r}: deduplicate is not possible on Knative; an event may come twice, so compare ids"
        )
    if wanted.retry.max_delay != Retry().max_delay:
        found.append(
            f"trigger {wanted.name!r}: retry.maxDelay is not possible on Knative; its backoff has no longest wait"
        )
    for field, value in (("delay", wanted.retry.delay), ("timeout", wanted.retry.timeout)):
        if value is not None and not math.isclose(seconds(value) * 10, in_tenths(value)):
            given = f"{in_tenths(value) / 10:g} s"
            found.append(
                f"trigger {wanted.name!r}: retry.{field} is {given} on Knative, which counts tenths of a second"
            )
    if wanted.retry.dead_letter is None and wanted.broker not in rendering.keepers and not wanted.disabled:
        found.append(
            f"trigger {wanted.name!r}: an event that no try delivers is gone on Knative, unless retry.deadLetter, "
            f"or the broker {wanted.broker!r} by its own delivery.deadLetterSink, says where it goes"
        )
    return found


def _destination(sink: Sink) -> dict[str, Any]:
    if sink.uri is not None:
        return {"uri": sink.uri}
    return {"ref": {"apiVersion": EVENTING, "kind": "Broker", "name": sink.broker}}


def _filter(item: dict[str, Any]) -> dict[str, Any]:
    """Write a filter that is known to be right as every Knative takes it.

    Several attributes in one `exact`, `prefix` or `suffix` must all fit, which older webhooks refuse to read; `attributes` is
    their `exact` of long ago, where an empty text means any.
    """
    ((dialect, value),) = item.items()
    if dialect in ("all", "any"):
        return {dialect: [_filter(each) for each in value]}
    if dialect == "not":
        return {dialect: _filter(value)}
    if dialect == "cesql":
        return item
    parts = [_leaf("exact" if dialect == "attributes" else dialect, name, text) for name, text in value.items()]
    return parts[0] if len(parts) == 1 else {"all": parts}


def _leaf(dialect: str, name: str, text: str) -> dict[str, Any]:
    return {dialect: {name: text}} if text else {"cesql": f"EXISTS {name}"}
