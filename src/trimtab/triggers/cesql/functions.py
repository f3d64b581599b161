"""The built-in functions (section 3.5), and the casting functions that its examples use."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from trimtab.triggers.cesql.values import HIGHEST, LOWEST, Fault, Kind, Value, boolean, integer, string

# Unicode's White_Space; str.strip() alone would take four control characters along.
_WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


class Function(Struct, frozen=True):
    """`parameters` are the types to cast to, None for any; `variadic` says that the last may come any number of times."""

    run: Callable[..., Value]
    returns: type
    parameters: tuple[type | None, ...]
    variadic: bool = False


def resolve(name: str, arity: int) -> Function | None:
    """Give the function of that name that takes that many arguments."""
    for function in FUNCTIONS.get(name, ()):
        fixed = len(function.parameters) - function.variadic
        if arity == fixed or (function.variadic and arity > fixed):
            return function
    return None


def _absolute(x: int) -> int:
    if x == LOWEST:
        raise Fault(Kind.MATH, f"ABS({x}) does not fit in 32 bits", HIGHEST)
    return abs(x)


def _left(x: str, y: int) -> str:
    if y < 0:
        raise Fault(Kind.FUNCTION_EVALUATION, f"LEFT of {y} characters", x)
    return x[:y]


def _right(x: str, y: int) -> str:
    if y < 0:
        raise Fault(Kind.FUNCTION_EVALUATION, f"RIGHT of {y} characters", x)
    return x[max(0, len(x) - y) :]


def _substring(x: str, position: int, length: int | None = None) -> str:
    if length is not None and length < 0:
        raise Fault(Kind.FUNCTION_EVALUATION, f"SUBSTRING of length {length}")
    if abs(position) > len(x):
        raise Fault(Kind.FUNCTION_EVALUATION, f"SUBSTRING from {position} in a string of length {len(x)}")
    if position == 0:
        return ""
    start = position - 1 if position > 0 else len(x) + position
    return x[start:] if length is None else x[start : start + length]


def _castable(cast: Callable[[Value], Value]) -> Callable[[Value], bool]:
    def castable(x: Value) -> bool:
        try:
            cast(x)
        except Fault:
            return False
        return True

    return castable


FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "LENGTH": (Function(len, int, (str,)),),
    "CONCAT": (Function(lambda *xs: "".join(xs), str, (str,), variadic=True),),
    "CONCAT_WS": (Function(lambda delimiter, *xs: delimiter.join(xs), str, (str, str), variadic=True),),
    "LOWER": (Function(str.lower, str, (str,)),),
    "UPPER": (Function(str.upper, str, (str,)),),
    "TRIM": (Function(lambda x: x.strip(_WHITESPACE), str, (str,)),),
    "LEFT": (Function(_left, str, (str, int)),),
    "RIGHT": (Function(_right, str, (str, int)),),
    "SUBSTRING": (Function(_substring, str, (str, int)), Function(_substring, str, (str, int, int))),
    "ABS": (Function(_absolute, int, (int,)),),
    "INT": (Function(integer, int, (None,)),),
    "BOOL": (Function(boolean, bool, (None,)),),
    "STRING": (Function(string, str, (None,)),),
    "IS_INT": (Function(_castable(integer), bool, (None,)),),
    "IS_BOOL": (Function(_castable(boolean), bool, (None,)),),
}
