"""Looks at all that a namespace has of our functions."""

from __future__ import annotations

from contextlib import suppress

from trimtab.deploy.abc import FunctionInfo
from trimtab.deploy.knative import record
from trimtab.deploy.knative.answers import objects_of
from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.failures import Forbidden
from trimtab.deploy.knative.client.kinds import (
    CONFIG_MAP,
    CONTAINER_SOURCE,
    CRON_JOB,
    DEPLOYMENT,
    JOB_SINK,
    PING_SOURCE,
    POD,
    REVISION,
    SERVICE,
    TRIGGER,
)
from trimtab.deploy.knative.describe import OF_SERVICE, Objects, describe
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER, FUNCTION, MANAGED_BY
from trimtab.deploy.knative.preflight.needs import is_function
from trimtab.errors import SpecError


def described(api: Api, target: str, name: str | None = None) -> list[FunctionInfo]:
    """Describe the function of that name, or all, by name."""
    labels = {MANAGED_BY: FIELD_MANAGER, **({FUNCTION: name} if name else {})}
    found: dict[str, Objects] = {}
    for item in api.all(CONFIG_MAP, labels):
        _remember(objects_of(found, item), item)
    for item in api.all(SERVICE, labels):
        if is_function(item):
            objects_of(found, item).service = item
        else:
            objects_of(found, item).entrance = item
    for kind in (JOB_SINK, PING_SOURCE, CRON_JOB, TRIGGER, CONTAINER_SOURCE, DEPLOYMENT):
        with suppress(Forbidden):  # a role may be without the kinds that no function here has
            for item in api.all(kind, labels):
                objects = objects_of(found, item)
                if kind == JOB_SINK:
                    objects.entrance = item
                else:
                    objects.triggers.append(item)
    known = {objects.name for objects in found.values() if objects.service}
    for item in api.all(REVISION, {OF_SERVICE: name} if name else None):
        if (service := item["metadata"]["labels"].get(OF_SERVICE)) in known:
            found[service].revisions.append(item)
    for item in api.all(POD, labels):
        if (service := item["metadata"]["labels"].get(OF_SERVICE)) in known:
            found[service].pods.append(item)
    return [describe(found[each], target) for each in sorted(found)]


def _remember(objects: Objects, item: Manifest) -> None:
    """Take a record over. One that cannot be read is told with its function, so that the others are still listed."""
    try:
        objects.record = record.read(item)
    except SpecError as exc:
        objects.kind = record.kind(item)
        objects.unreadable = f"its record cannot be read: {exc}"
