"""Waits until the consumers of a function's streams run: as many of each as are wanted, of the newest template."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import CONTAINER_SOURCE, DEPLOYMENT, POD
from trimtab.deploy.knative.describe import is_ready
from trimtab.deploy.knative.evidence import Evidence
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER, FUNCTION, MANAGED_BY
from trimtab.deploy.knative.manifests.streams import TEMPLATE
from trimtab.deploy.knative.mirror import Mirror
from trimtab.deploy.knative.situation import Situation
from trimtab.deploy.stages import Stages


class Consumers(Struct, frozen=True, kw_only=True):
    """The consumers of one stream: the object that makes their pods, and how many there are to be at least."""

    item: Manifest
    count: int

    def has(self, pod: Manifest) -> bool:
        """Tell whether a pod is one of them, and not of an older template, and not on its way out."""
        return "deletionTimestamp" not in pod["metadata"] and _template(pod.get("spec") or {}) == self.template

    @property
    def template(self) -> str:
        """The digest of what its pods are made of."""
        return _template(self.item["spec"]["template"]["spec"])


def _template(spec: dict[str, Any]) -> str:
    """Find the digest in what a pod is made of; empty where none is: another's pod."""
    variables = [each for container in spec.get("containers") or [] for each in container.get("env") or []]
    return next((str(each.get("value")) for each in variables if each["name"] == TEMPLATE), "")


def consumers_of(objects: list[Manifest]) -> list[Consumers]:
    """Find them among what is applied. KEDA makes as many as its object says."""
    least = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"]["minReplicaCount"]
        for item in objects
        if item["kind"] == "ScaledObject"
    }
    return [
        Consumers(item=item, count=item["spec"].get("replicas", least.get(item["metadata"]["name"], 1)))
        for item in objects
        if item["kind"] in (DEPLOYMENT.name, CONTAINER_SOURCE.name)
    ]


def wait_for(api: Api, stages: Stages, consumers: list[Consumers], evidence: Evidence) -> None:
    """Block until all of them run and are connected. Errors: DeployFailed."""
    labels = {MANAGED_BY: FIELD_MANAGER, FUNCTION: consumers[0].item["metadata"]["labels"][FUNCTION]}
    with Mirror(api, POD, evidence.changed, labels) as mirror:
        while True:
            pods = mirror.items()
            own = [(each, [pod for pod in pods if each.has(pod)]) for each in consumers]
            evidence.refresh([pod for _, theirs in own for pod in theirs])
            late = [(each, theirs) for each, theirs in own if sum(map(is_ready, theirs)) < each.count]
            if not late:
                break
            for each, theirs in late:
                situation = Situation(service=each.item, pods=theirs)
                evidence.complete(situation, theirs)
                evidence.judge(situation)
            evidence.rest()
    ready = sum(is_ready(pod) for _, theirs in own for pod in theirs)
    stages.finish("consumers", f"{ready} ready" if ready else "none until messages wait")
