"""The front on the target that ships: a real daemon, a real replica."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import trimtab
from trimtab.config import Settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import NotFound


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "home"
    monkeypatch.setenv("TRIMTAB_HOME", str(folder))
    yield folder
    LocalTarget(Settings(home=folder), start=False).down()


def test_a_function_is_deployed_called_and_removed_and_a_job_is_run(home: Path, hello: Path) -> None:
    fn = trimtab.code_to_function("hello", filename=hello, handler="handler")
    url = fn.deploy(watch=False)
    assert url.endswith("/")
    assert fn.invoke("/", {"x": 1}) == {"got": {"x": 1}}
    (hello.parent / "train.py").write_text(
        "def train(context, depth: int):\n    context.log_result('twice', 2 * depth)\n"
    )
    job = trimtab.code_to_function("train", filename=hello.parent / "train.py", kind="job", handler="train")
    assert job.run(params={"depth": "4"}, target="local").results == {"twice": 8}
    waiting = job.run(params={"depth": "5"}, watch=False)
    assert waiting.wait_for_completion(timeout=60) == "succeeded"
    assert waiting.results == {"twice": 10}
    fn.delete()
    with pytest.raises(NotFound):
        trimtab.new_function("hello").invoke()
