"""From value objects to what JSON can say (and nothing else), and the paths that name places in it."""

from __future__ import annotations

import math
import re
from typing import Any

from msgspec import NODEFAULT, UNSET, Struct
from msgspec.structs import fields

from trimtab.errors import SpecError

_WORD = re.compile(r"[A-Za-z_][\w-]*\Z")
_ALLOWED = "what JSON can say: text, numbers, true, false, null, lists, and mappings with text keys"


def join(path: str, key: str) -> str:
    """Name the place `key` under `path`: `spec.scale`, `metadata.labels["app.kubernetes.io/name"]`."""
    if not _WORD.match(key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def plain(value: Any, path: str = "", *, defaults: bool = True) -> Any:
    """Turn structs into dicts under their document names, deeply. Without `defaults`, fields at their default are left
    out. Errors: SpecError at the first value that JSON cannot say.
    """
    if isinstance(value, Struct):
        return _struct(value, path, defaults)
    if isinstance(value, dict):
        return {_key(key, path): plain(item, join(path, key), defaults=defaults) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}[{index}]", defaults=defaults) for index, item in enumerate(value)]
    if value is None or isinstance(value, str | bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    raise SpecError(path or "document", value, _ALLOWED)


def _struct(value: Struct, path: str, defaults: bool) -> dict[str, Any]:
    config = value.__struct_config__
    result = {} if config.tag is None else {str(config.tag_field): config.tag}
    for each in fields(value):
        item = getattr(value, each.name, UNSET)
        if item is UNSET or (not defaults and item == _default(each)):
            continue
        result[each.encode_name] = plain(item, join(path, each.encode_name), defaults=defaults)
    return result


def _default(field: Any) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise SpecError(path or "document", key, "text as a key")
    return key
