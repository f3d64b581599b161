"""What is known of a revision that is waited for, and what is said of it: the central types of the diagnosis. Pure."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.container import MAIN

Reason = Literal[
    "image-not-found",
    "image-denied",
    "image-platform",
    "image-root",
    "registry-unreachable",
    "config-missing",
    "node-busy",
    "out-of-memory",
    "exits",
    "crash",
    "unschedulable",
    "quota",
    "webhook",
    "not-ready",
    "name-taken",
    "ingress",
    "failed",
]


class Situation(Struct, kw_only=True):
    """What is known of one revision that is waited for. Objects are as the API gives them."""

    service: Manifest
    revision: Manifest | None = None
    pods: list[Manifest] = []
    events: list[Manifest] = []
    logs: dict[str, str] = {}
    """Pods' last log lines, where they were asked for."""
    waited: float = 0.0
    """Seconds since the objects were applied."""
    lasted: dict[str, float] = {}
    """Seconds for which objects, by name, have been seen in the state (`state_of`) that they are in."""
    patience: float = 60.0
    """Seconds that a replica may take to become ready (`spec.timeouts.start`)."""

    @property
    def name(self) -> str:
        """The revision's name, or the function's while there is none."""
        return str((self.revision or self.service)["metadata"]["name"])

    @property
    def spec(self) -> dict[str, Any]:
        """The pods' `spec`, as it was asked for."""
        spec: dict[str, Any] = (self.revision or {}).get("spec") or self.service["spec"]["template"]["spec"]
        return spec

    @property
    def image(self) -> str:
        """The function's image."""
        return str(self.spec["containers"][0]["image"])

    def since(self, item: Manifest | None) -> float:
        """Give for how long an object has been as it is; where nobody watched, since the objects were applied."""
        return self.lasted.get(((item or {}).get("metadata") or {}).get("name", ""), self.waited)

    def said(self, name: str, reason: str) -> list[str]:
        """Give the messages of an object's events of that reason."""
        own = (event for event in self.events if (event.get("involvedObject") or {}).get("name") == name)
        return [str(event.get("message", "")) for event in own if event.get("reason") == reason]


class Diagnosis(Struct, frozen=True, kw_only=True):
    """What is wrong. `final`: waiting does not help; `growing`: the cluster itself is seeing to it."""

    reason: Reason
    text: str
    final: bool = True
    growing: bool = False


def condition(item: Manifest | None, kind: str) -> dict[str, Any]:
    """Give one of an object's conditions; empty where it has none of that kind."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def container_of(pod: Manifest) -> str:
    """Name the container of a pod that is ours: the function's, or the one that consumes a stream or posts a tick."""
    names = [str(each.get("name", MAIN)) for each in (pod.get("spec") or {}).get("containers") or []]
    return MAIN if MAIN in names or not names else names[0]


def main_status(pod: Manifest) -> dict[str, Any]:
    """Give the state of the container that is ours; empty while there is none."""
    statuses, name = (pod.get("status") or {}).get("containerStatuses") or [], container_of(pod)
    return next((each for each in statuses if each.get("name") == name), {})


def crashed(pod: Manifest) -> dict[str, Any]:
    """Give how the function's container ended last; empty where it has not."""
    status = main_status(pod)
    return (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}


def state_of(item: Manifest) -> tuple[object, ...]:
    """Give what of an object's status patience depends on: it begins anew when this changes."""
    status = main_status(item)
    ready = [condition(item, kind).get("status") for kind in ("PodScheduled", "ConfigurationsReady")]
    own = condition(item, "Ready").get("status")
    others = [
        next(iter(each.get("state") or {}), "") for each in (item.get("status") or {}).get("containerStatuses") or []
    ]
    return (*ready, own, *others, status.get("restartCount", 0))
