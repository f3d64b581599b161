"""What `fn.add_trigger` takes, as one of our triggers."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.errors import SpecError
from trimtab.spec import CronTrigger, EventTrigger, FunctionSpec, Limits, StreamTrigger, Trigger
from trimtab.spec.explain import explain

_ALLOWED = "a CronTrigger, an EventTrigger, a StreamTrigger, a mapping such as {'kind': 'cron', 'schedule': '@hourly'}, or Nuclio's trigger"


def add(spec: FunctionSpec, name: str, given: Any) -> None:
    """Add a trigger, in place of the one of that name; Nuclio's HTTP trigger sets workers and limits instead.

    Errors: SpecError for what is no trigger, or has a setting that means nothing here.
    """
    if isinstance(given, CronTrigger | EventTrigger | StreamTrigger):
        _put(spec, msgspec.structs.replace(given, name=name))
        return
    document = _document(given)
    if "attributes" in document or document.get("kind") not in {"cron", "event", "stream"}:
        _add_nuclio(spec, name, document)
    else:
        _put(spec, _ours(name, document))


def _document(given: Any) -> dict[str, Any]:
    """Read a mapping, nuclio-jupyter's triggers (`to_dict`), or any object that has a schedule or an interval."""
    if hasattr(given, "to_dict"):
        given = given.to_dict()
    elif hasattr(given, "schedule") or hasattr(given, "interval"):
        named = {field: getattr(given, field, None) for field in ("schedule", "interval")}
        given = {"kind": "cron", **{field: value for field, value in named.items() if value}}
    if not isinstance(given, dict) or not given.get("kind"):
        raise SpecError("trigger", given, _ALLOWED)
    return given


def _ours(name: str, document: dict[str, Any]) -> Trigger:
    rest = dict(document)
    if rest["kind"] == "cron" and "interval" in rest and "schedule" not in rest:
        rest["schedule"] = f"@every {rest.pop('interval')}"
    rest["name"] = name
    try:
        trigger: Trigger = msgspec.convert(rest, Trigger)
    except msgspec.ValidationError as error:
        raise explain(rest, Trigger, f"trigger {name}") or SpecError(f"trigger {name}", rest, _ALLOWED) from error
    return trigger


def _add_nuclio(spec: FunctionSpec, name: str, document: dict[str, Any]) -> None:
    from trimtab.spec import nuclio

    function, leftovers = nuclio.read({"spec": {"triggers": {name: document}}})
    if leftovers:
        raise SpecError(f"trigger {name}", document, _ALLOWED, hint=f"Not known here: {'; '.join(leftovers)}")
    for trigger in function.spec.triggers:
        _put(spec, trigger)
    if document.get("kind") == "http":
        spec.scale.workers, spec.scale.concurrency = function.spec.scale.workers, function.spec.scale.concurrency
        if function.spec.limits != Limits():
            spec.limits.body = function.spec.limits.body


def _put(spec: FunctionSpec, trigger: Trigger) -> None:
    spec.triggers = [*(each for each in spec.triggers if each.name != trigger.name), trigger]
