"""Values, their casts (section 3.7) and what can go wrong while an expression is evaluated (section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

Value = str | int | bool

LOWEST, HIGHEST = -(2**31), 2**31 - 1

ZERO: dict[type, Value] = {str: "", int: 0, bool: False}
"""The value of an expression that failed, by its type (section 3.1)."""

NAMES: dict[type, str] = {str: "String", int: "Integer", bool: "Boolean"}

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")


class Kind(StrEnum):
    """The kinds of errors an evaluation can meet; an expression that does not parse raises ParseError instead."""

    MATH = "math"
    CAST = "cast"
    MISSING_ATTRIBUTE = "missingAttribute"
    MISSING_FUNCTION = "missingFunction"
    FUNCTION_EVALUATION = "functionEvaluation"


class Error(Struct, frozen=True):
    """One error of one evaluation."""

    kind: Kind
    message: str


class Fault(Exception):
    """Ends an evaluation at its first error: section 4.1's fail fast mode, the one meant for filters.

    `value` is what the failing function gives beside the error, None where that is the zero value of its type. It
    never leaves this package.
    """

    def __init__(self, kind: Kind, message: str, value: Value | None = None) -> None:
        super().__init__(message)
        self.kind, self.value = kind, value
        self.origin: object = None


def integer(value: Value) -> int:
    """Cast to Integer."""
    if type(value) is not str:
        return int(value)
    if not _INTEGER.fullmatch(value) or not LOWEST <= (number := int(value)) <= HIGHEST:
        raise Fault(Kind.CAST, f"{value[:100]!r} is not a 32 bit integer")
    return number


def boolean(value: Value) -> bool:
    """Cast to Boolean."""
    if type(value) is not str:
        return bool(value)
    lowered = value.lower()
    if lowered not in ("true", "false"):
        raise Fault(Kind.CAST, f"{value[:100]!r} is neither 'true' nor 'false'")
    return lowered == "true"


def string(value: Value) -> str:
    """Cast to String; always possible."""
    if type(value) is str:
        return value
    return str(value).lower()


def ranged(number: int) -> int:
    """Give the result of an operation if it is a 32 bit integer."""
    if LOWEST <= number <= HIGHEST:
        return number
    raise Fault(Kind.MATH, f"the result does not fit in 32 bits: {number}")


CASTS: dict[type, Callable[[Value], Value]] = {str: string, int: integer, bool: boolean}
