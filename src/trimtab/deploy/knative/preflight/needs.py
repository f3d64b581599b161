"""What a function's objects need of a cluster: feature flags, API groups, brokers, permissions."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trimtab.deploy.knative.client.kinds import (
    ALWAYS,
    BROKER,
    EVENT,
    JOB,
    POD,
    REVISION,
    SERVICE,
    Kind,
    kind_of,
)
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import FUNCTION

HELPFUL = (("list", EVENT, ""), ("get", POD, "log"))
"""What a function is deployed without, and what goes wrong is told in fewer words."""
_FIELDS = {
    "nodeSelector": "kubernetes.podspec-nodeselector",
    "affinity": "kubernetes.podspec-affinity",
    "tolerations": "kubernetes.podspec-tolerations",
    "priorityClassName": "kubernetes.podspec-priorityclassname",
}
_CLAIM = "kubernetes.podspec-persistent-volume-claim"
_WRITE = "kubernetes.podspec-persistent-volume-write"
DEFAULT_ON = {"kubernetes.podspec-volumes-emptydir"}
"""Flags that are on unless somebody turned them off."""


class Flag(Struct, frozen=True):
    """A feature flag, the field that needs it, and the values that will do."""

    name: str
    field: str
    values: tuple[str, ...] = ("enabled", "allowed")


def flags(manifests: list[Manifest]) -> list[Flag]:
    """Give the flags of Knative Serving that the function's Service needs, each once."""
    found: dict[str, Flag] = {}
    for manifest in manifests:
        if kind_of(manifest) == SERVICE:
            for flag in _of_pod(manifest["spec"]["template"]["spec"]):
                found.setdefault(flag.name, flag)
    return list(found.values())


def _of_pod(spec: dict[str, Any]) -> list[Flag]:
    found = [Flag(flag, field) for field, flag in _FIELDS.items() if spec.get(field)]
    for volume in spec.get("volumes", []):
        field = f"volume {volume['name']!r}"
        if claim := volume.get("persistentVolumeClaim"):
            found.append(Flag(_CLAIM, field, ("enabled",)))
            if not claim.get("readOnly"):
                found.append(Flag(_WRITE, f"{field}, which is not readOnly", ("enabled",)))
        if "hostPath" in volume:
            found.append(Flag("kubernetes.podspec-volumes-hostpath", field, ("enabled",)))
        if "emptyDir" in volume:
            found.append(Flag("kubernetes.podspec-volumes-emptydir", field, ("enabled",)))
    if any("fieldRef" in (v.get("valueFrom") or {}) for c in spec["containers"] for v in c.get("env", [])):
        found.append(Flag("kubernetes.podspec-fieldref", "env"))
    return found


def kinds(manifests: list[Manifest]) -> list[Kind]:
    """Give the kinds of these objects, each once."""
    return list(dict.fromkeys(map(kind_of, manifests)))


def sources(manifests: list[Manifest]) -> set[str]:
    """Give the brokers that triggers take from."""
    return {manifest["spec"]["broker"] for manifest in manifests if manifest["kind"] == "Trigger"}


def sinks(manifests: list[Manifest]) -> set[str]:
    """Give the brokers that functions put into."""
    refs = (((manifest.get("spec") or {}).get("sink") or {}).get("ref") or {} for manifest in manifests)
    return {ref["name"] for ref in refs if ref.get("kind") == "Broker"}


def is_function(manifest: Manifest) -> bool:
    """Tell a function's Service from one that starts its jobs."""
    return kind_of(manifest) == SERVICE and manifest["metadata"]["labels"][FUNCTION] == manifest["metadata"]["name"]


def permissions(manifests: list[Manifest], present: set[str]) -> list[tuple[str, Kind, str]]:
    """Give (verb, kind, subresource) of all that deploying, describing, pruning and deleting the function asks for."""
    wanted = [(verb, kind, "") for kind in kinds(manifests) for verb in ("get", "create", "patch")]
    own = [*kinds(manifests), *(kind for kind in ALWAYS if kind.api in present or not kind.group)]
    wanted += [(verb, kind, "") for kind in own for verb in ("list", "delete")]
    wanted += [("watch", kind, "") for kind in (SERVICE, REVISION, POD)] + [
        ("list", kind, "") for kind in (REVISION, POD)
    ]
    wanted += HELPFUL
    if sinks(manifests):
        wanted.append(("get", BROKER, ""))
    if not any(is_function(manifest) for manifest in manifests):
        wanted += [(verb, JOB, "") for verb in ("create", "get", "list", "delete", "patch", "watch")]
    return list(dict.fromkeys(wanted))
