"""The front's own sources: notebooks, git references and functions of a session, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.errors import InvocationFailed, NotVerified, RunFailed, SpecError


def write_notebook(path: Path, *cells: str) -> Path:
    written = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": written}))
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(
        tmp_path / "My.Model v2.ipynb",
        "%matplotlib inline\nFACTOR = 2",
        "def handler(context, event):\n    return {'twice': FACTOR * event.body}\n\ndef train(context, n: int):\n    return 1 / n",
    )


def test_a_notebook_is_a_function_named_after_it(notebook: Path, target: Any) -> None:
    fn = trimtab.code_to_function(filename=notebook, handler="handler")
    assert (fn.metadata.name, fn.spec.handler) == ("my-model-v2", "My_Model_v2:handler")
    fn.deploy(target, watch=False)
    assert target.deployed["my-model-v2"].spec.source.path == str(notebook)
    other = trimtab.new_function("f", command=str(notebook), handler="My_Model_v2")
    assert other.spec.handler == "My_Model_v2"


def test_a_notebook_answers_in_this_process(notebook: Path) -> None:
    with trimtab.code_to_function(filename=notebook, handler="handler").to_mock_server() as server:
        assert server.test("/", 4) == {"twice": 8}
        with pytest.raises(InvocationFailed):
            server.test("/", {})


def test_a_section_and_the_variables_of_a_notebook_count_in_this_process(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "n.ipynb",
        "%nuclio env A=from-the-notebook",
        "# mlrun: start-code my-fn\nimport os\ndef handler(context, event): return os.environ.get('A', '')\n# mlrun: end-code my-fn",
        "# mlrun: start-code\n%nuclio env A=1\nimport os\ndef handler(context, event): return os.environ['A']",
    )
    fn = trimtab.code_to_function("my-fn", filename=path, handler="handler")
    with fn.to_mock_server() as server:
        assert server.test("/") == b""
    fn.set_env("A", "mine")
    with fn.to_mock_server() as server:
        assert server.test("/") == b"mine"
    with trimtab.code_to_function("other", filename=path, handler="handler").to_mock_server() as server:
        assert server.test("/") == b"1"


def test_a_run_in_this_process_names_the_cell_that_failed(notebook: Path) -> None:
    job = trimtab.code_to_function(filename=notebook, handler="train", kind="job")
    assert job.run(params={"n": 2}, local=True).results == {"return": 0.5}
    with pytest.raises(RunFailed) as caught:
        job.run(params={"n": 0}, local=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    note = caught.value.__cause__.__notes__[0]
    assert 'File "My.Model v2.ipynb", cell 2, line 5, in train\n    return 1 / n' in note


def test_a_function_is_verified(notebook: Path, tmp_path: Path) -> None:
    fn = trimtab.code_to_function(filename=notebook, handler="handler")
    assert fn.verify(4).answer == '{"twice":8}'
    job = trimtab.code_to_function(filename=notebook, handler="train", kind="job")
    assert job.verify(params={"n": 2}).answer == "{'return': 0.5}"
    with pytest.raises(NotVerified, match="ZeroDivisionError"):
        job.verify(params={"n": 0})
    write_notebook(notebook, "def handler(context, event):\n    return FACTOR")
    with pytest.raises(NotVerified, match="uses 'FACTOR', which no exported cell defines"):
        fn.verify()


def test_a_git_reference_is_a_function_named_after_its_folder(target: Any) -> None:
    fn = trimtab.code_to_function(filename="git+https://h/team/repo.git@main#fn/score", handler="main:handler")
    assert (fn.metadata.name, fn.spec.handler) == ("score", "main:handler")
    assert fn.function.spec.source.git == "git+https://h/team/repo.git@main#fn/score"
    assert trimtab.code_to_function(filename="git+ssh://git@h/team/repo.git").metadata.name == "repo"
    with pytest.raises(SpecError, match="an address without credentials"):
        trimtab.code_to_function(filename="git+https://me:pw@h/x.git")


def scaled(factor: int) -> Callable[[Any, Any], Any]:
    def predict(context: Any, event: Any) -> Any:
        return {"y": factor * event.body}

    return predict


def test_a_function_of_this_session_survives_its_description(tmp_path: Path) -> None:
    fn = trimtab.code_to_function(handler=scaled(3))
    assert (fn.metadata.name, fn.spec.handler) == ("predict", "handler:predict")
    fn.export(tmp_path / "function.yaml")
    again = trimtab.import_function(tmp_path / "function.yaml")
    with again.to_mock_server() as server:
        assert server.test("/", 5) == {"y": 15}
    assert again.verify(2).answer == '{"y":6}'


def test_a_job_may_be_a_function_of_this_session() -> None:
    job = trimtab.code_to_function("sum", handler=lambda context, a, b: a + b, kind="job")
    assert job.run(params={"a": 1, "b": 2}, local=True).results == {"return": 3}
