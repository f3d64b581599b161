"""Splits a function's traffic between its revisions, and waits until the ingress has followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import SERVICE
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.service import traffic_target
from trimtab.deploy.knative.situation import condition
from trimtab.deploy.knative.wait import is_current
from trimtab.errors import Conflict, NotFound, SpecError
from trimtab.spec import TrafficTarget

_ROUTE = 60.0
"""Seconds for the ingress to follow a change of the traffic."""


def split(
    api: Api, name: str, targets: list[TrafficTarget], known: Collection[str], sleep: Callable[[float], None]
) -> None:
    """Split the traffic; `known` are the revisions. Errors: SpecError, NotFound, Conflict when the ingress does not follow."""
    total = sum(target.percent for target in targets)
    if total != 100:
        raise SpecError("traffic", total, "percents that sum to 100")
    for target in targets:
        if target.revision is not None and target.revision not in known:
            raise NotFound(f"{name!r} has no revision {target.revision!r}; there are {', '.join(sorted(known))}")
    wanted = [traffic_target(target) for target in targets]
    _followed(api, name, api.change(SERVICE, name, {"spec": {"traffic": wanted}}), sleep)


def _followed(api: Api, name: str, changed: Manifest, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + _ROUTE
    while time.monotonic() < deadline:
        service = api.get(SERVICE, name)
        routes = condition(service, "RoutesReady")
        # A new revision may be on its way to its share yet (rolloutDuration): the ingress has followed then.
        if is_current(service, changed) and (
            routes.get("status") == "True" or routes.get("reason") == "RolloutInProgress"
        ):
            return
        if is_current(service, changed) and routes.get("status") == "False":
            said = f"{routes.get('reason', 'no reason is given')}: {routes.get('message', '')}".rstrip(": ")
            raise Conflict(f"{name!r}: the traffic cannot flow as told ({said}); split it otherwise")
        sleep(0.2)
    raise Conflict(
        f"{name!r}: the ingress has not followed the change after {_ROUTE:g} s; `trimtab get {name}` shows where it is"
    )
