"""A function that MLRun exported (`fn.export("function.yaml")`), and the list of what could not be carried over."""

from __future__ import annotations

from typing import Any

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
from trimtab.spec.nuclio import Triggers, take_triggers
from trimtab.spec.types import Function

_KINDS = {"nuclio": "http", "remote": "http", "serving": "serving", "job": "job"}
_SCHEDULING = {
    "nodeSelector": "spec.node_selector",
    "affinity": "spec.affinity",
    "tolerations": "spec.tolerations",
    "priorityClass": "spec.priority_class_name",
    "serviceAccount": "spec.service_account",
}
_BOOKKEEPING = ("metadata.hash", "metadata.updated", "metadata.tag", "metadata.credentials", "status", "verbose",
                "spec.build.code_origin", "spec.build.origin_filename", "spec.entry_points", "spec.default_class",
                "spec.args", "spec.command", "spec.disable_auto_mount", "spec.allow_empty_resources")  # fmt: skip


def recognises(document: dict[str, Any]) -> bool:
    """Whether this is MLRun's document: one of its kinds, and no `apiVersion`."""
    kind = document.get("kind")
    return "apiVersion" not in document and isinstance(kind, str) and kind in _KINDS


def read(document: dict[str, Any]) -> tuple[Function, list[str]]:
    """Give the function and, one line each, what could not be carried over. Errors: SpecError."""
    from trimtab.spec.load import from_dict

    remains = Remains(_unfolded(document))
    kind = _KINDS[remains.take("kind", str)]
    for path in _BOOKKEEPING:
        remains.take(path)
    metadata = {
        "name": remains.take("metadata.name", str),
        "project": remains.take("metadata.project", str),
        "labels": remains.take("metadata.labels", dict),
    }
    names = ("spec.function_handler", "spec.default_handler", "spec.handler")
    taken = take_triggers(remains) if kind == "http" else Triggers()
    spec = {
        "kind": kind,
        "description": remains.take("spec.description", str),
        "handler": next((found for found in [remains.take(name, str) for name in names] if found), None),
        "source": _source(remains),
        "build": _build(remains),
        "env": [*take_env(remains, "spec.env"), *taken.env],
        "resources": take_resources(remains, "spec.resources"),
        "scale": {**_scale(remains, kind), **taken.scale},
        "limits": taken.limits,
        "triggers": taken.triggers,
        "volumes": _volumes(remains),
        "scheduling": _scheduling(remains),
        "parameters": remains.take("spec.parameters", dict) if kind == "job" else None,
        **(_serving(remains) if kind == "serving" else {}),
    }
    return from_dict(given({"metadata": metadata, "spec": spec}, 3)), remains.leftovers()


def _serving(remains: Remains) -> dict[str, Any]:
    """Take the models of a router; any other graph is not carried over. Its stream becomes the broker `default`."""
    spec: dict[str, Any] = {"models": _models(remains)}
    if remains.take("spec.track_models", bool):
        for name in ("log_stream", "log_stream_batch", "log_stream_sample", "stream_args"):
            remains.take(f"spec.parameters.{name}")
        spec |= {"tracking": {"sample": 1.0}, "sink": {"broker": "default"}}
        remains.notes.append("spec.track_models: the records go to the broker 'default' here; spec.sink says where")
    return spec


def _models(remains: Remains) -> list[dict[str, Any]]:
    graph = remains.take("spec.graph", dict, {})
    if graph.get("kind") != "router" or graph.get("class_name") not in (None, "", "mlrun.serving.ModelRouter"):
        remains.put_back("spec.graph", graph)
        return []
    models = []
    for key, route in dict(graph.get("routes") or {}).items():
        given = dict(route.get("class_args") or {})
        path = given.pop("model_path", None)
        models.append({"key": key, "path": path, "className": route.get("class_name") or "", "params": given})
    return models


def _unfolded(document: dict[str, Any]) -> dict[str, Any]:
    """Put what `spec.config` says of Nuclio's fields (`spec.triggers.http: {...}`) where Nuclio has it."""
    spec = document.get("spec")
    config = spec.get("config") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(config, dict):
        return document
    prefix = "spec.triggers."
    triggers = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    others = {key: value for key, value in config.items() if not key.startswith(prefix)}
    return {**document, "spec": {**spec, "config": others, "triggers": triggers}}


def _source(remains: Remains) -> dict[str, Any]:
    code = remains.take("spec.build.functionSourceCode", str)
    return {"code": decode_source(code, "spec.build.functionSourceCode") if code else None}


def _build(remains: Remains) -> dict[str, Any]:
    requirements, commands = split_commands(remains.take("spec.build.commands", list, []))
    image = remains.take("spec.image", str)  # what MLRun runs the embedded code on
    return {
        "baseImage": remains.take("spec.build.base_image", str, image),
        "requirements": [*remains.take("spec.build.requirements", list, []), *requirements],
        "commands": commands,
    }


def _scale(remains: Remains, kind: str) -> dict[str, Any]:
    names = {"min": "spec.min_replicas", "max": "spec.max_replicas"}
    scale = {field: remains.take(path, int) for field, path in names.items()}
    fixed = remains.take("spec.replicas", int)
    return {} if kind == "job" else {field: fixed or value for field, value in scale.items()}


def _volumes(remains: Remains) -> list[dict[str, Any]]:
    mounts = {
        str(each.get("name")): each for each in remains.take("spec.volume_mounts", list, []) if isinstance(each, dict)
    }

    def ours(each: Any) -> dict[str, Any] | None:
        name = str(each.get("name")) if isinstance(each, dict) else ""
        found = volume(each, mounts[name]) if name in mounts else None
        if found is not None:
            del mounts[name]
        return found

    taken = remains.pick("spec.volumes", ours)
    remains.put_back("spec.volume_mounts", list(mounts.values()))
    return taken


def _scheduling(remains: Remains) -> dict[str, Any]:
    secret = remains.take("spec.image_pull_secret", str)
    return {**take_scheduling(remains, _SCHEDULING), "imagePullSecrets": [secret] if secret else []}
