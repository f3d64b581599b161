"""The logs of a function: all pods, merged by time; following goes on across restarts and new pods."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Container, Iterable, Iterator
from typing import Any

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.http import Stop
from trimtab.deploy.knative.client.kinds import POD
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.podlog import stamped
from trimtab.deploy.knative.situation import container_of, main_status
from trimtab.errors import TargetError

_LOOK = 1.0
"""Seconds between two looks for new pods."""


def read(api: Api, labels: dict[str, str], tail: int | None) -> Iterator[str]:
    """Yield what the pods have said, oldest first, with what a container said before it was started again."""
    yield from (line for _, line, _ in _newest(_merged(api, api.all(POD, labels), tail), tail))


def lines(api: Api, pod: Manifest) -> Iterator[str]:
    """Yield what one pod has said."""
    yield from (line for _, line in _all(api, pod, None))


def _merged(api: Api, pods: list[Manifest], tail: int | None) -> list[tuple[str, str, str]]:
    """Give (time, line, pod), by time: of each pod the last line, and `tail` lines at least where there are so many."""
    found: list[tuple[str, str, str]] = []
    for pod in pods:
        name = pod["metadata"]["name"]
        found += [(at, line, name) for at, line in _all(api, pod, tail)]
    found.sort(key=lambda each: each[0])
    return found


def _newest(lines: list[tuple[str, str, str]], tail: int | None) -> list[tuple[str, str, str]]:
    return lines if tail is None else lines[max(len(lines) - tail, 0) :]


def _all(api: Api, pod: Manifest, tail: int | None) -> Iterator[tuple[str, str]]:
    query: dict[str, Any] = {} if tail is None else {"tailLines": max(tail, 1)}
    restarted = main_status(pod).get("restartCount", 0) > 0
    for previous in (True, False) if restarted else (False,):
        try:
            asked = {**query, "previous": "true"} if previous else query
            yield from stamped(api, pod["metadata"]["name"], container_of(pod), query=asked)
        except (TargetError, OSError):
            continue  # it has not begun, or its log is gone with it


class Following:
    """Follows the pods with these labels until closed: a thread for each pod, one queue for all."""

    def __init__(self, api: Api, labels: dict[str, str], tail: int | None) -> None:
        self._api, self._labels, self._tail = api, labels, tail
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stops: dict[str, Stop] = {}
        self._threads: list[threading.Thread] = []
        self._last: dict[str, str] = {}
        self._over: set[str] = set()
        """Pods that have ended: their logs are read once more, and nothing comes any more."""
        self._finishing = threading.Event()

    def __iter__(self) -> Iterator[str]:
        try:
            pods = self._api.all(POD, self._labels)
            merged = _merged(self._api, pods, self._tail)
            for at, _, pod in merged:  # what `tail` leaves out was there before, and is not followed either
                self._last[pod] = max(at, self._last.get(pod, ""))
            for _, line, _ in _newest(merged, self._tail):
                yield line
            self._attach(_ended(pods))
            looked, last_look = time.monotonic(), False
            while True:
                with contextlib.suppress(queue.Empty):
                    yield self._lines.get(timeout=_LOOK / 4)
                    continue
                if self._finishing.is_set():
                    if last_look and not any(thread.is_alive() for thread in self._threads):
                        return
                    last_look = True
                if last_look or time.monotonic() - looked >= _LOOK:
                    self._attach()
                    looked = time.monotonic()
        finally:
            self.close()

    def finish(self) -> None:
        """Have the iteration end with the last line there is, of pods that have ended."""
        self._finishing.set()

    def close(self) -> None:
        """Stop all threads."""
        for stop in self._stops.values():
            stop.set()

    def _attach(self, read: Container[str] = ()) -> None:
        """Follow pods that are new, but those that were `read` to their end; those that are gone are let go of."""
        try:
            pods = {pod["metadata"]["name"]: pod for pod in self._api.all(POD, self._labels)}
        except TargetError:
            return
        self._over = _ended(pods.values())
        for name in pods.keys() - self._stops.keys():
            stop = self._stops[name] = Stop()
            if name in read:
                continue
            arguments = (name, container_of(pods[name]), stop)
            thread = threading.Thread(target=self._follow, args=arguments, name=f"log-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for name in self._stops.keys() - pods.keys():
            self._stops.pop(name).set()

    def _follow(self, pod: str, container: str, stop: Stop) -> None:
        """Read one pod from where we stopped, again and again: a container that is started again has a new log."""
        last = self._last.get(pod, "")
        while not stop.asked.is_set():
            finishing, over = self._finishing.is_set(), pod in self._over
            since = {"sinceTime": f"{last[:19]}Z"} if last else {}
            try:
                for at, line in stamped(self._api, pod, container, stop, {"follow": "true", **since}):
                    if at > last:  # sinceTime counts in seconds: what was read before comes again
                        last = at
                        self._lines.put(line)
            except (TargetError, OSError):
                over = False
            if finishing or over:
                return
            stop.asked.wait(_LOOK / 2)


def _ended(pods: Iterable[Manifest]) -> set[str]:
    """Name the pods whose containers will not be started again."""
    return {
        pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    }
