"""What a wait goes by: what no watch tells, for how long things have been as they are, and when to give up. One for each wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import EVENT
from trimtab.deploy.knative.describe import is_ready
from trimtab.deploy.knative.diagnosis import diagnose
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.podlog import last_lines
from trimtab.deploy.knative.situation import Diagnosis, Reason, Situation, condition, container_of, crashed, state_of
from trimtab.errors import DeployFailed, TargetError

LOOK = 1.0
"""Seconds between two looks at what no watch tells: events and logs."""

_WORDS: tuple[Reason, ...] = ("crash", "exits", "image-platform", "image-denied")
"""Reasons that the container's last words or an event explain; these are asked for before the sentence is said."""


class Evidence:
    """Gathers it, judges, and sets the pace. `say` gets what is wrong and may still pass. `clock`, and `pause`, which waits so
    long for news at most, are passed in where time is virtual. `patience`: seconds that a replica may take to become ready.

    `recent`: events that are there at the beginning say nothing, for they may be about something older of the same name.
    """

    def __init__(
        self,
        api: Api,
        *,
        patience: float,
        timeout: float,
        say: Callable[[str], None] | None = None,
        recent: bool = False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._api, self._patience, self._timeout, self._say, self._clock = api, patience, timeout, say, clock
        self._news = threading.Event()
        self._pause = pause or self._news.wait
        self._started = self._looked = clock()
        self._older = {_version(event) for event in self._read()} if recent else set()
        self._events: list[Manifest] = []
        self._logs: dict[str, str] = {}
        self._states: dict[str, tuple[tuple[object, ...], float]] = {}
        """What each object is seen as, and since when."""
        self._said: dict[str, tuple[str, bool]] = {}

    def changed(self) -> None:
        """There is news: `rest` ends."""
        self._news.set()

    def rest(self) -> None:
        """Wait for news, and not for long: what no watch tells is to be looked at too."""
        self._pause(LOOK / 4)
        self._news.clear()

    def refresh(self, pods: list[Manifest]) -> None:
        """Look at what no watch tells, when it is time to."""
        if self._clock() - self._looked >= LOOK:
            self._look(pods)

    def complete(self, situation: Situation, seen: list[Manifest]) -> None:
        """Put into a situation what is known besides, of the objects that were `seen`, and of what is named like it."""
        now = self._clock()
        situation.waited, situation.patience = now - self._started, self._patience
        situation.lasted = {item["metadata"]["name"]: self._lasted(item, now) for item in seen}
        situation.events, situation.logs = self._of(situation.name), self._logs

    def judge(self, situation: Situation) -> None:
        """Say what is wrong, once. Errors: DeployFailed, when waiting does not help or took too long."""
        found = diagnose(situation)
        if found is not None and found.final:
            if found.reason in _WORDS:
                self._look(situation.pods)
                situation.events = self._of(situation.name)
                found = diagnose(situation) or found
            raise DeployFailed(found.text)
        self.hurry(situation, found)

    def hurry(self, situation: Situation, found: Diagnosis | None = None) -> None:
        """Say what may still pass, once. Errors: DeployFailed, when it took too long."""
        if found is not None and self._say is not None:
            said = (found.reason, found.growing)
            if self._said.get(situation.name) != said:
                self._said[situation.name] = said
                self._say(f"waiting: {found.text}")
        if situation.waited >= self._timeout:
            raise DeployFailed(_too_late(situation, found, self._timeout))

    def _lasted(self, item: Manifest, now: float) -> float:
        """Give the seconds for which an object has been as it is, by our own clock: those of clusters may be others."""
        name, state = item["metadata"]["name"], state_of(item)
        if self._states.get(name, (None, 0.0))[0] != state:
            self._states[name] = (state, now)
        return now - self._states[name][1]

    def _look(self, pods: list[Manifest]) -> None:
        """Read what no watch tells: the events of the last minutes, and the last words of containers that ended."""
        self._looked = self._clock()
        self._events = [event for event in self._read() if _version(event) not in self._older]
        for pod in pods:
            name, ended = pod["metadata"]["name"], crashed(pod)
            if (ended and not ended.get("message")) or not is_ready(pod):
                said = last_lines(self._api, name, container_of(pod), previous=bool(ended))
                self._logs[name] = said or self._logs.get(name, "")

    def _read(self) -> list[Manifest]:
        try:
            return self._api.all(EVENT)
        except TargetError:
            return []  # whoever may not read them still gets what pods and conditions say

    def _of(self, name: str) -> list[Manifest]:
        """Give the events of the pods, and of what makes them: all their names begin with the revision's, or consumer's."""
        return [
            each for each in self._events if str((each.get("involvedObject") or {}).get("name", "")).startswith(name)
        ]


def _version(event: Manifest) -> tuple[str, str]:
    return event["metadata"].get("name", ""), event["metadata"].get("resourceVersion", "")


def _too_late(situation: Situation, found: Diagnosis | None, timeout: float) -> str:
    more = "deploy again to go on waiting (--wait-timeout), it loses nothing"
    if found is not None:
        return f"{found.text}\nIt is not ready after {timeout:g} s; {more}"
    ready = condition(situation.service, "Ready")
    said = (
        f": {ready.get('reason')}: {ready.get('message', '')}"
        if ready.get("reason") and (ready["reason"] != "RevisionMissing" or ready.get("status") == "False")
        else ""
    )
    return f"{situation.name} is not ready after {timeout:g} s{said}; {more}"
