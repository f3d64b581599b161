"""What the code says of itself, put where the function's description is silent."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.builder.abc import Code
from trimtab.spec import Build, EnvVar, Function, from_dict, to_dict


def applied(function: Function, code: Code) -> tuple[Function, list[str]]:
    """Give the function with its handler named in full, and with what `code` declares; and sentences about what not.

    The description wins: requirements and commands are added to its own, a variable or field that it sets stays.
    Errors: SpecError for a notebook's `%nuclio config` that cannot be.
    """
    document, leftovers = to_dict(function), []
    if code.config:
        said: list[str] = []
        config = from_dict(code.config, leftovers=said)
        document = _merged(document, _of_code(to_dict(config), code.config))
        leftovers = [f"%nuclio config is not carried over: {each}" for each in said]
    function = from_dict(document)
    build = function.spec.build
    build = msgspec.structs.replace(
        build,
        requirements=_united(build.requirements, code.requirements.lines),
        commands=_united(build.commands, code.commands),
    )
    return _replaced(function, code, build), leftovers


def _replaced(function: Function, code: Code, build: Build) -> Function:
    known = {variable.name for variable in function.spec.env}
    env = [EnvVar(name=name, value=value) for name, value in code.env.items() if name not in known]
    spec = msgspec.structs.replace(function.spec, handler=code.handler, build=build, env=[*function.spec.env, *env])
    return msgspec.structs.replace(function, spec=spec)


def _united(first: list[str], second: list[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _of_code(document: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what code cannot decide (who the function is, where its code lies), and Nuclio's one worker, where the
    notebook says nothing of workers."""
    spec = {key: value for key, value in document.get("spec", {}).items() if key not in {"handler", "source"}}
    if "triggers" not in config.get("spec", {}):
        spec["scale"] = {k: v for k, v in spec.get("scale", {}).items() if k not in {"workers", "concurrency"}}
    return {"spec": spec}


def _merged(first: Any, second: Any) -> Any:
    """Merge two documents; where both say something, `first` does, lists of named things item by item."""
    if isinstance(first, dict) and isinstance(second, dict):
        both = {key: _merged(first[key], second[key]) for key in first.keys() & second.keys()}
        return {**second, **first, **both}
    if isinstance(first, list) and isinstance(second, list):
        names = {item.get("name") for item in first if isinstance(item, dict)}
        return [*first, *(item for item in second if not (isinstance(item, dict) and item.get("name") in names))]
    return first
