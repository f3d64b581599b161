"""A function that is called over HTTP: one Knative Service."""

from __future__ import annotations

import math
from typing import Any

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import container, pod
from trimtab.deploy.knative.manifests.names import labels, made, provenance
from trimtab.deploy.knative.manifests.scaling import autoscaling
from trimtab.spec import FunctionSpec, TrafficTarget
from trimtab.spec.quantity import seconds

SERVING = "serving.knative.dev/v1"
_VISIBILITY = "networking.knative.dev/visibility"
_ROLLOUT = "serving.knative.dev/rollout-duration"
_DEADLINE = "serving.knative.dev/progress-deadline"
_DEADLINE_LEAST = 600
"""Seconds: Knative's own default."""
_DEADLINE_MORE = 120
"""Seconds for what comes before the start: a node, the image."""
_WAITING = 10
"""Calls that queue-proxy lets wait for each that it lets in."""
PORT = 8080


def service(rendering: Rendering) -> Manifest:
    """Give the Service."""
    spec = rendering.function.spec
    found = made(rendering, SERVING, "Service", rendering.name, {"template": _template(rendering)})
    if spec.visibility == "cluster-local":
        found["metadata"]["labels"][_VISIBILITY] = "cluster-local"
    if seconds(spec.rollout_duration):
        found["metadata"]["annotations"][_ROLLOUT] = f"{seconds(spec.rollout_duration):g}s"
    if spec.traffic:
        found["spec"]["traffic"] = [traffic_target(target) for target in spec.traffic]
    return found


def notes(spec: FunctionSpec) -> list[str]:
    """Say what Knative does otherwise."""
    found = []
    if seconds(spec.timeouts.request) == 0:
        found.append("spec.timeouts.request: 0 (no limit) is not possible on Knative; its own default of 300 s applies")
    waiting = _WAITING * spec.scale.concurrency
    if waiting and spec.limits.queue not in (None, waiting):
        found.append(
            f"spec.limits.queue: {spec.limits.queue} is not possible on Knative; its queue-proxy lets {waiting} calls wait for a "
            f"replica, ten for each of {spec.scale.concurrency}"
        )
    return found


def _template(rendering: Rendering) -> dict[str, Any]:
    spec = rendering.function.spec
    return {
        "metadata": {
            "labels": labels(rendering),
            "annotations": {**provenance(rendering), **autoscaling(spec.scale), **_deadline(spec)},
        },
        "spec": {
            "containerConcurrency": spec.scale.concurrency,
            **_times(spec),
            "containers": [{**container(rendering), **_front(spec)}],
            **pod(rendering),
        },
    }


def _deadline(spec: FunctionSpec) -> dict[str, str]:
    """Seconds, as a duration, after which Knative gives up a revision that is not ready; where the start may take longer."""
    wanted = math.ceil(seconds(spec.timeouts.start)) + _DEADLINE_MORE
    return {_DEADLINE: f"{wanted}s"} if wanted > _DEADLINE_LEAST else {}


def _times(spec: FunctionSpec) -> dict[str, int]:
    """Knative's two clocks: until the answer begins, which is ours, and until it ends, which also bounds the drain."""
    request = math.ceil(seconds(spec.timeouts.request))
    if not request:
        return {}
    return {
        "timeoutSeconds": max(request, math.ceil(seconds(spec.timeouts.drain))),
        "responseStartTimeoutSeconds": request,
    }


def _front(spec: FunctionSpec) -> dict[str, Any]:
    """The port, and the probes that queue-proxy runs. A slow start must not look like a death."""
    return {
        "ports": [{"name": "http1", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz"}},
        "livenessProbe": {
            "httpGet": {"path": "/healthz"},
            "initialDelaySeconds": math.ceil(seconds(spec.timeouts.start)),
        },
    }


def traffic_target(target: TrafficTarget) -> dict[str, Any]:
    """Give one share of the traffic in Knative's words."""
    which: dict[str, Any] = {"latestRevision": True}
    if target.revision is not None:
        which = {"latestRevision": False, "revisionName": target.revision}
    return {**which, "percent": target.percent, **({"tag": target.tag} if target.tag is not None else {})}
