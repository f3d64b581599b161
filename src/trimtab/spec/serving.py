"""What a model server's description must keep to."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from trimtab.errors import SpecError
from trimtab.spec.hint import NOTHING
from trimtab.spec.plain import plain
from trimtab.spec.quantity import duration, seconds
from trimtab.spec.types import FunctionSpec, Model

_BUILT_IN = ("", "hub://v2_model_server", "mlrun.frameworks.")
_CLASS = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?\Z")
_LOCAL = ("localhost", "127.0.0.1", "::1")
LONGEST_WAIT, LONGEST_AGE = 1.0, 3600.0


def check_serving(spec: FunctionSpec) -> None:
    """Refuse models and tracking that cannot be. Errors: SpecError."""
    if spec.kind != "serving":
        for name in ("models", "tracking"):
            if getattr(spec, name):
                found = plain(getattr(spec, name), defaults=False)
                raise SpecError(f"spec.{name}", found, f"nothing for kind {spec.kind!r}: only 'serving' has models")
        return
    seen: set[str] = set()
    for index, model in enumerate(spec.models):
        if model.key in seen:
            raise SpecError(f"spec.models[{index}].key", model.key, "a key that no other model has")
        seen.add(model.key)
        check_model(model, f"spec.models[{index}]", spec)
    if spec.tracking is not None:
        if spec.sink is None:
            raise SpecError("spec.sink", NOTHING, "a sink while spec.tracking is set: the records go there")
        age = spec.tracking.age = duration(spec.tracking.age, "spec.tracking.age")
        if not 0 < seconds(age) <= LONGEST_AGE:
            raise SpecError("spec.tracking.age", age, "more than 0s and at most 1h")


def check_model(model: Model, path: str, spec: FunctionSpec) -> None:
    """Refuse a model that cannot be loaded by anything. Errors: SpecError."""
    if not is_built_in(model.class_name) and not _CLASS.match(model.class_name):
        raise SpecError(f"{path}.className", model.class_name, "a class such as 'Churn' or 'module.Churn'")
    if model.path is None:
        if is_built_in(model.class_name) and ":" not in spec.handler:
            raise SpecError(f"{path}.path", NOTHING, "a store:// URI, a path or an https URL, for the built-in class")
    else:
        check_path(model.path, f"{path}.path")
    if model.batch is not None:
        wait = model.batch.wait = duration(model.batch.wait, f"{path}.batch.wait")
        if seconds(wait) > LONGEST_WAIT:
            raise SpecError(f"{path}.batch.wait", wait, "at most 1s: a request waits that long for its answer")


def check_path(text: str, path: str) -> None:
    """Refuse what is neither a path nor a URI; http only from this machine, for a model is code. Errors: SpecError."""
    if not text.strip():
        raise SpecError(path, text, "a store:// URI, a path or an https URL")
    if text.startswith("http:") and urlsplit(text).hostname not in _LOCAL:
        raise SpecError(path, text, "an https URL: a model is code, and http lets others change it on its way")


def is_path(text: str) -> bool:
    """Whether a model's place is one on this machine, and no URI."""
    return "://" not in text


def is_built_in(class_name: str) -> bool:
    """Whether a class name means the class that comes with Trimtab."""
    return class_name in _BUILT_IN or class_name.startswith(_BUILT_IN[2])
