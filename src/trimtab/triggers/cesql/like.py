"""The LIKE operator (section 3.4.3), in time proportional to text times pattern whatever the pattern is.

A pattern given as one regular expression takes exponential or high polynomial time on an unlucky text, and texts come
from whoever sends events. Between two `%` there is no choice to make, so each piece is searched where the one before
it ended, and the leftmost match is as good as any.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PART = re.compile(r"\\[%_]|.", re.DOTALL)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern: `%` any text, `_` any character, backslash before either for itself."""
    pieces = _pieces(pattern)
    first, *rest = [re.compile("".join(piece), re.DOTALL) for piece in pieces]
    if not rest:
        return lambda text: first.fullmatch(text) is not None
    *middle, last = rest
    tail = len(pieces[-1])

    def matches(text: str) -> bool:
        found = first.match(text)
        for piece in middle:
            if found is None:
                return False
            found = piece.search(text, found.end())
        start = len(text) - tail
        return found is not None and found.end() <= start and last.match(text, start) is not None

    return matches


def _pieces(pattern: str) -> list[list[str]]:
    """Split at every `%`; of each piece, give one regular expression a character."""
    pieces: list[list[str]] = [[]]
    for part in _PART.findall(pattern):
        if part == "%":
            pieces.append([])
        else:
            pieces[-1].append("." if part == "_" else re.escape(part[-1]))
    return pieces
