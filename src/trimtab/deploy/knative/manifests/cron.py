"""A function called by the clock: PingSource, or a CronJob where the trigger asks for what PingSource cannot do.

PingSource fires while its adapter runs, retries for some seconds, and forgets what it missed. A CronJob makes up for the
last missed tick, and can leave a tick out while the one before is being worked on; its pod posts the tick as an event
with the trigger's retries. It knows no seconds, so a schedule that has them is a PingSource whatever the trigger asks.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import container, literal, pod
from trimtab.deploy.knative.manifests.events import reference
from trimtab.deploy.knative.manifests.job import LONGEST, job_spec
from trimtab.deploy.knative.manifests.names import child, labels, made
from trimtab.errors import SpecError
from trimtab.spec import CronTrigger, Retry
from trimtab.spec.plain import plain
from trimtab.spec.quantity import seconds
from trimtab.spec.schedule import NICKNAMES
from trimtab.triggers.cron.event import encoded, source

_JOB_LIMIT = LONGEST - 11
"""Characters of a CronJob's name: its jobs' names are eleven longer."""
_TICKS_KEPT, _RUNS_KEPT = 3, 100
"""Jobs that succeeded, and as many that failed, that the cluster keeps at most: those that post ticks, and runs."""


def cron(rendering: Rendering, trigger: CronTrigger, path: str) -> Manifest:
    """Give the object that calls the function. Errors: SpecError for a schedule that no cluster knows, naming `path`."""
    schedule = fields(trigger.schedule, f"{path}.schedule")
    if rendering.function.spec.kind == "job":
        return _cron_job(rendering, trigger, schedule, path, starts_job=True)
    if wants_cron_job(trigger) and len(schedule.split()) == 5:
        return _cron_job(rendering, trigger, schedule, path, starts_job=False)
    return _ping_source(rendering, trigger, schedule)


def notes(trigger: CronTrigger, *, job: bool) -> list[str]:
    """Say what becomes of the trigger's policies."""
    where = f"trigger {trigger.name!r}"
    if not job and wants_cron_job(trigger) and len(fields(trigger.schedule, where).split()) == 6:
        said = f"(catchUp: {trigger.catch_up}) and starts each in time (overlap: {trigger.overlap}), and retries as Knative does"
        return [f"{where}: a schedule with seconds is a PingSource, which does not make up for missed ticks {said}"]
    if trigger.catch_up == "all":
        return [f"{where}: catchUp 'all' is not possible on Kubernetes; the last missed tick is made up for"]
    if trigger.overlap == "queue":
        return [f"{where}: overlap 'queue' is not possible on Kubernetes; a tick waits as long as only one other does"]
    return []


def wants_cron_job(trigger: CronTrigger) -> bool:
    """Whether the trigger asks for what PingSource cannot do."""
    return trigger.catch_up != "none" or trigger.overlap != "allow" or trigger.retry != Retry()


def fields(schedule: str, path: str) -> str:
    """Write a schedule in five fields, or in six with seconds first. Errors: SpecError."""
    if schedule in NICKNAMES:
        return NICKNAMES[schedule]
    if not schedule.startswith("@every"):
        return schedule
    every = seconds(schedule.removeprefix("@every").strip())
    for unit, size, text in ((1, 60, "*/{n} * * * * *"), (60, 60, "*/{n} * * * *"), (3600, 24, "0 */{n} * * *")):
        count = every / unit
        if count == int(count) and count < size and size % int(count) == 0:
            return text.format(n=int(count)).replace("*/1 ", "* ")
    allowed = "an interval that divides the minute, the hour or the day evenly, such as '@every 15m': Kubernetes knows fields only"
    raise SpecError(path, schedule, allowed)


def _ping_source(rendering: Rendering, trigger: CronTrigger, schedule: str) -> Manifest:
    spec: dict[str, Any] = {"schedule": schedule, "timezone": trigger.timezone, "sink": {"ref": reference(rendering)}}
    if trigger.data is not None:
        spec["contentType"] = trigger.content_type
        spec["data"] = encoded(trigger.data, trigger.content_type).decode()
        if trigger.content_type == "application/json" and not spec["data"].lstrip().startswith("{"):
            spec["contentType"] = "application/json; charset=utf-8"  # Knative takes objects alone as application/json
    name = child(rendering.name, trigger.name)
    return made(rendering, "sources.knative.dev/v1", "PingSource", name, spec, trigger=trigger.name)


def _cron_job(rendering: Rendering, trigger: CronTrigger, schedule: str, path: str, *, starts_job: bool) -> Manifest:
    if len(schedule.split()) == 6:
        raise SpecError(
            f"{path}.schedule", trigger.schedule, "whole minutes: a CronJob, which starts a job, knows no seconds"
        )
    work, kept = (job_spec(rendering), _RUNS_KEPT) if starts_job else (_post(rendering, trigger), _TICKS_KEPT)
    spec: dict[str, Any] = {
        "schedule": schedule,
        "timeZone": trigger.timezone,
        "concurrencyPolicy": "Allow" if trigger.overlap == "allow" else "Forbid",
        "successfulJobsHistoryLimit": kept,
        "failedJobsHistoryLimit": kept,
        "suspend": trigger.disabled,
        "jobTemplate": {"metadata": {"labels": labels(rendering, trigger.name)}, "spec": work},
    }
    if trigger.catch_up == "none":
        spec["startingDeadlineSeconds"] = 10  # Kubernetes refuses to start any with less
    name = child(rendering.name, trigger.name, limit=_JOB_LIMIT)
    return made(rendering, "batch/v1", "CronJob", name, spec, trigger=trigger.name)


def _post(rendering: Rendering, trigger: CronTrigger) -> dict[str, Any]:
    """Give the job that posts one tick: the function's own image, without its resources and secrets."""
    namespace = rendering.namespace
    tick = {
        "TRIMTAB_FUNCTION": rendering.name,
        "TRIMTAB_TICK": msgspec.json.encode(plain(trigger, defaults=False)).decode(),
        "TRIMTAB_TICK_SOURCE": source(namespace, rendering.name, trigger.name),
        "TRIMTAB_TICK_URL": f"http://{rendering.name}.{namespace}.svc.cluster.local/",
    }
    whole = container(rendering)
    poster = {
        "name": "tick",
        "image": whole["image"],
        "command": ["python3", "-m", "trimtab.triggers.cron.post"],
        "env": [
            *literal(tick),
            {"name": "TRIMTAB_TICK_JOB", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": whole["securityContext"],
    }
    kept = {name: value for name, value in pod(rendering).items() if name != "volumes"}
    return {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 3600,
        "template": {
            "metadata": {"labels": labels(rendering, trigger.name)},
            "spec": {"restartPolicy": "Never", "containers": [poster], **kept},
        },
    }
