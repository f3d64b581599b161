"""Load a function that was pickled in a session, after a look at what it was pickled under."""

from __future__ import annotations

import base64
import pickle
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trimtab.errors import HandlerError

IMPORT = "from trimtab.runtime.pickled import unpickle"
"""The line by which a generated module is known."""


def unpickle(text: str, *, name: str, python: str, versions: dict[str, str]) -> Any:
    """Give the function `name` that `text`, a pickle in base64, holds.

    Bytecode is one Python's own, and objects are one library version's: where they differ from those of the session, the
    function is refused instead of failing somewhere later. Errors: HandlerError naming what differs.
    """
    differs = differences(python, versions)
    if differs:
        raise HandlerError(f"{name!r} cannot be used here: it was pickled under {'; '.join(differs)}")
    try:
        return pickle.loads(base64.b64decode(text))  # noqa: S301  # the function's own code, as much as a module's text is
    except Exception as exc:
        raise HandlerError(f"{name!r} cannot be unpickled: {type(exc).__name__}: {exc}") from exc


def differences(python: str, versions: dict[str, str]) -> list[str]:
    """Say what is not here as it was there."""
    here = ".".join(map(str, sys.version_info[:3]))
    found = []
    if python.split(".")[:2] != here.split(".")[:2]:
        found.append(f"Python {python}, and this is {here}")
    for name, wanted in sorted(versions.items()):
        try:
            present = f"this is {version(name)}"
        except PackageNotFoundError:
            present = "it is not installed here"
        if present != f"this is {wanted}":
            found.append(f"{name} {wanted}, and {present}")
    return found
