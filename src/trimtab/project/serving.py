"""What `fn.add_model` and `fn.set_tracking` take, as the spec has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import SpecError
from trimtab.spec import EventTrigger, FunctionSpec, MicroBatch, Model, Retrain, Sink, Tracking
from trimtab.spec.explain import explain
from trimtab.spec.hint import NOTHING
from trimtab.spec.plain import plain


def model(
    key: str,
    path: Any,
    class_name: Any,
    sha256: str | None,
    batch: MicroBatch | Mapping[str, Any] | None,
    params: Mapping[str, Any],
) -> Model:
    """Make a model. Errors: SpecError for what cannot be one."""
    document = {
        "key": key,
        "path": None if path is None else _path(path),
        "sha256": sha256,
        "className": _class(class_name),
        "params": plain(dict(params), "params"),
        "batch": plain(batch) if isinstance(batch, MicroBatch) else None if batch is None else dict(batch),
    }
    document = {name: value for name, value in document.items() if value is not None}
    try:
        return msgspec.convert(document, Model)
    except msgspec.ValidationError as error:
        raise explain(document, Model, f"model {key}") or SpecError(f"model {key}", document, str(error)) from error


def add(spec: FunctionSpec, added: Model) -> None:
    """Put a model last, in place of the one of its key. Errors: SpecError for a function that is no model server."""
    if spec.kind != "serving":
        raise SpecError("spec.kind", spec.kind, "'serving', for a function with models")
    spec.models = [*(each for each in spec.models if each.key != added.key), added]


def remove(spec: FunctionSpec, key: str) -> None:
    """Take a model out. Errors: SpecError."""
    kept = [each for each in spec.models if each.key != key]
    if len(kept) == len(spec.models):
        there = ", ".join(repr(each.key) for each in spec.models) or "none: there are no models"
        raise SpecError("key", key, there)
    spec.models = kept


def track(
    spec: FunctionSpec, sink: Sink | str | None, sample: float | None, batch: int | None, age: Any, *, on: bool
) -> None:
    """Turn tracking on or off. Errors: SpecError."""
    if not on:
        spec.tracking = None
        return
    if spec.kind != "serving":
        raise SpecError("spec.kind", spec.kind, "'serving', for a function whose models are tracked")
    if sink is not None:
        spec.sink = sink if isinstance(sink, Sink) else _sink(sink)
    elif spec.sink is None:
        spec.sink = Sink(broker="default")
    document = {"sample": 1 / sample if sample is not None and sample > 1 else sample, "batch": batch, "age": age}
    document = {name: value for name, value in document.items() if value is not None}
    try:
        spec.tracking = msgspec.convert(document, Tracking)
    except msgspec.ValidationError as error:
        raise explain(document, Tracking, "tracking") or SpecError("tracking", document, str(error)) from error


def retrain(spec: FunctionSpec, function: Any, rule: Mapping[str, Any]) -> None:
    """Set the rule of retraining, and give the job that is to train its trigger. Errors: SpecError."""
    if spec.kind != "serving":
        raise SpecError("spec.kind", spec.kind, "'serving', for a function whose models are retrained")
    name = function if isinstance(function, str) else function.metadata.name
    document = plain({**{_camel(key): value for key, value in rule.items()}, "function": name}, "retrain")
    try:
        spec.retrain = msgspec.convert(document, Retrain)
    except msgspec.ValidationError as error:
        raise explain(document, Retrain, "retrain") or SpecError("retrain", document, str(error)) from error
    if not isinstance(function, str):
        _listen(function.function.spec, name)


def _listen(job: FunctionSpec, name: str) -> None:
    trigger = EventTrigger(name="retrain", filters=[{"exact": {"type": "dev.trimtab.retrain", "function": name}}])
    job.triggers = [*(each for each in job.triggers if each.name != trigger.name), trigger]
    job.sink = job.sink or Sink(broker=trigger.broker)  # where a cluster's run tells of its end


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def _sink(text: str) -> Sink:
    if re.match(r"https?://", text):
        return Sink(uri=text)
    if "://" in text:
        raise SpecError("sink", text, "a broker's name such as 'default', or an http or https URL")
    return Sink(broker=text)


def _path(path: Any) -> str:
    uri = getattr(path, "uri", None)
    text = str(uri if isinstance(uri, str) else path)
    return text if "://" in text else str(Path(text).absolute())


def _class(given: Any) -> str:
    """Name a class; one that is given itself must be found again by its name in the function's code."""
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    name = getattr(given, "__qualname__", NOTHING)
    if not isinstance(given, type) or "<locals>" in str(name):
        raise SpecError("class_name", given, "a class at the top of the function's code, or its name")
    return str(name)
