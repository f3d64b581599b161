"""The text by which a categorical value is counted, and the hash that decides which of too many are kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

LONGEST = 200
"""Characters of a level that are kept; what is longer ends in a digest of the whole, so that it stays a level of its own."""


def is_missing(value: Any) -> bool:
    """Tell None, NaN, NaT and pandas' NA."""
    if value is None:
        return True
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def level(value: Any, dtype: str = "") -> str | None:
    """Give the text of a value; None if it is missing.

    A column that was logged as `bool` reads 1 and 0 as True and False. Whole numbers are written without a point, so that
    3 and 3.0 are one level: pandas makes floats of integers wherever one is missing.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if is_missing(value):
        return None
    if dtype in ("bool", "boolean") and isinstance(value, int | float) and value in (0, 1):
        return str(bool(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return bounded(_text(value))


def texts(values: Iterable[Any], dtype: str = "") -> list[str | None]:
    """Give the text of each value, worked out once for equal ones."""
    known: dict[tuple[type, Any], str | None] = {}
    found = []
    for value in values:
        try:
            key = (type(value), value)
            if key not in known:
                known[key] = level(value, dtype)
            found.append(known[key])
        except TypeError:  # lists and dicts have no hash
            found.append(level(value, dtype))
    return found


def tally(values: Iterable[Any], dtype: str = "") -> tuple[Counter[str], int]:
    """Count a column's levels; also give how many values are missing."""
    counts: Counter[str] = Counter()
    missing = 0
    for value, number in _distinct(list(values)):
        text = level(value, dtype)
        if text is None:
            missing += number
        else:
            counts[text] += number
    return counts, missing


def rank(text: str) -> int:
    """Hash a level to 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _distinct(values: list[Any]) -> Iterable[tuple[Any, int]]:
    """Count equal objects of one type: True and 1 are equal, and different levels."""
    try:
        if len(set(map(type, values))) == 1:
            return Counter(values).items()
        return [(value, number) for (_, value), number in Counter(zip(map(type, values), values, strict=True)).items()]
    except TypeError:  # lists and dicts have no hash
        return [(value, 1) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    text = value.isoformat() if isinstance(value, date) else str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def bounded(text: str) -> str:
    """Shorten a long text so that it stays one of its own."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 17]}…{rank(text):016x}"
