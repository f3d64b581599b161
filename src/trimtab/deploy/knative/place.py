"""Puts a function's objects on the cluster: renders, applies in order, prunes what is left of ours. Each step repeatable."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from trimtab.deploy.knative import record
from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.failures import Forbidden
from trimtab.deploy.knative.client.kinds import (
    ALWAYS,
    CONFIG_MAP,
    JOB,
    MADE,
    RARE,
    SERVICE,
    SINK_BINDING,
    Kind,
    kind_of,
)
from trimtab.deploy.knative.manifests import Rendered, Rendering, render
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.container import BOUND
from trimtab.deploy.knative.manifests.names import COMMIT, FIELD_MANAGER, FUNCTION, MANAGED_BY, PROJECT, SPEC_HASH
from trimtab.errors import Conflict, NotFound, TargetError

FORCED = "trimtab.dev/forced"
"""An annotation of the template that only makes it different from the one before."""

CANARY = "canary"
"""The tag of a revision that is held back."""
_LOOK = 0.5
_GOING = 120
"""Looks at an object that is being deleted, a minute of them: an undone SinkBinding takes seconds."""


def desired(rendering: Rendering, live: Manifest | None, *, forced: str = "", hold: bool = False) -> Rendered:
    """Give what is to be applied. `live` is the Service that is there.

    A description and image that are there already keep their revision and the traffic as it was split since; a new one
    takes all the traffic, unless the description splits it. `forced` makes a new revision in any case, `hold` leaves the
    traffic where it is. Errors: SpecError.
    """
    rendered = render(rendering)
    objects = [record.written(rendering), *copy.deepcopy(rendered.objects)]
    for item in objects:
        if kind_of(item) == SERVICE:
            _settle(item, live, forced)
            if hold and (pinned := _pinned(live)):
                item["spec"]["traffic"] = pinned
            if any(each["kind"] == "SinkBinding" for each in objects):
                _keep_bound(item, live)
    return replace(rendered, objects=objects)


def _settle(service: Manifest, live: Manifest | None, forced: str) -> None:
    notes = service["spec"]["template"]["metadata"]["annotations"]
    before = _template_notes(live)
    same = before.get(SPEC_HASH) == notes[SPEC_HASH] and not forced
    if forced:
        notes[FORCED] = forced
    elif same:
        notes.pop(COMMIT, None)
        notes.update({name: before[name] for name in (COMMIT, FORCED) if name in before})
    if same and live is not None and live["spec"].get("traffic"):
        service["spec"]["traffic"] = live["spec"]["traffic"]
    else:
        service["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])


def is_unchanged(objects: list[Manifest], live: Manifest | None) -> bool:
    """Tell whether the Service among these objects keeps the revision that is there."""
    template = next((item["spec"]["template"] for item in objects if kind_of(item) == SERVICE), None)
    wanted = ((template or {}).get("metadata") or {}).get("annotations") or {}
    before = _template_notes(live)
    return SPEC_HASH in before and all(before.get(name) == wanted.get(name) for name in (SPEC_HASH, FORCED))


def _keep_bound(service: Manifest, live: Manifest | None) -> None:
    """Keep what only the SinkBinding knows: without it there would be a revision more, and one without it between."""
    before = (((live or {}).get("spec") or {}).get("template") or {}).get("spec") or {}
    there: dict[str, Any] = next(iter(before.get("containers") or []), {})
    ours = service["spec"]["template"]["spec"]["containers"][0]
    known = {each["name"]: each for item in (there, ours) for each in item.get("env") or [] if each["name"] in BOUND}
    others = [each for each in ours["env"] if each["name"] not in BOUND]
    ours["env"] = [*others, *(known[name] for name in BOUND if name in known)]


def _pinned(live: Manifest | None) -> list[dict[str, Any]]:
    """Give the traffic as it flows now, by revisions' names, and the newest with a tag and nothing else."""
    shares: dict[str, int] = {}
    for each in ((live or {}).get("status") or {}).get("traffic") or []:
        shares[each["revisionName"]] = shares.get(each["revisionName"], 0) + int(each.get("percent") or 0)
    flowing = [
        {"latestRevision": False, "revisionName": name, "percent": percent}
        for name, percent in shares.items()
        if percent
    ]
    tagged = [
        {"latestRevision": False, "revisionName": each["revisionName"], "percent": 0, "tag": each["tag"]}
        for each in ((live or {}).get("status") or {}).get("traffic") or []
        if each.get("tag") not in (None, "", CANARY)
    ]
    return [*flowing, *tagged, {"latestRevision": True, "percent": 0, "tag": CANARY}] if flowing else []


def _template_notes(live: Manifest | None) -> dict[str, str]:
    template = ((live or {}).get("spec") or {}).get("template") or {}
    return dict((template.get("metadata") or {}).get("annotations") or {})


