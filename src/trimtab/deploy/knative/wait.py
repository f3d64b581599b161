"""Waits until what was applied serves, shows each stage, and gives up with a sentence as soon as waiting cannot help."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import EVENT, POD, REVISION, SERVICE
from trimtab.deploy.knative.describe import OF_REVISION, OF_SERVICE, is_ready
from trimtab.deploy.knative.diagnosis import diagnose
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import SPEC_HASH
from trimtab.deploy.knative.mirror import Mirror
from trimtab.deploy.knative.place import FORCED
from trimtab.deploy.knative.podlog import last_lines
from trimtab.deploy.knative.situation import Diagnosis, Reason, Situation, condition, crashed, state_of
from trimtab.deploy.stages import Stages
from trimtab.errors import DeployFailed, TargetError

_LOOK = 1.0
"""Seconds between two looks at what no watch tells: events and logs."""

_WORDS: tuple[Reason, ...] = ("crash", "exits", "image-platform", "image-denied")
"""Reasons that the container's last words or an event explain; these are asked for before the sentence is said."""


class Waiter:
    """Waits for one function. `say` gets what is wrong and may still pass.

    `clock` and `pause`, which waits so long for news at most, are passed in where time is virtual.
    """

    def __init__(
        self,
        api: Api,
        stages: Stages,
        *,
        patience: float,
        timeout: float,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._api, self._stages, self._say, self._clock = api, stages, say, clock
        self._patience, self._timeout = patience, timeout
        self._bell = threading.Event()
        self._pause = pause or self._bell.wait
        self._events: list[Manifest] = []
        self._logs: dict[str, str] = {}
        self._states: dict[str, tuple[tuple[object, ...], float]] = {}
        """What each object is seen as, and since when."""
        self._said: tuple[str, bool] = ("", False)

    def wait(self, applied: Manifest) -> Manifest:
        """Block until the Service that was applied serves; give it. Errors: DeployFailed, NotFound when it is deleted."""
        name, started = applied["metadata"]["name"], self._clock()
        with ExitStack() as stack:
            labels = {OF_SERVICE: name}
            services, revisions, pods = (
                stack.enter_context(Mirror(self._api, kind, self._bell.set, own, fields))
                for kind, own, fields in (
                    (SERVICE, None, f"metadata.name={name}"),
                    (REVISION, labels, ""),
                    (POD, labels, ""),
                )
            )
            looked = started
            while True:
                now = self._clock()
                service = next(iter(services.items()), applied)
                if now - looked >= _LOOK:
                    looked = now
                    self._look(service, pods.items())
                situation = self._situation(service, revisions.items(), pods.items(), now - started)
                if self._served(applied, situation):
                    return service
                self._judge(situation)
                self._pause(_LOOK / 4)
                self._bell.clear()

    def _situation(
        self, service: Manifest, revisions: list[Manifest], pods: list[Manifest], waited: float
    ) -> Situation:
        latest = (service.get("status") or {}).get("latestCreatedRevisionName")
        named = (each for each in revisions if each["metadata"]["name"] == latest)
        revision = next((each for each in named if _is_of(each, service)), None)
        own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(OF_REVISION) == latest]
        seen = [service, *([revision] if revision is not None else []), *own]
        return Situation(
            service=service,
            revision=revision,
            pods=own if revision is not None else [],
            events=_of(self._events, str(latest)) if revision is not None else [],
            logs=self._logs,
            waited=waited,
            lasted={item["metadata"]["name"]: self._lasted(item) for item in seen},
            patience=self._patience,
        )

    def _lasted(self, item: Manifest) -> float:
        """Give the seconds for which an object has been as it is, by our own clock: those of clusters may be others."""
        name, state, now = item["metadata"]["name"], state_of(item), self._clock()
        if self._states.get(name, (None, 0.0))[0] != state:
            self._states[name] = (state, now)
        return now - self._states[name][1]

    def _served(self, applied: Manifest, situation: Situation) -> bool:
        """Report the stages that are done; True when the last one is."""
        service = situation.service
        if situation.revision is None or not is_current(service, applied):
            return False
        done = {stage.name for stage in self._stages.done}
        if "revision" not in done:
            self._stages.finish("revision", situation.name)
        if condition(situation.revision, "Ready").get("status") == "True" and "pods" not in done:
            count = sum(map(is_ready, situation.pods))
            self._stages.finish("pods", f"{count} ready" if count else "")  # their watch may lag
        if condition(service, "Ready").get("status") == "True":
            self._stages.finish("route", (service.get("status") or {}).get("url", ""))
            return True
        return False

    def _judge(self, situation: Situation) -> None:
        found = diagnose(situation) if is_current(situation.service, situation.service) else None
        if found is not None and found.final:
            if found.reason in _WORDS:
                self._look(situation.service, situation.pods)
                situation.logs, situation.events = self._logs, _of(self._events, situation.name)
                found = diagnose(situation) or found
            raise DeployFailed(found.text)
        if found is not None and self._say is not None and self._said != (found.reason, found.growing):
            self._said = (found.reason, found.growing)
            self._say(f"waiting: {found.text}")
        if situation.waited >= self._timeout:
            raise DeployFailed(_too_late(situation, found, self._timeout))

    def _look(self, service: Manifest, pods: list[Manifest]) -> None:
        """Read what no watch tells: the events of the last minutes, and the last words of containers that ended."""
        try:
            self._events = self._api.all(EVENT)
        except TargetError:
            self._events = []  # whoever may not read them still gets what pods and conditions say
        for pod in pods:
            name, ended = pod["metadata"]["name"], crashed(pod)
            if (ended and not ended.get("message")) or not is_ready(pod):
                self._logs[name] = last_lines(self._api, name, previous=bool(ended)) or self._logs.get(name, "")


def is_current(service: Manifest, applied: Manifest) -> bool:
    """Tell whether Knative has seen what was applied: older conditions say nothing about it."""
    seen = (service.get("status") or {}).get("observedGeneration", 0)
    return bool(seen >= max(applied["metadata"].get("generation", 0), service["metadata"].get("generation", 0)))


def _is_of(revision: Manifest, service: Manifest) -> bool:
    """Tell whether a revision was made of the template as it is: for a moment the one before still counts as the latest."""
    wanted = (service["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    found = revision["metadata"].get("annotations") or {}
    return all(found.get(name) == wanted.get(name) for name in (SPEC_HASH, FORCED))


def _of(events: list[Manifest], revision: str) -> list[Manifest]:
    """Give the events of a revision's pods, and of what makes them: all their names begin with the revision's."""
    return [event for event in events if str((event.get("involvedObject") or {}).get("name", "")).startswith(revision)]


def _too_late(situation: Situation, found: Diagnosis | None, timeout: float) -> str:
    more = "deploy again to go on waiting (--wait-timeout), it loses nothing"
    if found is not None:
        return f"{found.text}\nIt is not ready after {timeout:g} s; {more}"
    ready = condition(situation.service, "Ready")
    said = (
        f": {ready.get('reason')}: {ready.get('message', '')}"
        if ready.get("reason") not in (None, "RevisionMissing")
        else ""
    )
    return f"{situation.name} is not ready after {timeout:g} s{said}; {more}"
