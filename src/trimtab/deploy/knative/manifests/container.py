"""The container that holds a function's code: image, environment, resources, mounts, rights."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.deploy.knative.manifests.abc import Rendering
from trimtab.spec import EnvVar, FunctionSpec, KeyRef, Volume
from trimtab.spec.plain import plain
from trimtab.spec.quantity import seconds, size

MAIN = "user-container"
"""The container's name; Knative's own default."""
SPOOL = "/tmp/trimtab-spool"  # noqa: S108  /tmp of the container, which Knative's runtime contract makes writable
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the Pod Security Standard "restricted" asks of a container."""


BOUND = ("K_SINK", "K_CA_CERTS", "K_CE_OVERRIDES")
"""Variables that a SinkBinding sets, in its order."""


def container(rendering: Rendering, *, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Give the container, without ports and probes; `environ` is set besides the function's own variables."""
    spec = rendering.function.spec
    variables = {**runtime(spec), **(environ or {})}
    found: dict[str, Any] = {
        "name": MAIN,
        "image": rendering.image,
        "env": _merged([*literal(variables), *map(_variable, spec.env), *_plain(rendering.environ), *bound(rendering)]),
        "securityContext": RESTRICTED,
    }
    if resources := _resources(spec):
        found["resources"] = resources
    if spec.volumes:
        found["volumeMounts"] = [_mount(volume) for volume in spec.volumes]
    return found


def bound(rendering: Rendering) -> list[dict[str, Any]]:
    """Give what the SinkBinding will set, so that it changes nothing and the first pod has it.

    Waiting for it is no way: a binding is not ready before its subject is there, and its webhook, which is another program,
    says to nobody when it knows of it (knative.dev/pkg/webhook/psbinding).
    """
    sink = rendering.function.spec.sink
    if sink is None or not (address := sink.uri or rendering.sink):
        return []
    overrides: dict[str, Any] = {"name": "K_CE_OVERRIDES"}
    if sink.extensions:
        overrides["value"] = msgspec.json.encode({"extensions": sink.extensions}, order="sorted").decode()
    return [{"name": "K_SINK", "value": address}, overrides]


def _merged(variables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each name once: the last one wins, and stands last, for `$(NAME)` looks back only."""
    found: dict[str, dict[str, Any]] = {}
    for each in variables:
        found.pop(each["name"], None)
        found[each["name"]] = each
    return list(found.values())


def pod(rendering: Rendering) -> dict[str, Any]:
    """Give what stands beside the containers: volumes, and where the pod may run as whom."""
    spec = rendering.function.spec
    scheduling = spec.scheduling
    found: dict[str, Any] = {
        "enableServiceLinks": False,
        "serviceAccountName": scheduling.service_account,
        "imagePullSecrets": [{"name": name} for name in scheduling.image_pull_secrets],
        "nodeSelector": scheduling.node_selector,
        "affinity": scheduling.affinity,
        "tolerations": scheduling.tolerations,
        "priorityClassName": scheduling.priority_class,
        "volumes": [{"name": volume.name, **_source(volume)} for volume in spec.volumes],
    }
    return {name: value for name, value in found.items() if value or value is False}


def runtime(spec: FunctionSpec) -> dict[str, str]:
    """Give the runtime's own settings (`trimtab.runtime.config`), those that are not its defaults."""
    found = {"TRIMTAB_HANDLER": spec.handler} if spec.handler else {}
    defaults = FunctionSpec()
    if spec.kind != "http":
        found["TRIMTAB_KIND"] = spec.kind
    if spec.scale.concurrency:
        found["TRIMTAB_CONCURRENCY"] = str(spec.scale.concurrency)
    if spec.scale.workers > 1:
        found["TRIMTAB_WORKERS"] = str(spec.scale.workers)
    if spec.limits.queue is not None:
        found["TRIMTAB_QUEUE"] = str(spec.limits.queue)
    for variable, field in (("REQUEST_TIMEOUT", "request"), ("START_TIMEOUT", "start"), ("DRAIN", "drain")):
        value = seconds(getattr(spec.timeouts, field))
        if value != seconds(getattr(defaults.timeouts, field)):
            found[f"TRIMTAB_{variable}"] = f"{value:g}"
    if size(spec.limits.body) != size(defaults.limits.body):
        found["TRIMTAB_BODY_LIMIT"] = str(size(spec.limits.body))
    if spec.sink is not None:
        found["TRIMTAB_SPOOL"] = SPOOL
    for variable, part in (("MODELS", spec.models), ("TRACKING", spec.tracking), ("RETRAIN", spec.retrain)):
        if part:
            found[f"TRIMTAB_{variable}"] = msgspec.json.encode(plain(part, defaults=False)).decode()
    return found


def literal(variables: dict[str, str]) -> list[dict[str, Any]]:
    """Give variables whose values a container sees as they are: Kubernetes puts others in for `$(NAME)`, but not for `$$(NAME)`."""
    return _plain({name: value.replace("$", "$$") for name, value in variables.items()})


def _plain(variables: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def _variable(variable: EnvVar) -> dict[str, Any]:
    source = variable.value_from
    if source is None:
        return {"name": variable.name, "value": variable.value or ""}
    if source.secret_key_ref is not None:
        return {"name": variable.name, "valueFrom": {"secretKeyRef": _key(source.secret_key_ref)}}
    assert source.config_map_key_ref is not None  # `check` saw to it
    return {"name": variable.name, "valueFrom": {"configMapKeyRef": _key(source.config_map_key_ref)}}


def _key(ref: KeyRef) -> dict[str, Any]:
    return {"name": ref.name, "key": ref.key, **({"optional": True} if ref.optional else {})}


def _resources(spec: FunctionSpec) -> dict[str, dict[str, str]]:
    found = plain(spec.resources, defaults=False)
    return {kind: {name: str(amount) for name, amount in amounts.items()} for kind, amounts in found.items() if amounts}


def _mount(volume: Volume) -> dict[str, Any]:
    found: dict[str, Any] = {"name": volume.name, "mountPath": volume.mount_path}
    if volume.sub_path is not None:
        found["subPath"] = volume.sub_path
    if volume.read_only or _is_read_only(volume):
        found["readOnly"] = True
    return found


def _is_read_only(volume: Volume) -> bool:
    """Secrets and ConfigMaps cannot be written, and Knative wants the mount to say so."""
    return volume.source.secret is not None or volume.source.config_map is not None


def _source(volume: Volume) -> dict[str, Any]:
    source = volume.source
    if source.persistent_volume_claim is not None:
        claim = {"claimName": source.persistent_volume_claim, **({"readOnly": True} if volume.read_only else {})}
        return {"persistentVolumeClaim": claim}
    if source.secret is not None:
        return {"secret": {"secretName": source.secret}}
    if source.config_map is not None:
        return {"configMap": {"name": source.config_map}}
    if source.host_path is not None:
        return {"hostPath": {"path": source.host_path}}
    return {"emptyDir": {}}
