"""Live against desired, field by field: what the description sets, and what it set and does not any more. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import COMMIT, FIELD_MANAGER, VERSION
from trimtab.deploy.knative.record import KEY
from trimtab.errors import SpecError
from trimtab.spec.quantity import parse

_IGNORED = {COMMIT, VERSION}
"""What may differ without anything being different."""
_BINDING = re.compile(r"oidc-token$|kne-bundle-")
"""Volumes that a SinkBinding puts into a Service, for brokers that want TLS and tokens."""
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
        wanted, known = _opened(item), _opened(there[name])
        found += [
            Difference(object=name, field=field, live=old, desired=new)
            for field, old, new in _fields(wanted, known, owned=_owned(known))
        ]
    return found + [Difference(object=_name(item), field="", live="removed") for item in pruned]


def _opened(item: Manifest) -> Manifest:
    """Give a record with its description as fields, whose values are all ours."""
    if item["kind"] != "ConfigMap":
        return item
    with suppress(msgspec.DecodeError, KeyError):
        data = item.get("data") or {}
        return {**item, "data": {**data, KEY: msgspec.json.decode(data[KEY])}}
    return item


def _owned(live: Manifest) -> Any:
    """Give the fields that our last apply set (`fieldsV1`): apply takes away those that are not named any more."""
    owned: dict[str, Any] = {}
    for entry in live["metadata"].get("managedFields") or []:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            owned.update(entry.get("fieldsV1") or {})
    if live["kind"] == "ConfigMap" and isinstance((live.get("data") or {}).get(KEY), dict):
        owned = {**owned, "f:data": {f"f:{KEY}": _all_of(live["data"][KEY])}}
    return owned


def _all_of(value: Any) -> Any:
    return {f"f:{key}": _all_of(each) for key, each in value.items()} if isinstance(value, dict) else {}


def _fields(desired: Any, live: Any, path: str = "", owned: Any = None) -> list[tuple[str, Any, Any]]:
    owned = owned or {}
    if isinstance(desired, dict) and isinstance(live, dict):
        gone = [key for key in live if key not in desired and f"f:{key}" in owned and key not in _IGNORED]
        return [
            row
            for key, value in desired.items()
            if key not in _IGNORED
            for row in _fields(value, live.get(key, _MISSING), _join(path, key), owned.get(f"f:{key}"))
        ] + [(_join(path, key), live[key], None) for key in gone]
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
        extra = [name for name in there if name not in {item["name"] for item in desired} and not _BINDING.match(name)]
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
