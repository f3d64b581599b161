"""From a function's objects to what the port says of it. Pure."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from trimtab.deploy.abc import FunctionInfo, RevisionInfo, TriggerInfo
from trimtab.deploy.knative.client.kinds import CONTAINER_SOURCE, CRON_JOB, DEPLOYMENT, PING_SOURCE, TRIGGER, kind_of
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import TRIGGER as TRIGGER_LABEL
from trimtab.deploy.knative.record import Record
from trimtab.deploy.knative.situation import condition
from trimtab.deploy.knative.times import seconds_of
from trimtab.spec import CronTrigger, EventTrigger, Scale
from trimtab.spec.plain import plain

OF_SERVICE = "serving.knative.dev/service"
OF_REVISION = "serving.knative.dev/revision"


class Objects(Struct, kw_only=True):
    """What the cluster has of one function."""

    name: str
    record: Record | None = None
    kind: str = ""
    """The function's, where the record cannot be read."""
    unreadable: str = ""
    """Why the record cannot be read."""
    service: Manifest | None = None
    revisions: list[Manifest] = []
    pods: list[Manifest] = []
    entrance: Manifest | None = None
    """What takes the events that start a job: a JobSink, or a Service of ours."""
    triggers: list[Manifest] = []
    """PingSources, CronJobs, Triggers and what consumes streams, all with our label of the trigger."""


def describe(objects: Objects, target: str) -> FunctionInfo:
    """Give the function as it stands."""
    service, record = objects.service, objects.record
    status = (service or {}).get("status") or {}
    running = [pod for pod in objects.pods if is_ready(pod)]
    job = record.revision if record and record.function.spec.kind == "job" else ""
    return FunctionInfo(
        name=objects.name,
        kind=record.function.spec.kind if record else objects.kind or "http",
        url=with_slash(status.get("url", "") or _entrance(objects.entrance)),
        target=target,
        revision=job or status.get("latestReadyRevisionName", ""),
        revisions=[_revision(item, status, running) for item in sorted(objects.revisions, key=_age)],
        replicas=len(running),
        scale=record.function.spec.scale if record else Scale(),
        triggers=_triggers(objects),
        last_error=_error(service) or objects.unreadable or None,
    )


def _entrance(item: Manifest | None) -> str:
    """Give where events for a job go; only the cluster's own pods reach it."""
    status = (item or {}).get("status") or {}
    return str(status.get("url") or (status.get("address") or {}).get("url") or "")


def with_slash(url: str) -> str:
    """End a URL in a slash, as on every target."""
    return f"{url.rstrip('/')}/" if url else ""


def is_ready(pod: Manifest) -> bool:
    """Tell whether a pod serves and is not on its way out."""
    return condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]


def _age(revision: Manifest) -> tuple[int, str]:
    generation = (revision["metadata"].get("labels") or {}).get("serving.knative.dev/configurationGeneration", "0")
    return int(generation), revision["metadata"]["name"]


def _revision(item: Manifest, status: dict[str, Any], running: list[Manifest]) -> RevisionInfo:
    name = item["metadata"]["name"]
    traffic = [each for each in status.get("traffic") or [] if each.get("revisionName") == name]
    return RevisionInfo(
        name=name,
        created=seconds_of(item["metadata"].get("creationTimestamp")) or 0.0,
        state=_state(item, routed=bool(traffic)),
        percent=sum(int(each.get("percent") or 0) for each in traffic),
        urls={each["tag"]: with_slash(each.get("url", "")) for each in traffic if each.get("tag")},
        replicas=sum((pod["metadata"].get("labels") or {}).get(OF_REVISION) == name for pod in running),
    )


def _state(item: Manifest, *, routed: bool) -> Literal["starting", "ready", "failed", "retired"]:
    ready = condition(item, "Ready").get("status", "Unknown")
    if ready != "True":
        return "failed" if ready == "False" else "starting"
    labels = item["metadata"].get("labels") or {}
    return "retired" if labels.get("serving.knative.dev/routingState") == "reserve" and not routed else "ready"


def _error(service: Manifest | None) -> str | None:
    for kind in ("ConfigurationsReady", "RoutesReady", "Ready"):
        found = condition(service, kind)
        if found.get("status") == "False":
            return f"{found.get('reason', '')}: {found.get('message', '')}".strip(": ")
    return None


def _triggers(objects: Objects) -> list[TriggerInfo]:
    """Give the triggers of the description; those on the cluster are active, those that are not there are paused."""
    if objects.record is None:
        return []
    there = {(item["metadata"].get("labels") or {}).get(TRIGGER_LABEL): item for item in objects.triggers}
    return [_trigger(objects.name, wanted, there.get(wanted.name)) for wanted in objects.record.function.spec.triggers]


def _trigger(function: str, wanted: Any, item: Manifest | None) -> TriggerInfo:
    kind = "cron" if isinstance(wanted, CronTrigger) else "event" if isinstance(wanted, EventTrigger) else "stream"
    suspended = bool(item and (item.get("spec") or {}).get("suspend"))
    info = TriggerInfo(
        function=function,
        name=wanted.name,
        kind=kind,  # type: ignore[arg-type]
        config=plain(wanted, defaults=False),
        state="active" if item is not None and not suspended else "paused",
    )
    if item is not None and kind_of(item) == CRON_JOB:
        info.last = seconds_of((item.get("status") or {}).get("lastScheduleTime"))
    if item is not None and kind_of(item) in (PING_SOURCE, TRIGGER, CONTAINER_SOURCE, DEPLOYMENT):
        ready = condition(item, "Ready" if kind_of(item) != DEPLOYMENT else "Available")
        info.outcome = (
            None if ready.get("status") == "True" else ready.get("message") or ready.get("reason") or "not ready"
        )
    return info
