"""Makes functions: of code, of an image, of a document, or of nothing yet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from trimtab.errors import SpecError
from trimtab.project.code import qualified, source_of
from trimtab.project.function import FunctionHandle
from trimtab.project.notebook import current
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source, load
from trimtab.spec.load import ALIASES
from trimtab.spec.scalars import as_label

_KINDS = ("nuclio", "remote", "http", "serving", "job")


def code_to_function(
    name: str = "",
    project: str = "",
    *,
    filename: str | Path = "",
    handler: str | Callable[..., Any] = "",
    kind: str = "nuclio",
    image: str | None = None,
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    requirements_file: str = "",
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function of a Python file, a notebook, a folder or a git reference; by default one called over HTTP.

    Without `filename` it is the notebook that this is called in, as it was saved.
    `name` defaults to the file's, `handler` is a name in the file or `module:name`, `image` what the built image sits
    on. A `handler` that is a function itself, of this session or notebook, needs no file: it is pickled, with what it
    uses and with the versions of its libraries. Errors: SpecError.
    """
    build = Build(base_image=image or None)
    if not isinstance(handler, str):
        if filename:
            raise SpecError(
                "handler", handler, "the name of a function in `filename`, or a function without `filename`"
            )
        spec, own = _packed(handler, build), as_label(getattr(handler, "__name__", "function"))
    else:
        source = source_of(filename or current() or "")
        spec = FunctionSpec(handler=qualified(handler, source), source=source, build=build)
        own = as_label(_stem(source))
    spec.kind, spec.description = _kind(kind), description
    return _handle(spec, name or own, project, labels, requirements, requirements_file)


def _packed(function: Callable[..., Any], build: Build) -> FunctionSpec:
    """Describe a function of this session: the text of a module that unpickles it, for this very Python."""
    from trimtab.builder.source.callable import pack

    packed = pack(function)
    build.python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return FunctionSpec(handler=packed.handler, source=Source(code=packed.text), build=build)


def _stem(source: Source) -> str:
    if source.path is not None:
        return Path(source.path).resolve().stem
    from trimtab.builder.source.git import parse

    found = parse(str(source.git))
    return Path(found.folder or found.url.rstrip("/").removesuffix(".git")).stem


def new_function(
    name: str = "",
    project: str = "",
    *,
    kind: str = "nuclio",
    image: str | None = None,
    command: str = "",
    handler: str | Callable[..., Any] = "",
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function to be filled in: of `command` (a Python file or notebook), of a `handler` that is a function of
    this session, of an `image` that holds it, or of nothing yet.

    Errors: SpecError.
    """
    if command or not isinstance(handler, str):
        return code_to_function(
            name,
            project,
            filename=command,
            handler=handler,
            kind=kind,
            image=image,
            description=description,
            requirements=requirements,
            labels=labels,
        )
    spec = FunctionSpec(kind=_kind(kind), description=description, handler=handler, build=Build(image=image or None))
    return _handle(spec, name, project, labels, requirements, "")


def import_function(path: str | Path) -> FunctionHandle:
    """Read a function from a document: ours, Nuclio's function.yaml, or what MLRun exported.

    What a foreign document says and cannot be carried over is warned of. Errors: SpecError.
    """
    if "://" in str(path):
        raise SpecError("path", str(path), "the path of a function.yaml or .json", hint="Download it first")
    return FunctionHandle(load(path))


def _kind(kind: str) -> Any:
    if kind not in _KINDS:
        raise SpecError("kind", kind, ", ".join(map(repr, _KINDS)))
    return ALIASES.get(kind, kind)


def _handle(
    spec: FunctionSpec,
    name: str,
    project: str,
    labels: Mapping[str, str] | None,
    requirements: Iterable[str] | str | None,
    requirements_file: str,
) -> FunctionHandle:
    metadata = Metadata(name=name, project=project or "default", labels=dict(labels or {}))
    function = FunctionHandle(Function(metadata=metadata, spec=spec))
    if requirements or requirements_file:
        function.with_requirements(requirements or [], requirements_file=requirements_file)
    return function
