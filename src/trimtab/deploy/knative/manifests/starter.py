"""What starts a job for an event where no JobSink does: a Service of ours that may create Jobs, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import literal
from trimtab.deploy.knative.manifests.job import LONGEST, job_spec
from trimtab.deploy.knative.manifests.names import FUNCTION, child, labelled, labels
from trimtab.deploy.knative.manifests.service import service
from trimtab.handlers.starter import DIGEST, EVENT
from trimtab.spec import EnvVar, FunctionSpec, Scheduling

_HANDLER = "trimtab.handlers.starter:handler"
_RBAC = "rbac.authorization.k8s.io"
_MOUNT = "/etc/jobsink-event"
"""Where a JobSink puts the event, too."""


def starter_name(rendering: Rendering) -> str:
    """Name the Service that starts the function's jobs."""
    return child(rendering.name, "starter")


def starter(rendering: Rendering) -> list[Manifest]:
    """Give the Service, and the account as which it may create Jobs in the namespace."""
    name = starter_name(rendering)
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": rendering.namespace}
    return [
        labelled(rendering, "v1", "ServiceAccount", name, {}),
        labelled(rendering, f"{_RBAC}/v1", "Role", name, {"rules": [rule]}),
        labelled(rendering, f"{_RBAC}/v1", "RoleBinding", name, {"roleRef": role, "subjects": [subject]}),
        _service(rendering, name),
    ]


def _service(rendering: Rendering, name: str) -> Manifest:
    """Give a function like any other; its labels say that it belongs to the job."""
    own = rendering.function
    (given,) = literal({"TRIMTAB_JOB": msgspec.json.encode(_job(rendering)).decode()})
    spec = FunctionSpec(
        handler=_HANDLER,
        visibility="cluster-local",
        env=[EnvVar(**given)],
        scheduling=Scheduling(service_account=name, image_pull_secrets=own.spec.scheduling.image_pull_secrets),
    )
    function = replace(own, metadata=replace(own.metadata, name=name), spec=spec)
    found = service(replace(rendering, function=function, environ={}))
    for metadata in (found["metadata"], found["spec"]["template"]["metadata"]):
        metadata["labels"][FUNCTION] = rendering.name
    return found


def _job(rendering: Rendering) -> Manifest:
    """Give the Job of every event: `trimtab.handlers.starter` completes its name, and adds the event."""
    spec = job_spec(rendering)
    inner = spec["template"]["spec"]
    (container,) = inner["containers"]
    container["env"].insert(0, {"name": "K_EVENT_PATH", "value": _MOUNT})  # before what a SinkBinding sets
    container.setdefault("volumeMounts", []).append({"name": "trimtab-event", "mountPath": _MOUNT, "readOnly": True})
    item = {"path": "event", "fieldRef": {"fieldPath": f"metadata.annotations['{EVENT}']"}}
    inner.setdefault("volumes", []).append({"name": "trimtab-event", "downwardAPI": {"items": [item]}})
    name = child(rendering.name, limit=LONGEST - DIGEST - 1)
    metadata: dict[str, Any] = {"name": name, "namespace": rendering.namespace, "labels": labels(rendering)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
