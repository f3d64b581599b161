"""Notebooks, git references, functions of a session and folders with requirements on a real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.deploy.abc import Deployment
from trimtab.errors import DeployFailed, SpecError
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source


def write_notebook(path: Path, *cells: str) -> Path:
    written = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": written}))
    return path


def deploy(local: Any, name: str, source: Source, **spec: Any) -> Deployment:
    made = Function(metadata=Metadata(name=name), spec=FunctionSpec(source=source, **spec))
    deployed: Deployment = local.target.deploy(made)
    return deployed


CELLS = (
    "%matplotlib inline\nimport json",
    "%nuclio env GREETING=hallo\n%nuclio config spec.maxReplicas = 3",
    "def fail():\n    raise ValueError('kaputt')",
    "import os\n\ndef handler(context, event):\n    if event.path == '/fail':\n        fail()\n    return os.environ['GREETING']",
)


def test_a_notebook_is_deployed_and_its_tracebacks_name_cell_and_line(
    local: Any, call: Callable[..., Any], until: Callable[..., Any]
) -> None:
    path = write_notebook(local.code / "my.model v2.ipynb", *CELLS)
    done = deploy(local, "nb", Source(path=str(path)))
    assert done.warnings == ["my.model v2.ipynb: left out: `%matplotlib inline` (cell 1)"]
    assert call(done.url).body == b"hallo"
    assert local.target.get("nb").scale.max == 3
    assert call(done.url, path="/fail").status == 500
    line = until(lambda: next((each for each in local.target.logs("nb") if "kaputt" in each), None))
    traceback = json.loads(line)["traceback"]
    assert 'File "my.model v2.ipynb", cell 4, line 5, in handler' in traceback
    assert 'File "my.model v2.ipynb", cell 3, line 2, in fail' in traceback
    assert not deploy(local, "nb", Source(path=str(path))).changed


def test_a_notebook_that_cannot_be_imported_says_which_cell(local: Any) -> None:
    path = write_notebook(local.code / "n.ipynb", "x = 1", "y = 2\nprint(ghost)\ndef handler(context, event): pass")
    with pytest.raises(DeployFailed) as caught:
        deploy(local, "nb", Source(path=str(path)))
    assert 'File "n.ipynb", cell 2, line 2, in <module>\n    print(ghost)' in caught.value.traceback


def test_a_job_of_a_notebook_fails_with_its_cell(local: Any) -> None:
    path = write_notebook(local.code / "train.ipynb", "def train(context, n: int):\n    return 10 / n")
    job = Function(
        metadata=Metadata(name="train"),
        spec=FunctionSpec(kind="job", handler="train:train", source=Source(path=str(path))),
    )
    lines: list[str] = []
    run = local.target.run(job, {"n": 0}, on_log=lines.append)
    assert (run.state, run.error) == ("failed", "ZeroDivisionError: division by zero")
    assert any('\\"train.ipynb\\", cell 1, line 2, in train' in line for line in lines)
    assert local.target.run(job, {"n": 5}).results == {"return": 2.0}


def test_a_deployed_job_of_a_notebook_is_run_by_its_name(local: Any) -> None:
    path = write_notebook(local.code / "train.ipynb", "def train(context, n: int):\n    return n + 1")
    deploy(local, "train", Source(path=str(path)), kind="job", handler="train:train")
    path.unlink()
    named = Function(metadata=Metadata(name="train"), spec=FunctionSpec(kind="job"))
    assert local.target.run(named, {"n": 1}).results == {"return": 2}


def test_ignored_files_are_not_deployed(local: Any, call: Callable[..., Any]) -> None:
    (local.code / "main.py").write_text("import os\ndef handler(context, event): return sorted(os.listdir())")
    (local.code / ".env").write_text("SECRET=1")
    (local.code / ".gitignore").write_text(".env\n")
    done = deploy(local, "listing", Source(path=str(local.code)))
    assert ".env" not in call(done.url).json()
    (local.code / ".gitignore").write_text("main.py\n")
    with pytest.raises(SpecError, match=r"main\.py is left out by 'main\.py' in \.gitignore: write '!main\.py' into"):
        deploy(local, "listing", Source(path=str(local.code)), handler="main:handler")


def test_requirements_found_in_the_source_are_installed(local: Any, call: Callable[..., Any]) -> None:
    code = "import iniconfig\ndef handler(context, event):\n    from importlib.metadata import version\n    return version('iniconfig')"
    (local.code / "main.py").write_text(code)
    (local.code / "requirements.txt").write_text("iniconfig==2.0.0\n")
    assert call(deploy(local, "folder", Source(path=str(local.code))).url).body == b"2.0.0"
    script = '# /// script\n# dependencies = ["iniconfig==2.0.0"]\n# ///\n'
    (local.code / "alone.py").write_text(script + code)
    assert call(deploy(local, "script", Source(path=str(local.code / "alone.py"))).url).body == b"2.0.0"
    path = write_notebook(local.code / "n.ipynb", "%pip install iniconfig==2.0.0", code)
    assert call(deploy(local, "notebook", Source(path=str(path))).url).body == b"2.0.0"


def test_constraints_and_wheels_beside_the_code_count(local: Any, call: Callable[..., Any]) -> None:
    code = "from importlib.metadata import version\ndef handler(context, event): return version('iniconfig')"
    (local.code / "main.py").write_text(code)
    (local.code / "requirements.txt").write_text("-c limits.txt\niniconfig\n")
    (local.code / "limits.txt").write_text("iniconfig<2.0.1\n")
    assert call(deploy(local, "folder", Source(path=str(local.code))).url).body == b"2.0.0"


def test_a_python_that_the_code_does_not_run_on_is_refused(local: Any) -> None:
    script = '# /// script\n# requires-python = ">=3.99"\n# dependencies = ["iniconfig"]\n# ///\n'
    with pytest.raises(
        SpecError, match=r"^spec\.build\.python: found '3\.\d+', allowed: >=3\.99, as the script block of "
    ):
        local.deploy("f", script)


def test_an_import_that_is_missing_is_answered_with_what_to_require(local: Any) -> None:
    code = "import cv2\ndef handler(context, event): pass"
    with pytest.raises(
        DeployFailed, match=r"To have 'cv2', require opencv-python-headless \(known to bring the module"
    ):
        local.deploy("lacking", code)


def test_a_git_reference_is_deployed(local: Any, call: Callable[..., Any], tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    (repository / "fn").mkdir(parents=True)
    (repository / "fn" / "main.py").write_text("def handler(context, event): return 'from git'")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*identity, "commit", "-q", "-m", "one")):
        subprocess.run(["git", *command], cwd=repository, env=environ, check=True)
    done = deploy(local, "git", Source(git=f"git+file://{repository}@main#fn"))
    assert call(done.url).body == b"from git"
    with pytest.raises(SpecError, match=r"found 'mian', allowed: a branch, tag or commit of file:.*; it has main"):
        deploy(local, "git", Source(git=f"git+file://{repository}@mian#fn"))


SESSION = """
import numpy as np, trimtab
WEIGHTS = np.array([1.0, 2.0])
def scaled(factor):
    def predict(context, event):
        return {"y": float((WEIGHTS * event.body["x"]).sum() * factor)}
    return predict
