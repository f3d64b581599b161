"""The spec for editors and for readers: a JSON Schema and the reference page, both made from the types.

`python -m trimtab.spec.schema --json` and `--markdown` print them; `docs/function.schema.json` and `docs/spec.md` are
their output, and a test compares.
"""

from __future__ import annotations

import ast
import inspect as source_of
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from trimtab.spec import types
from trimtab.spec.load import ALIASES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_INTRO = """\
# The function spec

<!-- Made by `python -m trimtab.spec.schema --markdown`; change src/trimtab/spec/types.py instead. -->

A function is one document, in YAML, JSON or Python: the three say the same thing, and `trimtab export FILE` prints it.
Names are camelCase in YAML and JSON, snake_case in Python. Unknown keys, impossible values and settings in conflict are
refused with the path, the value found and what is allowed. `docs/function.schema.json` teaches the format to editors:
begin a file with `# yaml-language-server: $schema=docs/function.schema.json`.

```yaml
apiVersion: trimtab.dev/v1
kind: Function
metadata:
  name: hello
spec:
  handler: hello:handler
  source:
    path: hello.py
  scale:
    max: 4
    concurrency: 1
  triggers:
    - kind: cron
      name: hourly
      schedule: "@hourly"
```

*Durations* are texts such as `6s`, `1m30s` and `500ms`, or numbers of seconds. *Quantities* are Kubernetes' (`500m`,
`1G`, `2Gi`, `1`, `0.5`). A *DNS label* has lower-case letters, digits and `-`, begins with a letter, ends with a letter
or a digit, and has at most 63 characters. YAML is read by its 1.2 core schema: `yes`, `on` and `12:30` are text.

Nuclio's function.yaml and what MLRun's `fn.export()` writes are read too. Whatever they say that means nothing here is
listed, field by field, and never dropped silently. A Nuclio worker is a process that works on one event at a time, and
a function has one unless it says more, so `numWorkers: n` becomes `scale.workers: n` with `scale.concurrency: n`; raise
`concurrency`, or set it to 0, for a handler that may run several times at once. `interval: 10s` becomes
`schedule: "@every 10s"`, and `pip install x` among the build commands becomes a requirement.
"""


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of the document."""
    (root,), components = msgspec.json.schema_components([types.Function], ref_template="#/$defs/{name}")
    for name, component in components.items():
        _describe(component, getattr(types, name))
    kinds = components["FunctionSpec"]["properties"]["kind"]["enum"]
    components["FunctionSpec"]["properties"]["kind"]["enum"] = [*kinds, *ALIASES]
    definitions = {name: components[name] for name in sorted(components)}
    return {"$schema": _DIALECT, "title": "Trimtab function", **root, "$defs": definitions}


def markdown() -> str:
    """Give the reference page: one table a type, in the order in which a reader meets them."""
    return "\n".join([_INTRO, *(_section(kind) for kind in _structs(types.Function))])


def _describe(component: dict[str, Any], cls: type) -> None:
    component["description"] = _docstring(cls)
    texts = field_docstrings(cls)
    for field in msgspec.structs.fields(cls):
        component["properties"][field.encode_name]["description"] = texts[field.name]


def field_docstrings(cls: type) -> dict[str, str]:
    """Give the text that stands below each field of a class."""
    (body,) = ast.parse(textwrap.dedent(source_of.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as words)):
                texts[name] = " ".join(words.split())
    return texts


def _structs(cls: type) -> list[inspect.StructType]:
    found: dict[str, inspect.StructType] = {}
    waiting = [inspect.type_info(cls)]
    while waiting:
        for kind in _inside(waiting.pop(0)):
            if kind.cls.__name__ not in found:
                found[kind.cls.__name__] = kind
                waiting.extend(field.type for field in kind.fields)
    return list(found.values())


def _inside(kind: inspect.Type) -> Iterator[inspect.StructType]:
    match kind:
        case inspect.StructType():
            yield kind
        case inspect.UnionType(types=kinds):
            for each in kinds:
                yield from _inside(each)
        case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
            yield from _inside(inner)


def _section(kind: inspect.StructType) -> str:
    texts = field_docstrings(kind.cls)
    tag = [f"| `{kind.tag_field}` | `{kind.tag}` | required | What kind of trigger it is. |"] if kind.tag else []
    rows = [f"| `{f.encode_name}` | {_type(f.type)} | {_default(f)} | {texts[f.name]} |" for f in kind.fields]
    head = ["| field | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {kind.cls.__name__}", "", _docstring(kind.cls), "", *head, *tag, *rows, ""])


def _type(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra={"type": str() as name}):
            return name
        case inspect.Metadata(type=inner):
            return _type(inner)
        case inspect.UnionType(types=kinds):
            return " or ".join(_type(each) for each in kinds if not isinstance(each, inspect.NoneType))
        case inspect.ListType(item_type=inner):
            return f"list of {_type(inner)}"
        case inspect.DictType(value_type=inner):
            return f"mapping to {_type(inner)}"
        case inspect.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
    names: dict[type, str] = {inspect.StrType: "string", inspect.BoolType: "boolean", inspect.AnyType: "anything"}
    return names[type(kind)]


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    word = "integer" if isinstance(kind, inspect.IntType) else "number"
    if kind.ge is None:
        return word
    return f"{word} {kind.ge:g}-{kind.le:g}" if kind.le is not None else f"{word} >= {kind.ge:g}"


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default is NODEFAULT or field.default in (None, ""):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _docstring(cls: type) -> str:
    return source_of.cleandoc(cls.__doc__ or "")


def main(arguments: list[str]) -> int:
    """Print one of the two. Returns the exit status."""
    if arguments == ["--markdown"]:
        sys.stdout.write(markdown())
    elif arguments == ["--json"]:
        from trimtab.spec.document import to_json

        sys.stdout.write(to_json(json_schema()))
    else:
        sys.stderr.write("usage: python -m trimtab.spec.schema --json | --markdown\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
