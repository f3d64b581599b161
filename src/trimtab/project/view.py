"""`fn.spec`: the function's spec under our names and MLRun's, both writing to the same place."""

from __future__ import annotations

from typing import Any

from trimtab.spec import FunctionSpec
from trimtab.spec.hint import did_you_mean

_ELSEWHERE = {
    "min_replicas": "scale.min",
    "max_replicas": "scale.max",
    "base_image": "build.base_image",
    "commands": "build.commands",
    "requirements": "build.requirements",
    "node_selector": "scheduling.node_selector",
    "affinity": "scheduling.affinity",
    "tolerations": "scheduling.tolerations",
    "priority_class_name": "scheduling.priority_class",
    "service_account": "scheduling.service_account",
    "function_handler": "handler",
    "default_handler": "handler",
    "readiness_timeout": "timeouts.start",
    "event_timeout": "timeouts.request",
}


class SpecView:
    """A FunctionSpec whose fields can also be reached by MLRun's names.

    `replicas` fixes both bounds of `scale`, and reads None while they differ. `image` is what the code runs on: the
    base image where there is a source, the replica's own image where there is none.
    """

    __slots__ = ("_spec",)
    _spec: FunctionSpec

    def __init__(self, spec: FunctionSpec) -> None:
        object.__setattr__(self, "_spec", spec)

    def __getattr__(self, name: str) -> Any:
        if name == "replicas":
            scale = self._spec.scale
            return scale.min if scale.min == scale.max else None
        place, field = self._place(name)
        return getattr(place, field)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "replicas":
            self._spec.scale.min = self._spec.scale.max = value
            return
        place, field = self._place(name)
        setattr(place, field, value)

    def __dir__(self) -> list[str]:
        return sorted({*FunctionSpec.__struct_fields__, *_ELSEWHERE, "image", "replicas"})

    def __repr__(self) -> str:
        return repr(self._spec)

    def _place(self, name: str) -> tuple[Any, str]:
        """Find the object and the field that a name stands for. Errors: AttributeError with the nearest name."""
        if name == "image":
            return self._spec.build, "base_image" if has_source(self._spec) else "image"
        if name not in _ELSEWHERE and name not in FunctionSpec.__struct_fields__:
            raise AttributeError(f"a function's spec has no {name!r}. {did_you_mean(name, dir(self))}".rstrip(" ."))
        *parents, field = _ELSEWHERE.get(name, name).split(".")
        return (getattr(self._spec, parents[0]) if parents else self._spec), field


def has_source(spec: FunctionSpec) -> bool:
    """Whether the spec says where code is."""
    return any(getattr(spec.source, name) is not None for name in ("path", "code", "git"))
