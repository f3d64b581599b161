"""The declarations of a project: pyproject.toml, and the uv.lock beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from trimtab.builder.abc import Content, Declared
from trimtab.builder.requirements import listing, uv
from trimtab.builder.requirements.toml import parse, texts
from trimtab.errors import SpecError


def dependencies(text: str, notes: list[str]) -> Declared | None:
    """Read `project.dependencies`; None for a pyproject.toml that only configures tools. Errors: SpecError."""
    table = parse(text, "pyproject.toml").get("project")
    if not isinstance(table, dict):
        return None
    if "dependencies" in table.get("dynamic", []):
        notes.append("pyproject.toml: dependencies are dynamic, so they are not read: list them in requirements.txt")
        return None
    lines = texts(table.get("dependencies", []), "pyproject.toml: project.dependencies")
    return Declared(lines=lines, where="pyproject.toml", python=table.get("requires-python"))


def locked(files: Mapping[str, Content]) -> Declared:
    """Turn a uv.lock into the versions and hashes it holds, without the project itself and its development groups.

    Errors: SpecError without a pyproject.toml; BuildError with uv's reason where the two do not fit.
    """
    if "pyproject.toml" not in files:
        raise SpecError("uv.lock", "no pyproject.toml beside it", "both: the lock says which versions, not of what")
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        for name in ("uv.lock", "pyproject.toml"):
            content = files[name]
            Path(scratch, name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        text = uv.run(
            *("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate"),
            *("--no-emit-local", "--format", "requirements.txt"),
            cwd=Path(scratch),
            failing="uv.lock cannot be used",
        )
    lines = [line for line, _ in listing.entries(text)]
    return Declared(lines=lines, where="uv.lock", lock=text.encode())
