"""A job's parameters: text from a command line becomes what the handler's annotations ask for."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from trimtab.errors import SpecError

_CONTEXT_NAMES = ("context", "ctx", "_context")


def takes_context(function: Callable[..., Any]) -> bool:
    """Tell whether the first parameter is the run's context: by its name, or by an annotation that ends in Context."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind is first.KEYWORD_ONLY:
        return False
    annotation = first.annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return first.name in _CONTEXT_NAMES or str(name).endswith(("Context", "MLClientCtx"))


def bind(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keyword arguments for `function` (without its context) out of what was given.

    Text is converted to int, float, bool, list, dict and whatever else the annotation says; values of other types must
    fit it as they are. Errors: SpecError for a parameter that is unknown, missing or does not fit.
    """
    parameters = list(inspect.signature(function).parameters.values())[1 if takes_context(function) else 0 :]
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in given:
        if name not in known and not anything:
            raise SpecError(f"parameter {name}", given[name], f"one of {', '.join(sorted(known)) or 'no parameters'}")
    for parameter in parameters:
        if parameter.name in known and parameter.default is parameter.empty and parameter.name not in given:
            raise SpecError(
                f"parameter {parameter.name}", None, "a value: it has no default", hint="Give -p name=value."
            )
    hints = _hints(function)
    return {name: convert(name, value, hints.get(name, Any)) for name, value in given.items()}


class _Unknown(Exception):
    """An annotation that msgspec has no idea of."""


def convert(name: str, value: Any, annotation: Any) -> Any:
    """Convert one value to its annotation; what no text can become (a DataFrame) stays as it is. Errors: SpecError."""
    if annotation in (Any, inspect.Parameter.empty) or (annotation is str and isinstance(value, str)):
        return value
    if isinstance(annotation, type) and isinstance(value, annotation):
        return value
    if getattr(annotation, "__name__", "") == "DataFrame" and hasattr(value, "as_df"):
        return value.as_df()
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    try:
        return msgspec.convert(value if text is None else text, annotation, strict=text is None, dec_hook=_special)
    except (TypeError, _Unknown):
        return value
    except msgspec.ValidationError as exc:
        if text is not None:
            try:
                return msgspec.json.decode(text.encode(), type=annotation, strict=False, dec_hook=_special)
            except msgspec.DecodeError:
                pass
        wanted = getattr(annotation, "__name__", None) or str(annotation)
        raise SpecError(f"parameter {name}", value, f"a value of type {wanted}") from exc


def _special(annotation: Any, value: Any) -> Any:
    if isinstance(value, annotation):
        return value
    if issubclass(annotation, PurePath) and isinstance(value, str):
        return annotation(value)
    raise _Unknown


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}  # annotations that only a type checker can resolve
