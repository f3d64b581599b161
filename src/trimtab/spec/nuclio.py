"""A Nuclio function.yaml as a Function, and the list of what could not be carried over.

A Nuclio worker is a process that works on one event at a time, and a function without an HTTP trigger of its own has
one worker. So `numWorkers: n` becomes `scale.workers: n` with `scale.concurrency: n`: as many processes, as many
events at a time, and handlers that were never run twice at once in one process are not here either. (A handler that
may be: raise `scale.concurrency`, or set it to 0.)

Reference: nuclio/nuclio 1.14, docs/reference/function-configuration/function-configuration-reference.md
"""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import Struct, field

from trimtab.errors import SpecError
from trimtab.spec.foreign import (
    Remains,
    decode_source,
    given,
    split_commands,
    take_env,
    take_resources,
    take_scheduling,
    volume,
)
from trimtab.spec.nucliostreams import OTHERS, STREAMS, take_stream
from trimtab.spec.scalars import as_label
from trimtab.spec.types import Function

_KINDS = {"NuclioFunction", "Function", None}
_OWN_KEYS = {"runtime", "minReplicas", "maxReplicas", "targetCPU", "eventTimeout", "dataBindings", "functionSourceCode"}
_PROJECT = "nuclio.io/project-name"
_OLDEST = 11
_OVERLAP = {"Allow": "allow", "Forbid": "skip"}
_SCHEDULING = {
    "nodeSelector": "spec.nodeSelector",
    "affinity": "spec.affinity",
    "tolerations": "spec.tolerations",
    "priorityClass": "spec.priorityClassName",
    "serviceAccount": "spec.serviceAccount",
}


def recognises(document: dict[str, Any]) -> bool:
    """Whether this is Nuclio's document: by `apiVersion` or `kind`, or, without these, by keys that only Nuclio has."""
    version, kind, spec = document.get("apiVersion"), document.get("kind"), document.get("spec")
    if str(version).startswith("nuclio.io/") or kind == "NuclioFunction":
        return True
    if version is not None or kind is not None or not isinstance(spec, dict):
        return False
    return bool(_OWN_KEYS & spec.keys()) or isinstance(spec.get("triggers"), dict)


def read(document: dict[str, Any]) -> tuple[Function, list[str]]:
    """Give the function and, one line each, what could not be carried over. Errors: SpecError."""
    from trimtab.spec.load import from_dict

    remains = Remains(document)
    version = remains.take("apiVersion", str, "nuclio.io/v1")
    if not version.startswith("nuclio.io/v1"):
        raise SpecError("apiVersion", version, "'nuclio.io/v1' or 'trimtab.dev/v1'")
    if (kind := remains.take("kind", str)) not in _KINDS:
        raise SpecError("kind", kind, "'NuclioFunction' or 'Function'")
    remains.take("status")
    ours = {"apiVersion": "trimtab.dev/v1", "metadata": _metadata(remains), "spec": _spec(remains)}
    return from_dict(given(ours, 3)), remains.leftovers()


def _metadata(remains: Remains) -> dict[str, Any]:
    labels = remains.take("metadata.labels", dict, {})
    project = labels.pop(_PROJECT, None)
    foreign = {key: labels.pop(key) for key in list(labels) if key.startswith("nuclio.io/")}
    remains.put_back("metadata.labels", foreign)
    annotations = remains.take("metadata.annotations", dict, {})
    foreign = {key: annotations.pop(key) for key in list(annotations) if key.startswith("nuclio.io/")}
    remains.put_back("metadata.annotations", foreign)
    metadata = {"labels": labels, "annotations": annotations, "project": project}
    return {
        **metadata,
        "name": remains.take("metadata.name", str),
        "namespace": remains.take("metadata.namespace", str),
    }


class Triggers(Struct):
    """What `spec.triggers` becomes: our triggers, the variables that they need, and what it says of scale and limits."""

    triggers: list[dict[str, Any]] = field(default_factory=list)
    env: list[dict[str, Any]] = field(default_factory=list)
    scale: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)


def take_triggers(remains: Remains) -> Triggers:
    """Take `spec.triggers`. Each of Nuclio's triggers has workers of its own, which are the function's here."""
    taken = Triggers()
    workers, others, body = 1, 0, None
    for name, trigger in remains.take("spec.triggers", dict, {}).items():
        rest = Remains(trigger if isinstance(trigger, dict) else {"kind": trigger})
        said = rest.take("kind")
        kind = said if isinstance(said, str) else ""
        if kind == "http":
            workers, body = _http(rest)
        elif kind == "cron" and (cron := _cron(name, rest)):
            taken.triggers.append(cron)
        elif kind in STREAMS and (stream := take_stream(name, kind, rest)).triggers:
            taken.triggers += stream.triggers
            taken.env += stream.env
            remains.notes += stream.notes
            others += sum(each["concurrency"] for each in stream.triggers[:1])
        else:
            remains.notes += _nothing(name, kind)
            rest.put_back("kind", said)
        remains.put_back(f"spec.triggers.{name}", rest.document)
    taken.scale = {"workers": workers + others, "concurrency": workers + others}
    taken.limits = {"body": body}
    return taken


