"""A function that runs to its end: a Kubernetes Job for each run, and a JobSink for those that events start."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import container, pod
from trimtab.deploy.knative.manifests.names import JOB_SINK, child, labels, made
from trimtab.spec.quantity import seconds

KEPT = 24 * 3600
"""Seconds a finished run stays on the cluster, with its log."""


RUN = "trimtab.dev/run"
PARAMETERS = "trimtab.dev/parameters"


def job(
    rendering: Rendering,
    run: str,
    parameters: dict[str, Any],
    inputs: dict[str, str] | None = None,
    *,
    artifact_path: str | None = None,
) -> Manifest:
    """Give the Job of one run."""
    given = {**rendering.function.spec.parameters, **parameters}
    spec = job_spec(rendering, given, inputs or {}, run=run, artifact_path=artifact_path)
    found = made(rendering, "batch/v1", "Job", child(rendering.name, run), spec)
    found["metadata"]["labels"][RUN] = run
    found["metadata"]["annotations"][PARAMETERS] = msgspec.json.encode(given).decode()
    return found


def job_sink(rendering: Rendering) -> Manifest:
    """Give the JobSink that starts a run for each event that is posted to it."""
    started = {"metadata": {"labels": labels(rendering)}, "spec": job_spec(rendering)}
    return made(rendering, JOB_SINK, "JobSink", rendering.name, {"job": started})


def job_spec(
    rendering: Rendering,
    parameters: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    *,
    run: str = "",
    artifact_path: str | None = None,
) -> dict[str, Any]:
    """Give the `spec` of a Job. A run that fails is not repeated: whoever started it decides."""
    spec = rendering.function.spec
    given = spec.parameters if parameters is None else parameters
    environ = {"TRIMTAB_FUNCTION": rendering.name, "TRIMTAB_PROJECT": rendering.function.metadata.project}
    if run:
        environ["TRIMTAB_RUN"] = run
    if given:
        environ["TRIMTAB_PARAMETERS"] = msgspec.json.encode(given).decode()
    if artifact_path:
        environ["TRIMTAB_ARTIFACT_PATH"] = artifact_path
    if inputs:
        environ["TRIMTAB_INPUTS"] = msgspec.json.encode(inputs).decode()
    found: dict[str, Any] = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT,
        "template": {
            "metadata": {"labels": labels(rendering)},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": round(seconds(spec.timeouts.drain)),
                "containers": [
                    {**container(rendering, environ=environ), "terminationMessagePolicy": "FallbackToLogsOnError"}
                ],
                **pod(rendering),
            },
        },
    }
    if deadline := round(seconds(spec.timeouts.request)):
        found["activeDeadlineSeconds"] = deadline
    return found