fn = trimtab.code_to_function("score", handler=scaled(10))
print(fn.verify({"x": 1}).answer)
print(fn.deploy(watch=False))
print(fn.invoke("/", {"x": 2}))
"""


def test_a_function_of_a_session_is_deployed_without_an_environment_of_its_own(local: Any) -> None:
    environ = {**os.environ, "TRIMTAB_HOME": str(local.home)}
    done = subprocess.run([sys.executable, "-c", SESSION], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[0], lines[2]) == ('{"y":30.0}', "{'y': 60.0}")
    assert not (local.home / "environments").exists() or not list((local.home / "environments").iterdir())


def test_the_command_line_verifies_and_deploys_a_notebook(local: Any) -> None:
    write_notebook(local.code / "n.ipynb", "def predict(context, event):\n    return {'twice': 2 * event.body['x']}")
    done = local.cli("deploy", "n.ipynb:predict", "--verify", "--sample", '{"x": 4}', cwd=local.code)
    assert done.returncode == 0, done.stderr
    assert "verified in a clean process after" in done.stderr
    assert '200: {"twice":8}' in done.stderr
    write_notebook(local.code / "n.ipynb", "def predict(context, event):\n    return model.predict(event.body)")
    done = local.cli("deploy", "n.ipynb:predict", "--verify", cwd=local.code)
    assert done.returncode == 6
    assert 'File "n.ipynb", cell 1, line 2, in predict' in done.stderr
    assert (
        "only the notebook's memory has what it uses:\n  cell 1, line 2 uses 'model', which no exported cell"
        in done.stderr
    )
    done = local.cli("dev", "git+https://h/x", cwd=local.code)
    assert "dev watches files of this machine: clone the repository" in done.stderr
    done = local.cli("export", "n.ipynb:predict", cwd=local.code)
    assert "handler: n:predict\n" in done.stdout
    assert "path: n.ipynb\n" in done.stdout


def test_a_description_with_another_python_keeps_it(local: Any) -> None:
    script = '# /// script\n# requires-python = ">=3.11"\n# ///\ndef handler(context, event): pass\n'
    assert deploy(local, "f", Source(code=script), build=Build(python="3.11"), handler="handler").changed
