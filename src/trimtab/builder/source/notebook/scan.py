"""Where statements and comments begin in a cell that may hold IPython's own syntax, which Python cannot tokenise."""

from __future__ import annotations

import re

from msgspec import Struct

_OPENING, _CLOSING = "([{", ")]}"
_IPYTHON = re.compile(
    r"\s*(?:%|!|\?{1,2}[\w.*%]|[%\w.*]+\?{1,2}\s*$|pip3?\s+install\s|get_ipython\(\)\s*\.|[\w.,\s\[\]*'\"]+=\s*[!%](?!=))"
)
"""A magic, a shell line, a question, an installation without its %, a call of IPython, or a value of one of them."""


class Line(Struct, frozen=True):
    """One line: whether a statement may begin there, whether it is IPython's, and its comment with the '#'."""

    statement: bool
    ipython: bool = False
    comment: str = ""


def scan(lines: list[str]) -> list[Line]:
    """Look through a cell, line by line."""
    state = _State()
    return [state.line(line) for line in lines]


class _State:
    """What a line may begin in: a string, brackets, a continued line, an IPython line that goes on."""

    def __init__(self) -> None:
        self.quote = ""
        self.depth = 0
        self.continued = self.ipython = False

    def line(self, line: str) -> Line:
        if self.ipython:
            self._ipython(line)
            return Line(statement=False, ipython=True)
        begins = not self.quote and not self.depth and not self.continued
        if begins and _IPYTHON.match(line):
            self._ipython(line)
            return Line(statement=True, ipython=True)
        comment = self._python(line)
        return Line(statement=begins, comment=comment)

    def _ipython(self, line: str) -> None:
        """A line of IPython goes on behind a backslash; a call of get_ipython() until its brackets are closed."""
        if re.match(r"\s*get_ipython", line) or self.depth:
            self._python(line)
            self.ipython = bool(self.depth or self.quote)
        else:
            self.ipython = line.endswith("\\")

    def _python(self, line: str) -> str:
        """Take in a line of Python; give its comment."""
        at, self.continued = 0, False
        while at < len(line):
            if self.quote:
                at = self._in_string(line, at)
                continue
            char = line[at]
            if char == "#":
                return line[at:]
            if char in "\"'":
                self.quote = char * 3 if line.startswith(char * 3, at) else char
                at += len(self.quote)
                continue
            self.depth = max(0, self.depth + (char in _OPENING) - (char in _CLOSING))
            at += 1
        if len(self.quote) == 1:
            self.quote = self.quote if line.endswith("\\") else ""
        self.continued = not self.quote and line.endswith("\\")
        return ""

    def _in_string(self, line: str, at: int) -> int:
        """Go on in a string; give where it, or the line, ends."""
        while at < len(line):
            if line[at] == "\\":
                at += 2
            elif line.startswith(self.quote, at):
                at += len(self.quote)
                self.quote = ""
                return at
            else:
                at += 1
        return len(line)


def inside(lines: list[str], index: int) -> bool:
    """Whether line `index` begins inside a string that an earlier line opened."""
    state = _State()
    for line in lines[:index]:
        state.line(line)
    return bool(state.quote)
