"""Why a document is no Function: the first place that does not fit, as a SpecError.

msgspec decides whether a document fits and stops at the first thing that does not; what it says is about types, not
about the document. This module walks the same types and the same document once more, after the fact, and says where,
what was found and what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, ValidationError, convert, inspect

from trimtab.errors import SpecError
from trimtab.spec.hint import NOTHING, did_you_mean
from trimtab.spec.plain import join

_YAML_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def explain(document: Any, kind: Any, path: str = "") -> SpecError | None:
    """Find the first place of `document` that does not fit the type `kind`; None when all of it fits."""
    try:
        _fit(document, inspect.type_info(kind), path)
    except SpecError as error:
        return error
    return None


def describe(kind: inspect.Type) -> str:
    """Say in words what a type allows."""
    match kind:
        case inspect.Metadata(extra={"allowed": text}):
            return str(text)
        case inspect.UnionType(types=types):
            return " or ".join(describe(each) for each in types if not isinstance(each, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return " or ".join(repr(value) for value in values)
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.StructType(fields=fields):
            return f"a mapping with {_list(field.encode_name for field in fields)}"
    names: dict[type, str] = {
        inspect.StrType: "text",
        inspect.BoolType: "true or false",
        inspect.ListType: "a list",
        inspect.DictType: "a mapping",
    }
    return names.get(type(kind), "a value")


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    word = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    if kind.ge is not None and kind.le is not None:
        return f"{word} from {kind.ge:g} to {kind.le:g}"
    return f"{word} of at least {kind.ge:g}" if kind.ge is not None else word


def _fit(found: Any, kind: inspect.Type, path: str) -> None:
    match kind:
        case inspect.StructType():
            _struct(found, kind, path)
        case inspect.DictType():
            _expect(isinstance(found, dict), found, kind, path)
            for key, value in found.items():
                _fit(value, kind.value_type, join(path, key))
        case inspect.ListType():
            _expect(isinstance(found, list), found, kind, path)
            for index, value in enumerate(found):
                _fit(value, kind.item_type, f"{path}[{index}]")
        case inspect.UnionType():
            _union(found, kind, path)
        case inspect.Metadata(type=inspect.UnionType() | inspect.ListType() | inspect.DictType()) if isinstance(
            found, list | dict
        ):
            _expect(False, found, kind, path)
        case inspect.AnyType():
            pass
        case _:
            _expect(_fits(found, kind), found, kind, path)


def _struct(found: Any, kind: inspect.StructType, path: str) -> None:
    _expect(isinstance(found, dict), found, kind, path)
    fields = {field.encode_name: field for field in kind.fields}
    for key, value in found.items():
        if key in fields:
            _fit(value, fields[key].type, join(path, key))
        elif key != kind.tag_field:
            place = f"{path} has" if path else "the document has"
            raise SpecError(
                join(path, key),
                value,
                f"no field of this name; {place} {_list(fields)}",
                hint=did_you_mean(key, fields),
            )
    for name, field in fields.items():
        if field.required and name not in found:
            raise SpecError(join(path, name), NOTHING, describe(field.type))


def _union(found: Any, kind: inspect.UnionType, path: str) -> None:
    structs = {each.tag: each for each in kind.types if isinstance(each, inspect.StructType)}
    if None in structs and isinstance(found, dict):
        _struct(found, structs[None], path)
    elif structs and isinstance(found, dict):
        tag_field = next(iter(structs.values())).tag_field or ""
        tag = found.get(tag_field, NOTHING)
        if not isinstance(tag, str) or tag not in structs:
            raise SpecError(join(path, tag_field), tag, " or ".join(repr(tag) for tag in structs))
        _struct(found, structs[tag], path)
    else:
        simple = next((each for each in kind.types if isinstance(each, inspect.ListType | inspect.DictType)), None)
        if simple is not None and isinstance(found, list | dict):
            _fit(found, simple, path)
        else:
            _expect(any(_fits(found, each) for each in kind.types), found, kind, path)


def _fits(found: Any, kind: inspect.Type) -> bool:
    """Whether msgspec takes `found` for a type without places inside it."""
    match kind:
        case inspect.Metadata(type=inner):
            return _fits(found, inner)
        case inspect.UnionType(types=types):
            return any(_fits(found, each) for each in types)
        case inspect.LiteralType(values=values):
            return isinstance(found, str) and found in values
        case inspect.StrType() | inspect.IntType() | inspect.FloatType() as scalar:
            try:
                convert(found, _annotated(scalar))
            except ValidationError:
                return False
            return True
        case inspect.BoolType():
            return isinstance(found, bool)
        case inspect.NoneType():
            return found is None
    return False


def _annotated(kind: inspect.StrType | inspect.IntType | inspect.FloatType) -> Any:
    if isinstance(kind, inspect.StrType):
        return Annotated[str, Meta(min_length=kind.min_length, max_length=kind.max_length, pattern=kind.pattern)]
    plain = int if isinstance(kind, inspect.IntType) else float
    bounds: dict[str, Any] = {name: getattr(kind, name) for name in ("ge", "gt", "le", "lt")}
    return Annotated[plain, Meta(**{name: bound for name, bound in bounds.items() if bound is not None})]


def _expect(fits: bool, found: Any, kind: inspect.Type, path: str) -> None:
    if fits:
        return
    hint = ""
    match kind:
        case inspect.Metadata(extra={"suggest": suggest}):
            hint = suggest(found)
        case inspect.BoolType() if isinstance(found, str) and found.lower() in _YAML_WORDS:
            hint = f"Write {_YAML_WORDS[found.lower()]}"
        case inspect.LiteralType(values=values) if isinstance(found, str):
            hint = did_you_mean(found, [str(value) for value in values])
        case _ if _text_only(kind) and isinstance(found, bool | int | float):
            hint = f"Put it in quotes: '{str(found).lower()}'"
    raise SpecError(path or "document", found, describe(kind), hint=hint)


def _text_only(kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata(type=inner):
            return _text_only(inner)
        case inspect.UnionType(types=types):
            return all(_text_only(each) for each in types)
    return isinstance(kind, inspect.StrType | inspect.NoneType)


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
