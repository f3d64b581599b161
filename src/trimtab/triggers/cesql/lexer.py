"""From text to tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

# A backslash keeps the character after it from ending the string, whichever it is; that is how the other engines read
# a literal, too. Only an escaped delimiter is then replaced by itself.
_TOKEN = re.compile(
    r"""
      (?P<space>  [ \t\r\n]+ )
    | (?P<string> ' (?: [^'\\] | \\. )* ' | " (?: [^"\\] | \\. )* " )
    | (?P<word>   [A-Za-z0-9_]+ )
    | (?P<symbol> <= | >= | <> | != | [-+*/%=<>(),] )
    """,
    re.VERBOSE | re.DOTALL,
)

KEYWORDS = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"})


class Token(Struct, frozen=True):
    """`kind` is `string`, `integer`, `word`, `unknown` or `end`, or, of a keyword or symbol, the token itself."""

    kind: str
    text: str
    column: int
    """Of the first character, counted from 1."""


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of `text` and an `end`. What cannot be a token is `unknown` and is the last but one."""
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            yield Token("unknown", text[position:][:20], position + 1)
            break
        if found.lastgroup != "space":
            yield Token(_kind(found), found[0], position + 1)
        position = found.end()
    yield Token("end", "", len(text) + 1)


def _kind(found: re.Match[str]) -> str:
    if found.lastgroup == "word":
        if found[0].isdigit():
            return "integer"
        upper = found[0].upper()
        return upper if upper in KEYWORDS else "word"
    return "string" if found.lastgroup == "string" else found[0]


def unquote(literal: str) -> str:
    """Give the value of a string literal with its delimiters."""
    quote = literal[0]
    return re.sub(r"\\(.)", lambda pair: quote if pair[1] == quote else pair[0], literal[1:-1], flags=re.DOTALL)
