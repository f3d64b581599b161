"""A function that runs to its end: a Kubernetes Job for each run, and a JobSink for those that events start."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import MAIN, container, pod
from trimtab.deploy.knative.manifests.names import JOB_SINK, child, labels, made
from trimtab.runtime.job import REFUSED
from trimtab.spec.quantity import seconds

KEPT = 24 * 3600
"""Seconds a run that has ended stays on the cluster, with its log, where the job does not say."""
LONGEST = 61
"""Characters of a Job's name: its pod's host name, a DNS label, has `-0` behind it when the Job is indexed."""
FAILURES = "batch.kubernetes.io/job-index-failure-count"
"""The annotation of a pod that says how many before it failed; Kubernetes counts only for indexed Jobs."""
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
    found = made(rendering, "batch/v1", "Job", child(rendering.name, run, limit=LONGEST), spec)
    found["metadata"]["labels"][RUN] = run
    found["metadata"]["annotations"][PARAMETERS] = msgspec.json.encode(given).decode()
    return found


def job_sink(rendering: Rendering) -> Manifest:
    """Give the JobSink that starts a run for each event that is posted to it."""
    started = {"metadata": {"labels": labels(rendering)}, "spec": job_spec(rendering)}
    for each in started["spec"]["template"]["spec"]["containers"]:
        each["env"] = [*each["env"], {"name": "K_EXECUTION_MODE", "value": "batch"}]  # a webhook would put it there
    return made(rendering, JOB_SINK, "JobSink", rendering.name, {"job": started})


def job_spec(
    rendering: Rendering,
    parameters: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    *,
    run: str = "",
    artifact_path: str | None = None,
) -> dict[str, Any]:
    """Give the `spec` of a Job."""
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
    main = {**container(rendering, environ=environ), "terminationMessagePolicy": "FallbackToLogsOnError"}
    if limit := spec.job.backoff_limit:
        main["env"] = [*_tries(limit), *main["env"]]
    kept = spec.job.ttl_after_finished
    found: dict[str, Any] = {
        **_repeated(limit),
        "ttlSecondsAfterFinished": KEPT if kept is None else round(seconds(kept)),
        "template": {
            "metadata": {"labels": labels(rendering)},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": round(seconds(spec.timeouts.drain)),
                "containers": [main],
                **pod(rendering),
            },
        },
    }
    if deadline := round(seconds(spec.job.active_deadline)):
        found["activeDeadlineSeconds"] = deadline
    return found


def _repeated(limit: int) -> dict[str, Any]:
    """Say how often a run that fails is tried again; one whose exit code says that it would fail again is not.

    An indexed Job of one index does what a plain one does, and tells each pod how many failed before it (from Kubernetes
    1.29 on), so that only the last one tells of the run's end.
    """
    if limit == 0:
        return {"backoffLimit": 0}
    codes = {"containerName": MAIN, "operator": "In", "values": [REFUSED]}
    return {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimitPerIndex": limit,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": codes}]},
    }


def _tries(limit: int) -> list[dict[str, Any]]:
    """Give the variables from which the container knows whether there is another try after it."""
    return [
        {"name": "TRIMTAB_BACKOFF_LIMIT", "value": str(limit)},
        {"name": "TRIMTAB_FAILURES", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{FAILURES}']"}}},
    ]
