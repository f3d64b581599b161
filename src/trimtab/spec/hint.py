"""What a refusal adds to its facts: the name that was probably meant, and a word for what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final


class _Nothing:
    """What is found where something required is missing."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()


def did_you_mean(found: str, names: Iterable[str]) -> str:
    """Guess what was meant: the same letters in another case or with underscores, else the nearest spelling."""
    import difflib

    bare = {_bare(name): name for name in names}
    key = _bare(found)
    near = difflib.get_close_matches(key, bare, n=1) or [name for name in bare if name and key.startswith(name)]
    return f"Did you mean {bare[near[0]]!r}?" if near else ""


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
