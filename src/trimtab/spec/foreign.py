"""What the readers of foreign documents share: taking things out, so that whatever is left is what was not carried over."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from collections.abc import Callable
from typing import Any

from trimtab.errors import SpecError
from trimtab.spec.plain import join
from trimtab.spec.stream import masked

_PIP = re.compile(r"(?:python3?(?:\.\d+)? -m )?pip3? install (?P<rest>.+)\Z")

_SECRET = re.compile(r"(?i)(password|secret|access_?key|token)\Z").search
_VERSION = r"[<>=!~]=?=?[\w.*+!-]+"
_REQUIREMENT = re.compile(rf"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?({_VERSION}(,{_VERSION})*)?\Z")


class Remains:
    """A document that is emptied as it is understood; `notes` are sentences about what means something else here."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = copy.deepcopy(document)
        self.notes: list[str] = []

    def take(self, path: str, kind: type | tuple[type, ...] = object, default: Any = None) -> Any:
        """Take out the value at a dotted path; `default` where there is none, or empty text. Errors: SpecError when it is no `kind`."""
        *parents, last = path.split(".")
        place: Any = self.document
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        found = place.pop(last, None) if isinstance(place, dict) else None
        if found is None or found == "":
            return default
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is int):
            raise SpecError(path, found, _named(kind))
        return found

    def put_back(self, path: str, value: Any) -> None:
        """Return what could not be used of a value that was taken; nothing when it is empty."""
        if value in (None, {}, [], ""):
            return
        *parents, last = path.split(".")
        place = self.document
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value

    def pick(self, path: str, ours: Callable[[Any], dict[str, Any] | None]) -> list[dict[str, Any]]:
        """Take out those items of a list that `ours` can translate; the others stay where they are."""
        items = self.take(path, list, [])
        taken = [ours(item) for item in items]
        if None in taken:
            self.put_back(path, [item if found is None else None for item, found in zip(items, taken, strict=True)])
        return [found for found in taken if found is not None]

    def leftovers(self) -> list[str]:
        """Say what is left, one line a value, and the notes, by path."""
        return sorted([*(f"{path}: {_shown(path, value)}" for path, value in _leaves(self.document, "")), *self.notes])


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, join(path, key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, f"{path}[{index}]")]
    return [] if value in (None, "", []) else [(path, value)]


def _shown(path: str, value: Any) -> str:
    """Show a value, but no password."""
    if _SECRET(path):
        return "'***'"
    return repr(masked(value) if isinstance(value, str) else value)


def _named(kind: type | tuple[type, ...]) -> str:
    names = {
        str: "text",
        int: "a whole number",
        dict: "a mapping",
        list: "a list",
        bool: "true or false",
        float: "a number",
    }
    return " or ".join(names[each] for each in (kind if isinstance(kind, tuple) else (kind,)))


def decode_source(text: str, path: str) -> str:
    """Decode a module that is embedded as base64. Errors: SpecError."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SpecError(path, text, "a Python module in base64") from error


def split_commands(commands: list[Any]) -> tuple[list[str], list[Any]]:
    """Part build commands into requirements (`pip install x y` without options) and the other commands."""
    requirements: list[str] = []
    others: list[Any] = []
    for command in commands:
        match = _PIP.match(command.strip()) if isinstance(command, str) else None
        words = [word.strip("'\"") for word in match["rest"].split()] if match else []
        if words and all(_REQUIREMENT.match(word) for word in words):
            requirements.extend(words)
        else:
            others.append(command)
    return requirements, others


def take_env(remains: Remains, path: str) -> list[dict[str, Any]]:
    """Take Kubernetes' env list: values, and references to keys of Secrets and ConfigMaps."""
    return remains.pick(path, _variable)


def _variable(variable: Any) -> dict[str, Any] | None:
    if not isinstance(variable, dict):
        return None
    source = variable.get("valueFrom") or {}
    if not isinstance(source, dict) or not source.keys() <= _REFERENCES:
        return None
    if isinstance(value := variable.get("value"), int | float):
        return {**variable, "value": str(value).lower() if isinstance(value, bool) else str(value)}
    return variable


_REFERENCES = {"secretKeyRef", "configMapKeyRef"}
_VOLUMES = {
    "persistentVolumeClaim": ("claimName", "persistentVolumeClaim"),
    "secret": ("secretName", "secret"),
    "configMap": ("name", "configMap"),
    "hostPath": ("path", "hostPath"),
}


def volume(definition: Any, mount: Any) -> dict[str, Any] | None:
    """Join a Kubernetes volume and its mount; None when it is of a kind, or has an option, that we do not have."""
    options = {"name", "mountPath", "subPath", "readOnly"}
    source = _volume_source(definition) if isinstance(definition, dict) else None
    if source is None or not isinstance(mount, dict) or not mount.keys() <= options:
        return None
    body, read_only = source
    kept = {"name": definition.get("name"), "mountPath": mount.get("mountPath"), "subPath": mount.get("subPath")}
    return given({**kept, "source": body, "readOnly": read_only or mount.get("readOnly", False)})


def _volume_source(definition: dict[str, Any]) -> tuple[dict[str, Any], bool] | None:
    kinds = {key: value or {} for key, value in definition.items() if key != "name" and value is not None}
    if len(kinds) != 1:
        return None
    ((kind, body),) = kinds.items()
    if kind == "emptyDir" and body == {}:
        return {"emptyDir": True}, False
    if kind not in _VOLUMES or not isinstance(body, dict):
        return None
    key, name = _VOLUMES[kind]
    if not body.keys() <= {key, "readOnly"}:
        return None
    return {name: body.get(key)}, body.get("readOnly", False)


def take_resources(remains: Remains, path: str) -> dict[str, Any]:
    """Take requests and limits; empty values, which MLRun and Nuclio write, are nothing."""
    return {
        name: {
            key: value for key, value in (remains.take(f"{path}.{name}", dict) or {}).items() if value not in (None, "")
        }
        for name in ("requests", "limits")
    }


def take_scheduling(remains: Remains, names: dict[str, str]) -> dict[str, Any]:
    """Take where pods may run; `names` maps our field to the foreign path."""
    return {field: found for field, path in names.items() if (found := remains.take(path))}


def given(value: dict[str, Any], levels: int = 1) -> dict[str, Any]:
    """Leave out what is None or an empty list or mapping, so many levels deep, so that our defaults stand."""
    inner = {
        key: given(item, levels - 1) if levels > 1 and isinstance(item, dict) else item for key, item in value.items()
    }
    return {key: item for key, item in inner.items() if item is not None and item not in ([], {})}