def applied(
    api: Api, objects: list[Manifest], *, force: bool, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Manifest]:
    """Apply in order; give the objects by kind as the cluster has them.

    Errors: FieldConflict, Refused, Forbidden; Conflict for an object that is being deleted and does not go.
    """
    return {item["kind"]: _applied(api, item, force=force, sleep=sleep) for item in objects}


def _applied(api: Api, item: Manifest, *, force: bool, sleep: Callable[[float], None]) -> Manifest:
    """Apply one object. One that is on its way out takes changes and is gone with them: it is waited for, then made anew."""
    live = api.apply(item, force=force)
    for _ in range(_GOING):
        if not is_going(live):
            return live
        _let_go(api, live)
        kind, name = kind_of(item), item["metadata"]["name"]
        there = api.find(kind, name)
        if there is None or not is_going(there):
            live = api.apply(item, force=force)
        else:
            sleep(_LOOK)
    holds = ", ".join(live["metadata"].get("finalizers") or []) or "what depends on it"
    raise Conflict(
        f"{kind.name} {name} has been going since {live['metadata']['deletionTimestamp']} and does not go, held by {holds}; "
        f"see `kubectl describe {kind.name.lower()} {name}`, and deploy again when it is gone"
    )


def is_going(item: Manifest) -> bool:
    """Tell whether an object was deleted and is kept by somebody's finalizer for a while."""
    return "deletionTimestamp" in item["metadata"]


def there(api: Api, kind: Kind, name: str) -> Manifest | None:
    """Give an object that is there to stay; what is being deleted says nothing about what comes after it."""
    found = api.find(kind, name)
    return None if found is None or is_going(found) else found


def owned(api: Api, name: str, project: str | None = None) -> list[Manifest]:
    """Give all objects of ours that belong to a function."""
    labels = {MANAGED_BY: FIELD_MANAGER, FUNCTION: name, **({PROJECT: project} if project else {})}
    found = [item for kind in ALWAYS for item in api.all(kind, labels)]
    for kind in (*(kind for kind in MADE if kind not in ALWAYS), *RARE):
        with contextlib.suppress(Forbidden):
            found += api.all(kind, labels)
    return [item for item in found if _ours(item)]


def stale(there: list[Manifest], objects: list[Manifest]) -> list[Manifest]:
    """Give what is there and is not wanted any more."""
    wanted = {(item["kind"], item["metadata"]["name"]) for item in objects}
    return [item for item in there if (item["kind"], item["metadata"]["name"]) not in wanted]


def prune(api: Api, items: list[Manifest]) -> None:
    """Delete these very objects; one that was deleted and made anew by somebody else since is left alone."""
    for item in items:
        with contextlib.suppress(Conflict):  # it is another one by now
            api.delete(kind_of(item), item["metadata"]["name"], uid=item["metadata"].get("uid", ""))
        _let_go(api, item)


def _let_go(api: Api, item: Manifest) -> None:
    """Have a SinkBinding of jobs go at once: Knative would wait until it can change finished jobs, which nobody can."""
    if kind_of(item) == SINK_BINDING and item["spec"]["subject"]["kind"] == "Job":
        with contextlib.suppress(TargetError):
            api.change(SINK_BINDING, item["metadata"]["name"], {"metadata": {"finalizers": None}})


def unbind(api: Api, pruned: list[Manifest], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Wait until SinkBindings of a Service that were pruned are gone; tell whether there were any.

    Until then Knative puts their variables into what is applied, and takes them out at the end: another revision.
    """
    bindings = [
        item for item in pruned if kind_of(item) == SINK_BINDING and item["spec"]["subject"]["kind"] == SERVICE.name
    ]
    for item in bindings:
        for _ in range(_GOING):
            found = api.find(SINK_BINDING, item["metadata"]["name"])
            if found is None or found["metadata"].get("uid") != item["metadata"].get("uid"):
                break
            sleep(_LOOK)
    return bool(bindings)


def remove(api: Api, name: str) -> None:
    """Delete a function: what calls it first, then its runs, its record last, so that a removal that is interrupted can be
    repeated. Errors: NotFound.
    """
    items = owned(api, name)
    if not items:
        raise NotFound(f"no function {name!r}")
    records = [item for item in items if kind_of(item) == CONFIG_MAP]
    prune(api, sorted((item for item in items if item not in records), key=lambda item: kind_of(item) == SERVICE))
    with contextlib.suppress(Forbidden):  # whoever may not look for runs made none
        for run in api.all(JOB, {MANAGED_BY: FIELD_MANAGER, FUNCTION: name}):
            api.delete(JOB, run["metadata"]["name"])
    prune(api, records)


def _ours(item: Manifest) -> bool:
    """What a controller made of our objects carries our labels too (a CronJob's Jobs do): that is not ours to touch."""
    return not any(owner.get("controller") for owner in item["metadata"].get("ownerReferences") or [])
