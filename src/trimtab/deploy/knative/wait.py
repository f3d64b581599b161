"""Waits until what was applied serves, shows each stage, and gives up with a sentence as soon as waiting cannot help."""

from __future__ import annotations

from contextlib import ExitStack

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import POD, REVISION, SERVICE
from trimtab.deploy.knative.describe import OF_REVISION, OF_SERVICE, is_ready
from trimtab.deploy.knative.evidence import Evidence
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import SPEC_HASH
from trimtab.deploy.knative.mirror import Mirror
from trimtab.deploy.knative.place import FORCED
from trimtab.deploy.knative.situation import Situation, condition
from trimtab.deploy.stages import Stages
from trimtab.errors import NotFound


class Waiter:
    """Waits for one function."""

    def __init__(self, api: Api, stages: Stages, evidence: Evidence) -> None:
        self._api, self._stages, self._evidence = api, stages, evidence

    def wait(self, applied: Manifest) -> Manifest:
        """Block until the Service that was applied serves; give it. Errors: DeployFailed, NotFound when it is deleted."""
        name = applied["metadata"]["name"]
        with ExitStack() as stack:
            labels = {OF_SERVICE: name}
            services, revisions, pods = (
                stack.enter_context(Mirror(self._api, kind, self._evidence.changed, own, fields))
                for kind, own, fields in (
                    (SERVICE, None, f"metadata.name={name}"),
                    (REVISION, labels, ""),
                    (POD, labels, ""),
                )
            )
            known = False
            while True:
                found = services.items()
                if known and not found:
                    raise NotFound(f"{name!r} was deleted while it was waited for; deploy it again")
                known = bool(found)
                service = found[0] if found else applied
                self._evidence.refresh(pods.items())
                situation = self._situation(service, revisions.items(), pods.items())
                if self._served(applied, situation):
                    return service
                if is_current(service, service):
                    self._evidence.judge(situation)
                else:
                    self._evidence.hurry(situation)
                self._evidence.rest()

    def _situation(self, service: Manifest, revisions: list[Manifest], pods: list[Manifest]) -> Situation:
        latest = (service.get("status") or {}).get("latestCreatedRevisionName")
        named = (each for each in revisions if each["metadata"]["name"] == latest)
        revision = next((each for each in named if _is_of(each, service)), None)
        own = [pod for pod in pods if _belongs(pod, latest)]
        situation = Situation(service=service, revision=revision, pods=own if revision is not None else [])
        self._evidence.complete(situation, [service, *([revision] if revision is not None else []), *own])
        if revision is None:
            situation.events = []  # they are about the revisions before
        return situation

    def _served(self, applied: Manifest, situation: Situation) -> bool:
        """Report the stages that are done; True when the last one is."""
        service = situation.service
        if situation.revision is None or not is_current(service, applied):
            return False
        done = {stage.name for stage in self._stages.done}
        if "revision" not in done:
            self._stages.finish("revision", situation.name)
        if condition(situation.revision, "Ready").get("status") != "True":
            return False  # the Service's own word may be about the revision before
        if "pods" not in done:
            count = sum(map(is_ready, situation.pods))
            self._stages.finish("pods", f"{count} ready" if count else "")  # their watch may lag
        if condition(service, "Ready").get("status") == "True":
            self._stages.finish("route", (service.get("status") or {}).get("url", ""))
            return True
        return False


def is_current(service: Manifest, applied: Manifest) -> bool:
    """Tell whether Knative has seen what was applied: older conditions say nothing about it."""
    seen = (service.get("status") or {}).get("observedGeneration", 0)
    return bool(seen >= max(applied["metadata"].get("generation", 0), service["metadata"].get("generation", 0)))


def _belongs(pod: Manifest, revision: str | None) -> bool:
    """Tell whether a pod is a revision's, and stays: one on its way out may be of a deleted one that had the name."""
    metadata = pod["metadata"]
    return (metadata.get("labels") or {}).get(OF_REVISION) == revision and "deletionTimestamp" not in metadata


def _is_of(revision: Manifest, service: Manifest) -> bool:
    """Tell whether a revision was made of the template as it is: for a moment the one before still counts as the latest."""
    wanted = (service["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    found = revision["metadata"].get("annotations") or {}
    return all(found.get(name) == wanted.get(name) for name in (SPEC_HASH, FORCED))
