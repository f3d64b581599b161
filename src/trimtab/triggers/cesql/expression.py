"""From a tree to a function of an event's attributes: one closure a node, nothing looked up twice."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from trimtab.triggers.cesql import tree
from trimtab.triggers.cesql.functions import resolve
from trimtab.triggers.cesql.like import matcher
from trimtab.triggers.cesql.parser import parse
from trimtab.triggers.cesql.tree import Node
from trimtab.triggers.cesql.values import CASTS, ZERO, Error, Fault, Kind, Value, boolean, integer, ranged, string

Attributes = Mapping[str, Value]
Run = Callable[[Attributes], Value]

_REQUIRED = frozenset({"id", "source", "specversion", "type"})
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Result(Struct, frozen=True):
    """What an evaluation gave. With `errors` the value is the failed operation's own, or the zero of its type."""

    value: Value
    errors: tuple[Error, ...] = ()


class Expression:
    """A compiled expression; safe to share between threads.

    `type` is str, int or bool, or None where it is that of an attribute and so not known before there is an event.
    """

    def __init__(self, text: str, *, path: str = "cesql") -> None:
        self.text = text
        self.node = parse(text, path=path)
        self.type = result_type(self.node)
        self._run = _compile(self.node)

    def evaluate(self, attributes: Attributes) -> Result:
        """Evaluate up to the first error (section 4.1, fail fast mode)."""
        try:
            return Result(self._run(attributes))
        except Fault as fault:
            own = fault.value if fault.origin is self.node else None
            value = ZERO[self.type or bool] if own is None else own
            return Result(value, (Error(fault.kind, str(fault)),))

    def passes(self, attributes: Attributes) -> bool:
        """Whether an event passes this filter: the value is the Boolean true and there was no error (section 1.2)."""
        try:
            return self._run(attributes) is True
        except Fault:
            return False


def result_type(node: Node) -> type | None:
    """The type of a node's value; of a function that there is not, Boolean (section 3.5)."""
    match node:
        case tree.Literal(value=value):
            return type(value)
        case tree.Attribute():
            return None
        case tree.Unary(operator="-") | tree.Binary(operator="*" | "/" | "%" | "+" | "-"):
            return int
        case tree.Call(name=name, arguments=arguments):
            function = resolve(name, len(arguments))
            return function.returns if function else bool
        case _:
            return bool


def unknown_functions(node: Node) -> Iterator[tree.Call]:
    """Yield the calls that can never be answered."""
    if isinstance(node, tree.Call) and resolve(node.name, len(node.arguments)) is None:
        yield node
    for child in tree.children(node):
        yield from unknown_functions(child)


def _compile(node: Node) -> Run:
    match node:
        case tree.Literal(value=value):
            return lambda _: value
        case tree.Attribute(name=name):
            return _attribute(name)
        case tree.Exists(name=name):
            return (lambda _: True) if name in _REQUIRED else (lambda attributes: name in attributes)
        case tree.Unary():
            return _unary(node)
        case tree.Binary():
            return _binary(node)
        case tree.Logic():
            return _logic(node)
        case tree.Like():
            return _like(node)
        case tree.In():
            return _in(node)
        case tree.Call():
            return _call(node)


def _attribute(name: str) -> Run:
    def run(attributes: Attributes) -> Value:
        value = attributes.get(name)
        if value is None:
            raise Fault(Kind.MISSING_ATTRIBUTE, f"the event has no attribute {name!r}")
        return value if type(value) in CASTS else str(value)

    return run


def _unary(node: tree.Unary) -> Run:
    operand = _compile(node.operand)
    if node.operator == "NOT":
        return lambda attributes: not boolean(operand(attributes))
    return lambda attributes: ranged(-integer(operand(attributes)))


def _binary(node: tree.Binary) -> Run:
    left, right = _compile(node.left), _compile(node.right)
    if node.operator in ("=", "!=", "<>"):
        return _equality(left, right, equal=node.operator == "=")
    if compare := _COMPARE.get(node.operator):
        return _integers(left, right, compare)
    return _integers(left, right, _ARITHMETIC[node.operator])


def _equality(left: Run, right: Run, *, equal: bool) -> Run:
    """The right operand's type decides, and the left one is cast to it (section 3.7)."""

    def run(attributes: Attributes) -> Value:
        x, y = left(attributes), right(attributes)
        return (CASTS[type(y)](x) == y) is equal

    return run


def _integers(left: Run, right: Run, operation: Callable[[int, int], Value]) -> Run:
    def run(attributes: Attributes) -> Value:
        x, y = left(attributes), right(attributes)
        return operation(integer(x), integer(y))

    return run


def _quotient(x: int, y: int) -> int:
    if y == 0:
        raise Fault(Kind.MATH, f"{x} divided by zero")
    quotient = abs(x) // abs(y)
    return ranged(quotient if (x < 0) == (y < 0) else -quotient)


def _remainder(x: int, y: int) -> int:
    if y == 0:
        raise Fault(Kind.MATH, f"{x} modulo zero")
    remainder = abs(x) % abs(y)
    return -remainder if x < 0 else remainder


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "*": lambda x, y: ranged(x * y),
    "/": _quotient,
    "%": _remainder,
    "+": lambda x, y: ranged(x + y),
    "-": lambda x, y: ranged(x - y),
}


def _logic(node: tree.Logic) -> Run:
    operands = [_compile(operand) for operand in node.operands]
    if node.operator == "AND":
        return lambda attributes: all(boolean(operand(attributes)) for operand in operands)
    if node.operator == "OR":
        return lambda attributes: any(boolean(operand(attributes)) for operand in operands)
    return lambda attributes: sum(boolean(operand(attributes)) for operand in operands) % 2 == 1


def _like(node: tree.Like) -> Run:
    operand, matches, wanted = _compile(node.operand), matcher(node.pattern), not node.negated
    return lambda attributes: matches(string(operand(attributes))) is wanted


def _in(node: tree.In) -> Run:
    """The left operand's type decides, and the items are cast to it (section 3.7)."""
    operand, items, wanted = _compile(node.operand), [_compile(item) for item in node.items], not node.negated

    def run(attributes: Attributes) -> Value:
        x = operand(attributes)
        cast = CASTS[type(x)]
        return any(cast(item(attributes)) == x for item in items) is wanted

    return run


def _call(node: tree.Call) -> Run:
    function = resolve(node.name, len(node.arguments))
    if function is None:
        return _unknown(node)
    variadic = function.parameters[-1:] * (len(node.arguments) - len(function.parameters))
    arguments = [
        _argument(_compile(argument), kind)
        for argument, kind in zip(node.arguments, function.parameters + variadic, strict=False)
    ]

    def run(attributes: Attributes) -> Value:
        values = [argument(attributes) for argument in arguments]
        try:
            return function.run(*values)
        except Fault as fault:
            fault.origin = node
            raise

    return run


def _argument(run: Run, kind: type | None) -> Run:
    if kind is None:
        return run
    cast = CASTS[kind]
    return lambda attributes: cast(run(attributes))


def _unknown(node: tree.Call) -> Run:
    def run(_: Attributes) -> Value:
        raise Fault(Kind.MISSING_FUNCTION, f"no function {node.name} takes {len(node.arguments)} arguments")

    return run
