"""The front on the target that ships: a real daemon, a real replica."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import trimtab
from trimtab.config import Settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import NotFound, RunFailed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "home"
    monkeypatch.setenv("TRIMTAB_HOME", str(folder))
    yield folder
    LocalTarget(Settings(home=folder), start=False).down()


TRAIN = """\
import pandas as pd

def train(context, rows: "trimtab.DataItem"):
    frame = rows.as_df()
    context.logger.info("read %d rows of %s", len(frame), context.project)
    context.log_model("mean", model=frame.a.mean(), training_set=frame, metrics={"rows": len(frame)})
    context.log_result("n", len(frame))
"""


def test_a_job_reads_an_artifact_and_logs_a_model(home: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    project = trimtab.get_or_create_project("flowers", context=tmp_path)
    rows = project.log_dataset("rows", df=pd.DataFrame({"a": [1.0, 2.0]}), format="csv")
    train = project.set_function("train.py", handler="train")
    run = train.run(inputs={"rows": "store://datasets/flowers/rows"})
    assert run.results == {"n": 2}
    model = project.get_artifact("mean")
    assert run.outputs["mean"] == model.version_uri
    assert trimtab.load_model(run.outputs["mean"]) == 1.5
    assert model.metadata.producer is not None
    assert model.metadata.producer.uid == run.uid()
    assert model.metadata.producer.inputs == {"rows": rows.version_uri}
    with pytest.raises(
        RunFailed, match=r"allowed: an artifact that is there\. .*'flowers' has no dataset 'row'; its data"
    ):
        train.run(inputs={"rows": "store://datasets/flowers/row"})


def test_a_functions_own_environment_says_where_its_artifacts_go(home: Path, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(
        "def where(context):\n    context.log_artifact('a', 'x')\n    return context.store.url\n"
    )
    fn = trimtab.code_to_function("where", filename=tmp_path / "where.py", kind="job", handler="where")
    assert fn.run().results["return"] == f"file://{home}/artifacts"
    fn.set_env("TRIMTAB_ARTIFACTS", f"file://{tmp_path}/elsewhere")
    assert fn.run().results["return"] == f"file://{tmp_path}/elsewhere"
    assert (tmp_path / "elsewhere" / "artifacts" / "default" / "a").is_dir()


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
