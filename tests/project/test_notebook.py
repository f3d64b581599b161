"""Cells run by a real kernel of Jupyter, in a notebook that says what it is called as Jupyter's server does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

import trimtab
from trimtab.config import Settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import SpecError

HANDLER = """\
RATE = 1.19

def handler(context, event):
    return {"gross": round(event.body["net"] * RATE, 2)}"""
MARKED = f"# mlrun: start-code\n{HANDLER}\n# mlrun: end-code"


class Notebook:
    """A notebook that is saved, and its kernel."""

    def __init__(self, path: Path, home: Path, *cells: str) -> None:
        self.path, self.cells = path, list(cells)
        self.save()
        env = {**os.environ, "TRIMTAB_HOME": str(home), "JPY_SESSION_NAME": str(path)}
        self.manager, self.client = start_new_kernel(env=env, cwd=str(path.parent))

    def save(self) -> None:
        cells = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": text} for text in self.cells]
        metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        self.path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))

    def run(self, cell: str) -> str:
        """Give what a cell prints and shows; what it raises is an AssertionError here."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                said.append(content["text"])
            elif message["msg_type"] == "error":
                said.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(cell, timeout=120, output_hook=hear)
        return "".join(said).strip()

    def run_all(self) -> list[str]:
        return [self.run(cell) for cell in self.cells]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    LocalTarget(Settings(home=folder), start=False).down()


@pytest.fixture
def opened(tmp_path: Path, home: Path) -> Iterator[Callable[..., Notebook]]:
    """Save cells as a notebook, and start its kernel."""
    folder = tmp_path / "Bücher und mehr"
    folder.mkdir()
    made: list[Notebook] = []

    def open_(*cells: str) -> Notebook:
        made.append(Notebook(folder / "tax.v2.ipynb", home, *cells))
        return made[-1]

    yield open_
    for each in made:
        each.close()


def test_the_notebook_that_one_is_in_needs_no_name(opened: Callable[..., Notebook]) -> None:
    notebook = opened(
        "import trimtab",
        MARKED,
        "fn = trimtab.code_to_function('tax')\nurl = fn.deploy(watch=False)",
        "print(fn.invoke('/', {'net': 100}))",
    )
    assert notebook.run_all()[2:] == ["", "{'gross': 119.0}"]
    assert notebook.run("print(fn.function.spec.source.path)") == str(notebook.path)


def test_a_function_of_a_kernel_is_shipped(opened: Callable[..., Notebook]) -> None:
    notebook = opened("import trimtab", HANDLER, "fn = trimtab.code_to_function(handler=handler)")
    assert notebook.run_all() == ["", "", ""]
    assert notebook.run("url = fn.deploy(watch=False); print(fn.invoke('/', {'net': 1}))") == "{'gross': 1.19}"


def test_a_notebook_that_was_changed_since_it_was_saved_is_refused(opened: Callable[..., Notebook]) -> None:
    notebook = opened("import trimtab", MARKED)
    notebook.run_all()
    said = notebook.run("fn = trimtab.code_to_function('tax')")
    assert said.startswith("SpecError: ")
    assert said.endswith("allowed: the notebook as it is now. Save it first")
    notebook.cells.append("fn = trimtab.code_to_function('tax'); print(fn.metadata.name)")
    notebook.save()
    assert notebook.run(notebook.cells[-1]) == "tax"


def test_a_project_takes_the_notebook_too(opened: Callable[..., Notebook]) -> None:
    notebook = opened(
        "import trimtab",
        MARKED,
        "project = trimtab.get_or_create_project('shop', context='.')",
        "print(project.set_function(name='tax', kind='nuclio').metadata.name)",
    )
    assert notebook.run_all()[-1] == "tax"


def test_outside_of_a_notebook_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_text("{}")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "x.ipynb"))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(SpecError, match=r"^filename: found nothing, allowed: the path of a \.py file"):
        trimtab.code_to_function("tax")
