"""Documents to Functions and back: YAML, JSON and Python say the same thing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from trimtab.errors import SpecError
from trimtab.spec.plain import plain
from trimtab.spec.serving import is_built_in, is_path
from trimtab.spec.types import API_VERSION, Function, FunctionSpec, Source

ALIASES = {"nuclio": "http", "remote": "http"}
"""Names of kinds that MLRun's users know, and what they are here."""


class LeftoverWarning(UserWarning):
    """A foreign document said something that could not be carried over."""


def load(path: str | Path, *, leftovers: list[str] | None = None) -> Function:
    """Read a function from a file: ours, a Nuclio function.yaml or a function that MLRun exported.

    Relative paths (`source.path`, `models[].path`) are taken from the file's folder, and no source at all means that
    folder, except for a model server without classes of its own. What a foreign document says and cannot be carried over is appended to `leftovers`, or warned of (LeftoverWarning) when that is
    None. Errors: SpecError.
    """
    path = Path(path)
    function = loads(_text(path), name=str(path), leftovers=leftovers)
    source = function.spec.source
    if source.path is not None:
        source.path = str(path.parent / source.path)
    elif source == Source() and function.spec.build.image is None and _has_code(function.spec):
        source.path = str(path.parent)
    for model in function.spec.models:
        if model.path is not None and is_path(model.path):
            model.path = str(path.parent / model.path)
    return function


def _has_code(spec: FunctionSpec) -> bool:
    """Whether a document without a source stands for its folder: the built-in model server needs no code."""
    return spec.kind != "serving" or bool(spec.handler) or any(not is_built_in(each.class_name) for each in spec.models)


def loads(text: str, *, name: str = "document", leftovers: list[str] | None = None) -> Function:
    """Read a function from a text; `name` is what messages call it. Errors and `leftovers`: see `load`."""
    from trimtab.spec.document import parse

    return from_dict(parse(text, name), leftovers=leftovers)


def from_dict(document: Any, *, leftovers: list[str] | None = None) -> Function:
    """Read a function from plain data. Errors and `leftovers`: see `load`."""
    if not isinstance(document, dict):
        raise SpecError("document", document, "a mapping with apiVersion, kind, metadata and spec")
    document = plain(document)
    reader = _foreign(document)
    if reader is None:
        return _convert(_without_aliases(document))
    function, rest = reader(document)
    if leftovers is not None:
        leftovers.extend(rest)
    elif rest:
        warnings.warn(f"not carried over: {'; '.join(rest)}", LeftoverWarning, stacklevel=3)
    return function


def to_dict(function: Function) -> dict[str, Any]:
    """Give the document as plain data: `apiVersion` and `kind` first, then whatever is not at its default."""
    return {"apiVersion": API_VERSION, "kind": "Function", **plain(function, defaults=False)}


def dump(function: Function, format: Literal["yaml", "json"] = "yaml") -> str:
    """Write the document; `loads` gives an equal Function. Errors: SpecError for a value that JSON cannot say."""
    from trimtab.spec import document

    if format not in {"yaml", "json"}:
        raise SpecError("format", format, "'yaml' or 'json'")
    return (document.to_yaml if format == "yaml" else document.to_json)(to_dict(function))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = error.object[error.start : error.start + 1]
        raise SpecError(f"{path}, line {line}", found, "text in UTF-8") from error
    except OSError as error:
        raise SpecError(str(path), error.strerror or "an error", "a file that can be read") from error


def _foreign(document: dict[str, Any]) -> Callable[[dict[str, Any]], tuple[Function, list[str]]] | None:
    from trimtab.spec import mlrun, nuclio

    return next((each.read for each in (nuclio, mlrun) if each.recognises(document)), None)


def _without_aliases(document: dict[str, Any]) -> dict[str, Any]:
    spec = document.get("spec")
    if isinstance(spec, dict) and isinstance(kind := spec.get("kind"), str) and kind in ALIASES:
        return {**document, "spec": {**spec, "kind": ALIASES[kind]}}
    return document


def _convert(document: dict[str, Any]) -> Function:
    try:
        return msgspec.convert(document, Function)
    except msgspec.ValidationError as error:
        from trimtab.spec.explain import explain

        raise explain(document, Function) or SpecError("document", document, str(error)) from error
