"""Notebook files as Jupyter saves them. Only what is exported is decoded: outputs of any size are skipped over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from trimtab.errors import SpecError

_NEWLINE = re.compile(r"\r\n?")
_PYTHON = ("python", "ipython")


class _Cell(Struct):
    cell_type: str = ""
    source: str | list[str] = ""
    metadata: dict[str, Any] = {}


class _Document(Struct):
    nbformat: int = 0
    metadata: dict[str, Any] = {}
    cells: list[_Cell] | None = None


class Cell(Struct, frozen=True):
    """A code cell. `number` is what Jupyter shows beside it after all cells were run from the top."""

    number: int
    lines: list[str] = field(default_factory=list)
    tags: frozenset[str] = frozenset()
    language: str = "python"


def read(path: Path) -> list[Cell]:
    """Read the code cells that hold something. Errors: SpecError: no notebook, an old one, one of another language."""
    document = _decoded(path)
    if document.nbformat != 4 or document.cells is None:
        raise SpecError(
            str(path),
            f"a notebook of format {document.nbformat or 'unknown'}",
            "format 4",
            hint="Open it in Jupyter and save it, or: jupyter nbconvert --to notebook --nbformat 4 --inplace FILE",
        )
    language = _language(document.metadata)
    if language not in _PYTHON:
        raise SpecError(str(path), f"a notebook in {language}", "a notebook in Python")
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    filled = [(cell, text) for cell in code if (text := _text(cell.source)).strip()]
    return [_cell(number, cell, text) for number, (cell, text) in enumerate(filled, 1)]


def _decoded(path: Path) -> _Document:
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=_Document)
    except msgspec.ValidationError as error:
        raise SpecError(str(path), str(error), "a notebook as Jupyter saves it") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(
            str(path), str(error), "a notebook as Jupyter saves it (JSON)", hint="Is a merge conflict left in it?"
        ) from error
    except OSError as error:
        raise SpecError(str(path), error.strerror or "an error", "a file that can be read") from error


def _text(source: str | list[str]) -> str:
    return _NEWLINE.sub("\n", source if isinstance(source, str) else "".join(source))


def _cell(number: int, cell: _Cell, text: str) -> Cell:
    tags = cell.metadata.get("tags", [])
    other = cell.metadata.get("vscode", {})
    return Cell(
        number,
        _dedented(text.rstrip("\n").split("\n")),
        frozenset(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset(),
        str(other.get("languageId", "python")) if isinstance(other, dict) else "python",
    )


def _dedented(lines: list[str]) -> list[str]:
    """Take the first line's indent from all lines that have it, as IPython does."""
    first = next(line for line in lines if line.strip())
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    return [line.removeprefix(indent) for line in lines]


def _language(metadata: dict[str, Any]) -> str:
    """What the notebook is written in; Python where it does not say."""
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        said = metadata.get(key)
        if isinstance(said, dict) and isinstance(said.get(name), str):
            return str(said[name]).lower()
    return "python"
