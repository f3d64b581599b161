"""Text to plain data and back: JSON, and YAML read as its 1.2 core schema reads it.

YAML is composed into nodes by PyYAML and built here, because a spec is data for JSON's types: keys are text, `yes` and
`12:30` are text, dates stay as they are written, a key stands once, and an alias neither loops nor explodes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from trimtab.errors import SpecError

_MOST_NODES = 100_000
_NULL, _BOOL, _INT, _FLOAT, _STR = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT_TEXT = r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"
_CORE = [
    (_BOOL, r"^(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (_INT, r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (_FLOAT, rf"({_FLOAT_TEXT})|^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", "-+0123456789."),
    (_NULL, r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (_MERGE, r"^<<$", "<"),
]


class _Loader(
    yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, yaml.resolver.BaseResolver
):
    """PyYAML's composer with the core schema's implicit types."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        return dumper.represent_scalar(_STR, text, style='"')  # PyYAML folds line breaks like U+0085 in other styles
    return dumper.represent_scalar(_STR, text, style="|" if "\n" in text else None)


for _tag, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
_Dumper.add_representer(str, _represent_text)


def parse(text: str, name: str = "document") -> Any:
    """Read JSON or YAML, whichever it is. Errors: SpecError with `name`, line and column where they are known."""
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise SpecError(name, "nothing", "one document in YAML or JSON")
    try:
        return _parse(text, name)
    except RecursionError as error:
        raise SpecError(name, "hundreds of levels", "a document of a sensible depth") from error


def _parse(text: str, name: str) -> Any:
    if text.lstrip()[0] in "{[":
        try:
            return _parse_json(text, name)
        except json.JSONDecodeError as error:
            if name.endswith(".json"):
                place = f"{name}, line {error.lineno}, column {error.colno}"
                raise SpecError(place, error.msg, "JSON") from error
    return _parse_yaml(text, name)


def to_yaml(document: Any) -> str:
    """Write YAML that readers of 1.1 and of 1.2 understand alike; keys in their given order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def to_json(document: Any) -> str:
    """Write JSON, indented by two."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _parse_json(text: str, name: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in items:
            if key in seen:
                raise SpecError(name, key, "each key once")
            seen[key] = value
        return seen

    def constant(text: str) -> NoReturn:
        raise SpecError(name, text, "a finite number")

    def number(text: str) -> float:
        return value if math.isfinite(value := float(text)) else constant(text)

    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=number)


def _parse_yaml(text: str, name: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.composer.ComposerError as error:
        if error.context == "expected a single document in the stream":
            raise SpecError(_place(name, error.problem_mark), "a second document", "one document in a file") from error
        raise SpecError(_place(name, error.problem_mark), error.problem, "YAML") from error
    except yaml.MarkedYAMLError as error:
        hint = "Indent with spaces: YAML does not allow tabs there" if "'\\t'" in str(error.problem) else ""
        raise SpecError(_place(name, error.problem_mark), error.problem, "YAML", hint=hint) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{name}, line {line}", chr(int(error.character)), "printable text") from error
    if node is None:
        raise SpecError(name, "nothing", "one document in YAML or JSON")
    return _Builder(name).build(node)


class _Builder:
    """Turns nodes into data."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[Node] = []
        self.count = 0

    def build(self, node: Node) -> Any:
        self.count += 1
        if self.count > _MOST_NODES:
            self.refuse(node, "more than 100000 values", "a document of a sensible size")
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        if any(node is each for each in self.open):
            self.refuse(node, "an alias of the mapping or list that it stands in", "aliases that end")
        self.open.append(node)
        result = self.mapping(node) if isinstance(node, MappingNode) else self.sequence(node)
        self.open.pop()
        return result

    def sequence(self, node: Node) -> list[Any]:
        self.known(node, "tag:yaml.org,2002:seq")
        return [self.build(each) for each in node.value]

    def mapping(self, node: MappingNode) -> dict[str, Any]:
        self.known(node, "tag:yaml.org,2002:map")
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, "a mapping or list as a key", "text as a key")
            if key.tag == _MERGE:
                merged = self.merge(value) | merged
            elif key.value in result:
                self.refuse(key, key.value, "each key once")
            else:
                result[key.value] = self.build(value)
        return merged | result

    def merge(self, node: Node) -> dict[str, Any]:
        """YAML's `<<`: keys of other mappings, the first one wins (https://yaml.org/type/merge.html)."""
        value = self.build(node)
        result: dict[str, Any] = {}
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                self.refuse(node, each, "a mapping, or a list of mappings, to merge")
            result = each | result
        return result

    def scalar(self, node: ScalarNode) -> Any:
        text = node.value
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return text.lower() == "true"
        try:
            if node.tag == _INT:
                return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
            if node.tag == _FLOAT and math.isfinite(
                number := float(text.replace(".inf", "inf").replace(".nan", "nan"))
            ):
                return number
        except ValueError:
            self.refuse(node, text, "a number")
        if node.tag == _FLOAT:
            self.refuse(node, text, "a finite number")
        self.known(node, _STR)
        return text

    def known(self, node: Node, tag: str) -> None:
        if node.tag != tag:
            self.refuse(node, node.tag.replace("tag:yaml.org,2002:", "!!"), "a value without a tag")

    def refuse(self, node: Node, found: Any, allowed: str) -> NoReturn:
        raise SpecError(_place(self.name, node.start_mark), found, allowed)


def _place(name: str, mark: Any) -> str:
    return f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark is not None else name
