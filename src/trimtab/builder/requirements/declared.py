"""What a source itself says that it requires: a script block, a uv.lock, a requirements.txt or a pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from trimtab.builder.abc import Content, Declared
from trimtab.builder.requirements import listing, project
from trimtab.builder.requirements.toml import parse, texts
from trimtab.errors import SpecError

_BLOCK = re.compile(r"^# /// (?P<kind>[A-Za-z0-9-]+)[ \t]*\n(?P<lines>(?:#(?: .*)?\n)+?)# ///[ \t]*$", re.MULTILINE)
"""Inline script metadata, as PEP 723 writes it."""


def declared(files: Mapping[str, Content], module: str | None, folder: Path | None, notes: list[str]) -> Declared:
    """Give the first declaration there is: the script block of `module`, uv.lock, requirements.txt, pyproject.toml.

    The others are named in `notes`. Errors: SpecError naming the file and what is wrong in it.
    """
    places: dict[str, Callable[[], Declared | None]] = {
        f"the script block of {module}": lambda: script(_text(files, module), str(module)) if module else None,
        "uv.lock": lambda: project.locked(files),
        "requirements.txt": lambda: listing.read("requirements.txt", lambda name: _text(files, name), notes),
        "pyproject.toml": lambda: project.dependencies(_text(files, "pyproject.toml"), notes),
    }
    present = [place for place in places if place.startswith("the script") or place in files]
    found = [(place, given) for place in present if (given := places[place]()) is not None]
    if not found:
        return Declared(folder=folder)
    where, first = found[0]
    notes.extend(
        f"{other} is not read: {where} says what is required"
        for other, _ in found[1:]
        if (where, other) != ("uv.lock", "pyproject.toml")
    )
    return _at(first, folder)


def _at(given: Declared, folder: Path | None) -> Declared:
    return replace(given, folder=folder)


def _text(files: Mapping[str, Content], name: str | None) -> str:
    content = files.get(name or "")
    if content is None:
        raise SpecError("spec.build.requirements", name, f"one of the source's files: {', '.join(files) or '(none)'}")
    data = content if isinstance(content, bytes) else content.read_bytes()
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SpecError(str(name), data[error.start : error.start + 1], "text in UTF-8") from error


def script(text: str, name: str) -> Declared | None:
    """Read a module's script block (PEP 723). Errors: SpecError."""
    blocks = [match["lines"] for match in _BLOCK.finditer(text) if match["kind"] == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise SpecError(name, f"{len(blocks)} blocks '# /// script'", "one")
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in blocks[0].splitlines()]
    where = f"the script block of {name}"
    data = parse("\n".join(lines), where)
    return Declared(
        lines=texts(data.get("dependencies", []), f"{where}: dependencies"),
        where=where,
        python=data.get("requires-python"),
    )
