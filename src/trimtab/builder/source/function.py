"""A function's source; a model server may have none, for the built-in class needs no code."""

from __future__ import annotations

from trimtab.builder.abc import Code
from trimtab.builder.source.read import read_source
from trimtab.spec import Function, FunctionSpec, Source
from trimtab.spec.serving import is_built_in


def read_function(function: Function) -> Code:
    """Read a function's source, as `read_source` does."""
    spec = function.spec
    if spec.kind == "serving" and spec.source == Source():
        return Code(files={}, handler="")
    name, needed = function.metadata.name, not _without_own(spec)
    return read_source(spec.source, spec.build, spec.handler, name=name, needed=needed)


def _without_own(spec: FunctionSpec) -> bool:
    """Whether no model needs a class of the handler's module: each is built in, or names its own module."""
    return spec.kind == "serving" and all(
        is_built_in(each.class_name) or "." in each.class_name for each in spec.models
    )