def _nothing(name: str, kind: str) -> list[str]:
    """Say what to use for a trigger that there is nothing for."""
    if kind in STREAMS:
        return [f"spec.triggers.{name}: it names no broker, or nothing to take from it"]
    return [f"spec.triggers.{name}: there is no {kind} here: {OTHERS[kind]}"] if kind in OTHERS else []


def _spec(remains: Remains) -> dict[str, Any]:
    taken = take_triggers(remains)
    return {
        "description": remains.take("spec.description", str),
        "handler": remains.take("spec.handler", str),
        "source": _source(remains),
        "build": _build(remains),
        "env": [*take_env(remains, "spec.env"), *taken.env],
        "resources": take_resources(remains, "spec.resources"),
        "scale": {**_replicas(remains), **taken.scale},
        "timeouts": {
            "request": remains.take("spec.eventTimeout"),
            "start": remains.take("spec.readinessTimeoutSeconds"),
        },
        "limits": taken.limits,
        "volumes": _volumes(remains),
        "scheduling": _scheduling(remains),
        "triggers": taken.triggers,
    }


def _source(remains: Remains) -> dict[str, Any]:
    code = remains.take("spec.build.functionSourceCode", str)
    return {
        "code": decode_source(code, "spec.build.functionSourceCode") if code else None,
        "path": remains.take("spec.build.path", str),
    }


def _build(remains: Remains) -> dict[str, Any]:
    requirements, commands = split_commands(remains.take("spec.build.commands", list, []))
    return {
        "baseImage": remains.take("spec.build.baseImage", str),
        "requirements": [*remains.take("spec.build.requirements", list, []), *requirements],
        "commands": commands,
        "python": _python(remains),
    }


def _python(remains: Remains) -> str | None:
    runtime = remains.take("spec.runtime", str, "python")
    match = re.fullmatch(r"python(?::3(?:\.(\d+))?)?", runtime)
    if match is None:
        raise SpecError("spec.runtime", runtime, "'python', or a version of it such as 'python:3.11'")
    if match[1] is None:
        return None
    if int(match[1]) < _OLDEST:
        remains.notes.append(f"spec.runtime: {runtime!r} (Python 3.{_OLDEST} is the oldest here; the default is taken)")
        return None
    return f"3.{match[1]}"


def _replicas(remains: Remains) -> dict[str, Any]:
    fixed = remains.take("spec.replicas", int)
    low, high = remains.take("spec.minReplicas", int), remains.take("spec.maxReplicas", int)
    if (percent := remains.take("spec.targetCPU")) is not None:
        remains.notes.append(f"spec.targetCPU: {percent!r} (replicas are scaled by concurrency or requests per second)")
    return {"min": low if fixed is None else fixed, "max": high if fixed is None else fixed}


def _volumes(remains: Remains) -> list[dict[str, Any]]:
    def ours(each: Any) -> dict[str, Any] | None:
        return volume(each.get("volume") or {}, each.get("volumeMount") or {}) if isinstance(each, dict) else None

    return remains.pick("spec.volumes", ours)


def _scheduling(remains: Remains) -> dict[str, Any]:
    secrets = remains.take("spec.imagePullSecrets", (str, list)) or []
    return {
        **take_scheduling(remains, _SCHEDULING),
        "imagePullSecrets": [secrets] if isinstance(secrets, str) else secrets,
    }


def _http(rest: Remains) -> tuple[int, int | None]:
    rest.take("name")
    rest.take("class")
    old = rest.take("maxWorkers", int)
    workers = rest.take("numWorkers", int, old) or 1
    return workers, rest.take("attributes.maxRequestBodySize", int)


def _cron(name: str, rest: Remains) -> dict[str, Any] | None:
    schedule, interval = rest.take("attributes.schedule", str), rest.take("attributes.interval", str)
    if not schedule and not interval:
        return None
    rest.take("name")
    rest.take("class")
    rest.take("numWorkers")
    rest.take("maxWorkers")
    policy = rest.take("attributes.concurrencyPolicy", str, "Allow")
    if policy not in _OVERLAP:
        rest.put_back("attributes.concurrencyPolicy", policy)
    return {
        "kind": "cron",
        "name": as_label(name) or "cron",
        "schedule": schedule or f"@every {interval}",
        "overlap": _OVERLAP.get(policy, "allow"),
        "disabled": rest.take("disabled", bool, False),
        **_data(rest.take("attributes.event.body")),
    }


def _data(body: Any) -> dict[str, Any]:
    """A body that is JSON is JSON's data, any other text is text."""
    if not isinstance(body, str):
        return {"data": body}
    try:
        return {"data": json.loads(body)}
    except ValueError:
        return {"data": body, "contentType": "text/plain"}
