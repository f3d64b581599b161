"""TOML of the user, read with errors that say where."""

from __future__ import annotations

import tomllib
from typing import Any

from trimtab.errors import SpecError


def parse(text: str, where: str) -> dict[str, Any]:
    """Parse TOML. Errors: SpecError with the parser's reason."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(where, str(error), "TOML") from error


def texts(value: Any, where: str) -> list[str]:
    """Accept a list of texts. Errors: SpecError."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpecError(where, value, "a list of texts such as 'pandas>=2.2'")
    return list(value)
