"""The log of one pod's container."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.http import Stop
from trimtab.deploy.knative.client.kinds import POD
from trimtab.errors import TargetError

_TAIL = 12
_LOST = "unable to retrieve container logs for"
"""What a node answers, as if it were a log, when the container is gone."""


def last_lines(api: Api, pod: str, container: str, *, previous: bool) -> str:
    """Give the last lines of a pod's container, of the one before where it was started again; empty where there are none."""
    for before in (previous, False) if previous else (False,):
        query = {"container": container, "tailLines": _TAIL, **({"previous": "true"} if before else {})}
        try:
            with api.http.lines(
                POD.path(api.namespace, pod, "log"), query, doing=f"read the log of {pod}", read=5.0
            ) as lines:
                text = "\n".join(line.decode("utf-8", "replace") for line in lines)
        except (TargetError, OSError):
            continue
        if text.strip() and not text.startswith(_LOST):
            return text
    return ""


def stamped(
    api: Api, pod: str, container: str, stop: Stop | None = None, query: dict[str, Any] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (time, line) of a pod's container. Errors: NotFound, Refused while it waits to start, OSError."""
    asked = {"container": container, "timestamps": "true", **(query or {})}
    path, doing = POD.path(api.namespace, pod, "log"), f"read the log of {pod}"
    with api.http.lines(path, asked, doing=doing, read=None, stop=stop) as lines:
        for line in lines:
            time, _, text = line.decode("utf-8", "replace").rstrip("\r").partition(" ")
            yield in_utc(time), text


def in_utc(time: str) -> str:
    """Write a time of a node in UTC, with its nanoseconds: nodes may live in several zones."""
    if time.endswith("Z"):
        return time
    try:
        whole = datetime.fromisoformat(time[:19] + time[-6:]).astimezone(UTC)
    except ValueError:
        return time
    return f"{whole:%Y-%m-%dT%H:%M:%S}{time[19:-6]}Z"
