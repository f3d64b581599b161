"""Names that are not there: which ones are, and which one was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trimtab.errors import NotFound

if TYPE_CHECKING:
    from trimtab.deploy.abc import Target


def closest(name: str, names: Iterable[str]) -> str | None:
    """Give the name most like `name`, None where none is like it."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1)), None)


@contextmanager
def looking_for(target: Target, function: str) -> Iterator[None]:
    """Answer NotFound for a function that is not there with the functions that are."""
    try:
        yield
    except NotFound as error:
        names = [info.name for info in target.functions()]
        if function in names:
            raise
        raise NotFound(unknown(function, names)) from error


def unknown(function: str, names: list[str]) -> str:
    """Say that there is no such function, what there is, and what is closest."""
    if not names:
        return f"no function {function!r}: none is deployed"
    near = closest(function, names)
    hint = f" Did you mean {near!r}?" if near else ""
    return f"no function {function!r}.{hint} Deployed: {', '.join(names)}"
