"""Trigger filters: Knative's `spec.filters`, which are the dialects of the CloudEvents Subscriptions API.

https://github.com/cloudevents/spec/blob/main/subscriptions/spec.md, section 3.2.4.1. A filter is compiled once and then
called with the attributes of every event that a broker accepts, so it is a closure that only looks things up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimtab.errors import SpecError
from trimtab.triggers.cesql import Expression
from trimtab.triggers.cesql.expression import unknown_functions
from trimtab.triggers.cesql.functions import FUNCTIONS
from trimtab.triggers.cesql.values import NAMES

Filter = Callable[[Mapping[str, str]], bool]

DEEPEST = 32
"""Levels of filters within filters."""

_NAME = re.compile(r"[a-z][a-z0-9]*")


def compile_filters(filters: Sequence[Mapping[str, Any]], *, path: str = "filters") -> Filter:
    """Compile a trigger's filters: an event must pass all of them; without any, every event passes.

    `path` is the field that messages name. Errors: SpecError.
    """
    return _all([_compile(item, f"{path}[{index}]", 1) for index, item in enumerate(filters)])


def _compile(item: Any, path: str, depth: int) -> Filter:
    if depth > DEEPEST:
        raise SpecError(path, f"more than {DEEPEST} levels of filters", f"at most {DEEPEST}")
    if not isinstance(item, Mapping):
        raise SpecError(path, item, f"a mapping with one of {_ALLOWED}")
    if len(item) != 1:
        hint = "Write one filter for each; an event must pass all of them" if item else ""
        raise SpecError(path, sorted(map(str, item)), f"exactly one of {_ALLOWED}", hint=hint)
    ((dialect, value),) = item.items()
    if dialect in _LEAVES:
        return _LEAVES[dialect](value, f"{path}.{dialect}")
    if dialect in _BRANCHES:
        return _BRANCHES[dialect](value, f"{path}.{dialect}", depth + 1)
    hint = f"To compare an attribute, write {{exact: {{{dialect}: ...}}}}" if isinstance(value, str) else ""
    raise SpecError(path, dialect, f"one of {_ALLOWED}", hint=hint)


def _attributes(value: Any, path: str, *, empty: bool = False) -> list[tuple[str, str]]:
    """Check a mapping of attribute names to texts; `empty` says whether a text may be empty."""
    if not isinstance(value, Mapping) or not value:
        raise SpecError(path, value, "a mapping of attribute names to strings")
    for name, text in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpecError(path, name, "attribute names of lower-case letters and digits, a letter first")
        if not isinstance(text, str):
            raise SpecError(f"{path}.{name}", text, "a string", hint=f'Attributes are strings: write "{_wire(text)}"')
        if not text and not empty:
            raise SpecError(f"{path}.{name}", text, "a string that is not empty")
    return list(value.items())


def _wire(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _exact(value: Any, path: str) -> Filter:
    return _all([_equals(name, text) for name, text in _attributes(value, path)])


def _equals(name: str, text: str) -> Filter:
    return lambda attributes: attributes.get(name) == text


def _prefix(value: Any, path: str) -> Filter:
    def one(name: str, text: str) -> Filter:
        return lambda attributes: attributes.get(name, "").startswith(text)

    return _all([one(name, text) for name, text in _attributes(value, path)])


def _suffix(value: Any, path: str) -> Filter:
    def one(name: str, text: str) -> Filter:
        return lambda attributes: attributes.get(name, "").endswith(text)

    return _all([one(name, text) for name, text in _attributes(value, path)])


def _legacy(value: Any, path: str) -> Filter:
    """Knative's older `filter.attributes`: exact, where an empty text means that the attribute is there."""

    def present(name: str) -> Filter:
        return lambda attributes: attributes.get(name, "") != ""

    pairs = _attributes(value, path, empty=True)
    return _all([_equals(name, text) if text else present(name) for name, text in pairs])


def _cesql(value: Any, path: str) -> Filter:
    if not isinstance(value, str) or not value.strip():
        raise SpecError(path, value, "a CloudEvents SQL expression")
    expression = Expression(value, path=path)
    for call in unknown_functions(expression.node):
        found = f"{call.name} with {len(call.arguments)} arguments"
        raise SpecError(path, found, f"the functions {', '.join(FUNCTIONS)}")
    if expression.type is not bool:
        kind = NAMES[expression.type] if expression.type else "String"
        hint = f"Compare it, for example {value.strip()} = 'true'" if expression.type is None else ""
        raise SpecError(path, value, f"an expression that is true or false (this one is of type {kind})", hint=hint)
    return expression.passes


def _list(value: Any, path: str, depth: int) -> list[Filter]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SpecError(path, value, "a list of at least one filter")
    return [_compile(item, f"{path}[{index}]", depth) for index, item in enumerate(value)]


def _all(filters: list[Filter]) -> Filter:
    if len(filters) == 1:
        return filters[0]
    return lambda attributes: all(passes(attributes) for passes in filters)


def _any(value: Any, path: str, depth: int) -> Filter:
    filters = _list(value, path, depth)
    return lambda attributes: any(passes(attributes) for passes in filters)


def _not(value: Any, path: str, depth: int) -> Filter:
    passes = _compile(value, path, depth)
    return lambda attributes: not passes(attributes)


_LEAVES: dict[str, Callable[[Any, str], Filter]] = {
    "exact": _exact,
    "prefix": _prefix,
    "suffix": _suffix,
    "cesql": _cesql,
    "attributes": _legacy,
}
_BRANCHES: dict[str, Callable[[Any, str, int], Filter]] = {
    "all": lambda value, path, depth: _all(_list(value, path, depth)),
    "any": _any,
    "not": _not,
}
_ALLOWED = "exact, prefix, suffix, all, any, not, cesql"
