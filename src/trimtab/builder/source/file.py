"""One Python file as a source."""

from __future__ import annotations

from pathlib import Path

from trimtab.builder.abc import Content


def read(path: Path) -> tuple[dict[str, Content], list[str]]:
    """Give the file and, where requirements lie beside it that only its folder would bring, a note."""
    beside = path.parent / "requirements.txt"
    return {path.name: path}, [forgotten(path)] if beside.is_file() else []


def forgotten(path: Path) -> str:
    """Say that one file is taken without what lies beside it."""
    return (
        f"requirements.txt lies beside {path.name} and is not read: a file is taken alone. Name it "
        f"(--requirements requirements.txt), or deploy the folder"
    )
