"""Whether a revision that was ready fails now: what its own metrics cannot say, for a replica that is down answers nobody. Pure."""

from __future__ import annotations

from typing import Any

from trimtab.deploy.knative.describe import is_ready
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.situation import condition, crashed, main_status


def ends(pods: list[Manifest]) -> dict[tuple[str, str], dict[str, Any]]:
    """Give how containers of these pods ended last, by (pod, which of its ends).

    Pods that are on their way out, or were evicted, are left out: their containers are ended from outside.
    """
    found = {}
    for pod in pods:
        metadata, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
        if (ended := crashed(pod)) and "deletionTimestamp" not in metadata and phase != "Failed":
            which = ended.get("containerID") or ended.get("finishedAt") or main_status(pod).get("restartCount", 0)
            found[metadata["name"], str(which)] = ended
    return found


def failing(revision: Manifest, pods: list[Manifest], known: set[tuple[str, str]]) -> str:
    """Say what is wrong with a revision; empty while nothing is. Ends of containers that are `known` are no news."""
    ready = condition(revision, "Ready")
    if ready.get("status") == "False":
        return (
            f"it is not ready any more: {ready.get('reason', 'no reason is given')}: {ready.get('message', '')}".rstrip(
                ": "
            )
        )
    for (pod, which), ended in ends(pods).items():
        if (pod, which) not in known:
            why = "out of memory" if ended.get("reason") == "OOMKilled" else f"exit code {ended.get('exitCode')}"
            return f"a replica ended ({why}): {pod}"
    return ""


def all_down(pods: list[Manifest]) -> bool:
    """Tell whether there are replicas and none is ready, so that whoever calls has to wait."""
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return bool(staying) and not any(map(is_ready, staying))
