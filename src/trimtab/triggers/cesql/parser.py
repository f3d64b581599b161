"""From tokens to a tree: precedence climbing over the table of section 3.6."""

from __future__ import annotations

from typing import Any

from trimtab.errors import SpecError
from trimtab.triggers.cesql import tree
from trimtab.triggers.cesql.lexer import Token, tokens, unquote
from trimtab.triggers.cesql.tree import Node
from trimtab.triggers.cesql.values import HIGHEST, LOWEST

LONGEST = 16_384
"""Characters of one expression."""

DEEPEST = 100
"""Levels of one expression; each costs a few frames of the interpreter's stack."""

_LOGIC, _LIKE, _UNARY = 1, 6, 7

_POWER = {
    **dict.fromkeys(("AND", "OR", "XOR"), _LOGIC),
    **dict.fromkeys(("=", "!=", "<>", ">=", "<=", ">", "<"), 2),
    **dict.fromkeys(("+", "-"), 3),
    **dict.fromkeys(("*", "/", "%"), 4),
    "IN": 5,
    "LIKE": _LIKE,
}

_VALUE = "an attribute, a literal, a function, NOT, EXISTS, '-' or '('"


class ParseError(SpecError):
    """The text is not an expression; `column` counts from 1."""

    def __init__(self, path: str, found: str, expected: str, column: int) -> None:
        self.column = column
        super().__init__(path, found, f"{expected} at column {column}")


def parse(text: str, *, path: str = "cesql") -> Node:
    """Read an expression. `path` is the field that the message names. Errors: ParseError."""
    if len(text) > LONGEST:
        raise ParseError(path, f"{len(text)} characters", f"at most {LONGEST}, the end", LONGEST)
    parser = _Parser(text, path)
    node = parser.expression(_LOGIC)
    if parser.token.kind != "end":
        raise parser.refused("an operator or the end of the expression")
    _check_depth(node, path)
    return node


def _check_depth(node: Node, path: str) -> None:
    level = [node]
    for _ in range(DEEPEST):
        level = [child for parent in level for child in tree.children(parent)]
        if not level:
            return
    raise SpecError(path, f"more than {DEEPEST} levels of operators", f"at most {DEEPEST}")


class _Parser:
    """Holds the place in the tokens; `token` is the next one."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._tokens = list(tokens(text))
        self._next = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        taken = self.token
        self._next += 1
        return taken

    def expect(self, kind: str, expected: str) -> Token:
        if self.token.kind != kind:
            raise self.refused(expected)
        return self.take()

    def refused(self, expected: str) -> ParseError:
        token = self.token
        if token.kind == "unknown" and token.text[0] in "'\"":
            return ParseError(self._path, token.text, f"a string that ends with {token.text[0]}", token.column)
        return ParseError(self._path, token.text or "the end of the expression", expected, token.column)

    def expression(self, floor: int) -> Node:
        """Read operators that bind at least as tightly as `floor`."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.refused(f"at most {DEEPEST} levels")
        left = self.prefix()
        while (power := self.power()) >= floor:
            left = self.infix(left, power)
        self._depth -= 1
        return left

    def power(self) -> int:
        """How tightly the next token binds what stands to its left, 0 if it is no infix operator."""
        token = self.token
        if token.kind == "NOT":
            token = self._tokens[self._next + 1]
            return _POWER[token.kind] if token.kind in ("LIKE", "IN") else 0
        return _POWER.get(token.kind, 0)

    def infix(self, left: Node, power: int) -> Node:
        negated = self.token.kind == "NOT"
        if negated:
            self.take()
        operator: Any = self.take().kind
        if operator == "LIKE":
            pattern = self.expect("string", "the pattern, a string literal")
            return tree.Like(left, unquote(pattern.text), negated)
        if operator == "IN":
            self.expect("(", "'('")
            return tree.In(left, self.list_of("an expression"), negated)
        if power == _LOGIC:
            return self.logic(left, operator)
        return tree.Binary(operator, left, self.expression(power + 1))

    def logic(self, left: Node, operator: Any) -> Node:
        operands = [left, self.expression(_LOGIC + 1)]
        while self.token.kind == operator:
            self.take()
            operands.append(self.expression(_LOGIC + 1))
        return tree.Logic(operator, tuple(operands))

    def prefix(self) -> Node:
        token = self.token
        match token.kind:
            case "-" | "+" if self.signed():
                self.take()
                return self.integer(token.text, token.column)
            case "-" | "NOT":
                self.take()
                operator: Any = token.kind
                return tree.Unary(operator, self.expression(_UNARY))
            case "EXISTS":
                self.take()
                return tree.Exists(self.attribute(self.expect("word", "the name of an attribute")))
            case "(":
                self.take()
                node = self.expression(_LOGIC)
                self.expect(")", "an operator or ')'")
                return node
            case "integer":
                return self.integer("", token.column)
            case "string":
                return tree.Literal(unquote(self.take().text))
            case "TRUE" | "FALSE":
                return tree.Literal(self.take().kind == "TRUE")
            case "word":
                return self.word()
            case _:
                raise self.refused(_VALUE)

    def signed(self) -> bool:
        """Whether the sign that is next stands directly before digits."""
        sign, number = self.token, self._tokens[self._next + 1]
        return number.kind == "integer" and number.column == sign.column + 1

    def integer(self, sign: str, column: int) -> Node:
        digits = self.take().text
        # int() refuses thousands of digits in its own words; no 32 bit integer has more than these.
        significant = digits.lstrip("0")[: len(str(HIGHEST)) + 1] or "0"
        value = int(sign + significant)
        if not LOWEST <= value <= HIGHEST:
            raise ParseError(self._path, sign + digits, f"an integer from {LOWEST} to {HIGHEST}", column)
        return tree.Literal(value)

    def word(self) -> Node:
        word = self.take()
        if self.token.kind != "(":
            return tree.Attribute(self.attribute(word))
        if any(character.isdigit() for character in word.text) or word.text.startswith("_"):
            raise ParseError(self._path, word.text, "a function's name (letters and '_')", word.column)
        self.take()
        if self.token.kind == ")":
            self.take()
            return tree.Call(word.text.upper(), ())
        return tree.Call(word.text.upper(), self.list_of("an argument"))

    def attribute(self, word: Token) -> str:
        if "_" in word.text:
            raise ParseError(self._path, word.text, "the name of an attribute (letters and digits)", word.column)
        return word.text.lower()

    def list_of(self, what: str) -> tuple[Node, ...]:
        """Read expressions up to the closing parenthesis."""
        items = [self.expression(_LOGIC)]
        while self.token.kind == ",":
            self.take()
            items.append(self.expression(_LOGIC))
        self.expect(")", f"',' and {what}, or ')'")
        return tuple(items)
