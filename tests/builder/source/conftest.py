"""Notebooks that tests write: a cell is a text, or a text and its tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.builder.abc import Code
from trimtab.builder.source import read_source
from trimtab.spec import Build, Source


def notebook(*cells: str | tuple[str, list[str]] | dict[str, Any], **metadata: Any) -> str:
    """Write a notebook as Jupyter does; a cell that is a dict stands as it is."""
    written = []
    for cell in cells:
        if isinstance(cell, dict):
            written.append(cell)
            continue
        text, tags = cell if isinstance(cell, tuple) else (cell, [])
        written.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"cell-{len(written)}",
                "metadata": {"tags": tags} if tags else {},
                "outputs": [],
                "source": text.splitlines(keepends=True),
            }
        )
    return json.dumps({"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1)


@pytest.fixture(name="notebook")
def _notebook() -> Callable[..., str]:
    return notebook


class Exports:
    """Notebooks of one folder, and what is read of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "model.ipynb"

    def code(self, *cells: Any, handler: str = "", name: str = "", build: Build | None = None) -> Code:
        self.path.write_text(notebook(*cells), "utf-8")
        return read_source(Source(path=str(self.path)), build or Build(), handler, name=name)

    def text(self, *cells: Any, name: str = "") -> str:
        """The exported module without head, cell marks and map: what came from cells."""
        content = self.code(*cells, name=name).files["model.py"]
        assert isinstance(content, bytes)
        lines = content.decode().split("\n")[2:-2]
        return "\n".join(line for line in lines if line and not line.startswith("# %% cell"))


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    return Exports(tmp_path)
