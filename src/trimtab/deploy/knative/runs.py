"""Runs of jobs: one Kubernetes Job each; what is known of a run is read back from it and from its pod."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from trimtab.deploy.abc import RunInfo
from trimtab.deploy.knative import logs
from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import EVENT, JOB, POD
from trimtab.deploy.knative.diagnosis import diagnose
from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import MAIN
from trimtab.deploy.knative.manifests.job import FAILURES, KEPT, PARAMETERS, RUN, job
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER, FUNCTION, MANAGED_BY
from trimtab.deploy.knative.mirror import Mirror
from trimtab.deploy.knative.situation import Situation, condition, main_status
from trimtab.deploy.knative.times import seconds_of, text_of
from trimtab.errors import NotFound, TargetError
from trimtab.runtime.job import REFUSED
from trimtab.runtime.once import RESULT
from trimtab.spec.quantity import duration

CANCELLED = "trimtab.dev/cancelled"
"""When a run was cancelled."""
_OF_JOB = "job-name"
"""The label by which Kubernetes ties a pod to its Job."""
_PATIENCE = 8.0


class Runs:
    """The runs in one namespace. `now` gives seconds since the epoch."""

    def __init__(self, api: Api, now: Callable[[], float] = time.time) -> None:
        self._api, self._now = api, now

    def start(
        self, rendering: Rendering, parameters: dict[str, Any], inputs: dict[str, str], artifact_path: str | None
    ) -> RunInfo:
        """Start a run; return as soon as its Job is there."""
        run = uuid.uuid4().hex[:12]
        made = self._api.create(job(rendering, run, parameters, inputs, artifact_path=artifact_path))
        return describe(made, None)

    def list(self, function: str | None = None) -> list[RunInfo]:
        """Give the history, newest first: as long as the cluster keeps the Jobs, and we those that were cancelled."""
        labels = {MANAGED_BY: FIELD_MANAGER, **({FUNCTION: function} if function else {})}
        pods = _by_job(self._api.all(POD, labels))
        runs = [item for item in self._api.all(JOB, labels) if _is_run(item)]
        old = [item for item in runs if self._is_old(item)]
        self._drop(old)
        found = [self._described(item, pods.get(item["metadata"]["name"])) for item in runs if item not in old]
        return sorted(found, key=lambda info: info.created, reverse=True)

    def _is_old(self, item: Manifest) -> bool:
        """Tell a run that was cancelled long ago: to the cluster a suspended Job never finishes, so its time never runs out."""
        cancelled = _cancelled(item)
        return cancelled is not None and self._now() - cancelled > _kept(item)

    def _drop(self, items: Iterable[Manifest]) -> None:
        for item in items:
            with contextlib.suppress(TargetError):  # whoever may only look still gets the history
                self._api.delete(JOB, item["metadata"]["name"], uid=item["metadata"].get("uid", ""))

    def get(self, run: str) -> RunInfo:
        """Give one run. Errors: NotFound."""
        item = self._job(run)
        return self._described(item, self._pod(item))

    def _pod(self, item: Manifest) -> Manifest | None:
        name = item["metadata"]["name"]
        return _by_job(self._api.all(POD, {_OF_JOB: name})).get(name)

    def _described(self, item: Manifest, pod: Manifest | None) -> RunInfo:
        """Describe a run; a report that did not fit the termination message is read from the log."""
        message = _message(pod)
        if pod is not None and (report(message).get("in_log")):
            message = next(
                (line for line in reversed(list(logs.lines(self._api, pod))) if f'"{RESULT}"' in line), message
            )
        return describe(item, pod, message)

    def cancel(self, run: str) -> RunInfo:
        """Stop a run and keep it in the history: a suspended Job's pod gets SIGTERM, and SIGKILL after its grace period."""
        item = self._job(run)
        info = self._described(item, self._pod(item))
        if info.state in ("pending", "running"):
            patch = {"metadata": {"annotations": {CANCELLED: text_of(self._now())}}, "spec": {"suspend": True}}
            item = self._api.change(JOB, item["metadata"]["name"], patch)
            info = describe(item, None)
        return info

    def wait(self, run: str, on_log: Callable[[str], None] | None) -> RunInfo:
        """Follow a run to its end; `on_log` gets its lines. What keeps it from starting is said there too."""
        bell, started, said = threading.Event(), time.monotonic(), ""
        noted: set[int] = set()
        name = self._job(run)["metadata"]["name"]
        follower = _Lines(self._api, name, on_log) if on_log else None
        try:
            with (
                Mirror(self._api, JOB, bell.set, fields=f"metadata.name={name}") as jobs,
                Mirror(self._api, POD, bell.set, {_OF_JOB: name}) as pods,
            ):
                while True:
                    item = next(iter(jobs.items()), None)
                    found = pods.items()
                    pod = _by_job(found).get(name)
                    if item is not None and _state(item, pod)[0] not in ("pending", "running"):
                        return self._described(item, self._pod(item))  # two watches are not in step
                    if item is not None and on_log is not None:
                        for text in again(item, found, noted):
                            on_log(text)
                    trouble = self._trouble(item, pod, time.monotonic() - started) if pod else ""
                    if trouble and trouble != said and on_log is not None:
                        said = trouble
                        on_log(trouble)
                    bell.wait(1.0)
                    bell.clear()
        finally:
            if follower is not None:
                follower.close()

    def _trouble(self, item: Manifest | None, pod: Manifest, waited: float) -> str:
        if item is None or waited < _PATIENCE or (pod.get("status") or {}).get("phase") != "Pending":
            return ""
        events = [
            e for e in self._api.all(EVENT) if (e.get("involvedObject") or {}).get("name") == pod["metadata"]["name"]
        ]
        found = diagnose(Situation(service=item, pods=[pod], events=events, waited=waited))
        return found.text if found else ""

    def _job(self, run: str) -> Manifest:
        found = [
            item for item in self._api.all(JOB, {MANAGED_BY: FIELD_MANAGER}) if _is_run(item) and _run(item) == run
        ]
        if not found:
            raise NotFound(f"no run {run!r}; `trimtab runs` lists them")
        return found[0]


