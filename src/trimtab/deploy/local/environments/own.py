"""What an environment holds for Trimtab's own sake: the package, linked from where it runs now, and what it needs."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import trimtab
from trimtab.errors import TargetError

PACKAGE = Path(trimtab.__file__).parent

_ITSELF = re.compile(r"\s*trimtab\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?:[=<>!~;@].*)?", re.IGNORECASE)
_EXTRA = re.compile(r"""\s*;\s*extra\s*==\s*['"](?P<extra>[^'"]+)['"]\s*$""")


def complete(requirements: list[str]) -> tuple[list[str], list[str]]:
    """Split into the function's own requirements and Trimtab's.

    `trimtab` and `trimtab[ml]` among the former are met by the Trimtab that runs now, of which they add the extras.
    Errors: TargetError when Trimtab runs without having been installed.
    """
    extras: set[str] = set()
    others: list[str] = []
    for requirement in requirements:
        itself = _ITSELF.fullmatch(requirement)
        if itself:
            extras.update(name.strip().lower() for name in (itself["extras"] or "").split(",") if name.strip())
        else:
            others.append(requirement)
    return others, [need for need, extra in _needs() if extra is None or extra in extras]


def _needs() -> list[tuple[str, str | None]]:
    try:
        lines = requires("trimtab") or []
    except PackageNotFoundError as exc:
        raise TargetError(
            "functions with requirements need an installed trimtab (pip install), not a bare copy"
        ) from exc
    needs = []
    for line in lines:
        extra = _EXTRA.search(line)
        needs.append((line[: extra.start()], extra["extra"]) if extra else (line, None))
    return needs
