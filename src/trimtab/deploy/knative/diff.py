"""Live against desired, field by field: only fields that the description sets are compared. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import COMMIT, VERSION
from trimtab.errors import SpecError
from trimtab.spec.quantity import parse

_IGNORED = {COMMIT, VERSION}
"""What may differ without anything being different."""
_MISSING = object()


class Difference(Struct, frozen=True, kw_only=True):
    """One field. `live` or `desired` is None where it is not there."""

    object: str
    field: str
    live: Any = None
    desired: Any = None


def compare(desired: list[Manifest], live: list[Manifest], pruned: list[Manifest]) -> list[Difference]:
    """Give the differences; `pruned` are objects of ours that the description no longer names."""
    there = {_name(item): item for item in live}
    found: list[Difference] = []
    for item in desired:
        name = _name(item)
        if name not in there:
            found.append(Difference(object=name, field="", desired="made"))
            continue
        found += [
            Difference(object=name, field=field, live=old, desired=new)
            for field, old, new in _fields(item, there[name])
        ]
    return found + [Difference(object=_name(item), field="", live="removed") for item in pruned]


def _fields(desired: Any, live: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(desired, dict) and isinstance(live, dict):
        return [
            row
            for key, value in desired.items()
            if key not in _IGNORED
            for row in _fields(value, live.get(key, _MISSING), _join(path, key))
        ]
    if isinstance(desired, list) and isinstance(live, list):
        return _lists(desired, live, path)
    return [] if _same(desired, live) else [(path, None if live is _MISSING else live, desired)]


def _lists(desired: list[Any], live: list[Any], path: str) -> list[tuple[str, Any, Any]]:
    """Items with names are compared by name, others by place."""
    if all(isinstance(item, dict) and "name" in item for item in [*desired, *live]):
        there = {item["name"]: item for item in live}
        rows = [
            row
            for item in desired
            for row in _fields(item, there.get(item["name"], _MISSING), f"{path}[{item['name']}]")
        ]
        extra = [name for name in there if name not in {item["name"] for item in desired}]
        return rows + [(f"{path}[{name}]", there[name], None) for name in extra]
    if len(desired) != len(live):
        return [(path, live, desired)]
    return [row for i, item in enumerate(desired) for row in _fields(item, live[i], f"{path}[{i}]")]


def _same(desired: Any, live: Any) -> bool:
    if desired == live:
        return True
    if live is _MISSING:
        return desired in ({}, [], None, "")
    try:  # quantities: 1000m is 1
        return isinstance(desired, str) and isinstance(live, str) and parse(desired) == parse(live)
    except SpecError:
        return False


def _join(path: str, key: str) -> str:
    if not key.replace("_", "").isalnum():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def _name(item: Manifest) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"