class _Lines:
    """Hands on the lines of a run's pod as they come."""

    def __init__(self, api: Api, job: str, on_log: Callable[[str], None]) -> None:
        self._following, self._on_log = logs.Following(api, {_OF_JOB: job}, None), on_log
        self._thread = threading.Thread(target=self._run, name="log-of-run", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is left, and end."""
        self._following.finish()
        self._thread.join(10.0)

    def _run(self) -> None:
        try:
            for line in self._following:
                if f'"{RESULT}"' not in line:
                    self._on_log(line)
        except TargetError:
            return  # the run's own state says it


def describe(item: Manifest, pod: Manifest | None, message: str = "") -> RunInfo:
    """Give a run from its Job, its pod and its last words. Pure."""
    metadata, status = item["metadata"], item.get("status") or {}
    notes = metadata.get("annotations") or {}
    tries = max(1, sum(status.get(name) or 0 for name in ("failed", "succeeded", "active")))
    if pod is not None and _number(pod) < tries and (_late(item) or _cancelled(item)):
        pod, message = None, ""  # of a try before the one that was ended, whose pod is gone
    ended = (main_status(pod).get("state") or {}).get("terminated") if pod else None
    said = report(message)
    state, error = _state(item, pod)
    failed = state == "failed"
    return RunInfo(
        id=_run(item),
        function=(metadata.get("labels") or {}).get(FUNCTION, ""),
        state=state,  # type: ignore[arg-type]
        created=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        started=seconds_of(status.get("startTime")),
        finished=_cancelled(item) or _finished(item, ended) if state not in ("pending", "running") else None,
        exit_code=(ended or {}).get("exitCode"),
        parameters=msgspec.json.decode(notes.get(PARAMETERS, "{}")),
        results=said.get("results") or {},
        error=(_late(item) or said.get("error") or _ended_by(ended) or error) if failed else None,
        artifact_path=_environ(item).get("TRIMTAB_ARTIFACT_PATH"),
        artifacts=said.get("artifacts") or {},
        cause=said.get("cause"),
        tries=tries,
        kept=_kept(item),
    )


def again(item: Manifest, pods: list[Manifest], noted: set[int]) -> Iterator[str]:
    """Say which tries failed and have another after them, each once: `noted` keeps which."""
    limit = int(item["spec"].get("backoffLimitPerIndex") or 0)
    if condition(item, "FailureTarget").get("status") == "True":
        return  # it has failed, and waits for its pods to go
    for pod in pods:
        ended = main_status(pod).get("state", {}).get("terminated")
        number = _number(pod)
        if not ended or ended.get("exitCode") in (0, REFUSED) or number > limit or number in noted:
            continue
        noted.add(number)
        error = report(_message(pod)).get("error") or _ended_by(ended)
        yield f"try {number} of {limit + 1} failed: {error}; it is tried again"


def _number(pod: Manifest) -> int:
    """Tell which try of its run a pod is."""
    return int((pod["metadata"].get("annotations") or {}).get(FAILURES) or 0) + 1


def _state(item: Manifest, pod: Manifest | None) -> tuple[str, str]:
    if _cancelled(item) is not None:
        return "cancelled", "cancelled"
    if condition(item, "Complete").get("status") == "True":
        return "succeeded", ""
    failed = condition(item, "Failed")
    if failed.get("status") == "True":
        return "failed", failed.get("message", "failed")
    running = pod is not None and (pod.get("status") or {}).get("phase") not in (None, "Pending")
    return ("running" if running else "pending"), ""


def _late(item: Manifest) -> str:
    """Say that the deadline ended the run: its process knows of a SIGTERM alone."""
    if condition(item, "Failed").get("reason") != "DeadlineExceeded":
        return ""
    return f"it took longer than {duration(item['spec']['activeDeadlineSeconds'])} (spec.job.activeDeadline)"


def _kept(item: Manifest) -> int:
    """Give the seconds for which a run that has ended is kept."""
    return int(item["spec"].get("ttlSecondsAfterFinished", KEPT))


def _cancelled(item: Manifest) -> float | None:
    return seconds_of((item["metadata"].get("annotations") or {}).get(CANCELLED))


def _finished(item: Manifest, ended: dict[str, Any] | None) -> float | None:
    over = (condition(item, "Failed") or condition(item, "Complete")).get("lastTransitionTime")
    process = (ended or {}).get("finishedAt") or (item.get("status") or {}).get("completionTime")
    return seconds_of(over if _late(item) else process or over)


def _ended_by(ended: dict[str, Any] | None) -> str:
    if not ended:
        return ""
    if ended.get("reason") == "OOMKilled":
        return "out of memory: raise spec.resources.limits.memory"
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    return f"ended with exit code {ended.get('exitCode')}" + (f": {lines[-1]}" if lines else "")


def report(message: str) -> dict[str, Any]:
    """Read what a run wrote at its end; whatever else stands there is no report."""
    try:
        found = msgspec.json.decode(message.strip().rpartition("\n")[2])
    except msgspec.DecodeError:
        return {}
    said = found.get(RESULT) if isinstance(found, dict) else None
    return said if isinstance(said, dict) else {}


def _message(pod: Manifest | None) -> str:
    ended = (main_status(pod).get("state") or {}).get("terminated") if pod else None
    return str((ended or {}).get("message") or "")


def _environ(item: Manifest) -> dict[str, str]:
    container = item["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", "") for each in container.get("env") or []}


def _run(item: Manifest) -> str:
    """Give a run's id: what we called it, or the name that a JobSink or a CronJob gave its Job."""
    return str((item["metadata"].get("labels") or {}).get(RUN) or item["metadata"]["name"])


def _is_run(item: Manifest) -> bool:
    """Tell a run of the function from a Job that only posts a tick to it."""
    return bool(item["spec"]["template"]["spec"]["containers"][0]["name"] == MAIN)


def _by_job(pods: list[Manifest]) -> dict[str, Manifest]:
    """Give each Job's last pod."""
    ordered = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    return {str((pod["metadata"].get("labels") or {}).get(_OF_JOB, "")): pod for pod in ordered}
