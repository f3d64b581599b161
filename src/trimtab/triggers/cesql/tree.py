"""The parts of a CESQL expression, as the parser finds them (sections 2.1 to 2.4)."""

from __future__ import annotations

from typing import Literal as Of

from msgspec import Struct

from trimtab.triggers.cesql.values import Value


class Base(Struct, frozen=True):
    """Common settings of all nodes."""


class Literal(Base, frozen=True):
    """A constant. A sign written directly before digits belongs to the constant."""

    value: Value


class Attribute(Base, frozen=True):
    """The value of a context attribute or extension, by its name in lower case."""

    name: str


class Exists(Base, frozen=True):
    """Whether the event has an attribute."""

    name: str


class Unary(Base, frozen=True):
    """NOT (a boolean) or minus (an integer)."""

    operator: Of["NOT", "-"]
    operand: Node


class Binary(Base, frozen=True):
    """Arithmetic, or a comparison."""

    operator: Of["*", "/", "%", "+", "-", "=", "!=", "<>", "<", "<=", ">", ">="]
    left: Node
    right: Node


class Logic(Base, frozen=True):
    """A run of one logic operator, from left to right: `a AND b AND c` is one node with three operands."""

    operator: Of["AND", "OR", "XOR"]
    operands: tuple[Node, ...]


class Like(Base, frozen=True):
    """Comparison with a pattern, which is always a constant."""

    operand: Node
    pattern: str
    negated: bool = False


class In(Base, frozen=True):
    """Membership in a set of expressions."""

    operand: Node
    items: tuple[Node, ...]
    negated: bool = False


class Call(Base, frozen=True):
    """A function, by its name in upper case."""

    name: str
    arguments: tuple[Node, ...]


Node = Literal | Attribute | Exists | Unary | Binary | Logic | Like | In | Call


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`, in the order in which they are written."""
    match node:
        case Unary(operand=operand) | Like(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Logic(operands=operands):
            return operands
        case In(operand=operand, items=items):
            return (operand, *items)
        case Call(arguments=arguments):
            return arguments
        case _:
            return ()
