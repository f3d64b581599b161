from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.errors import Conflict, ImportFailed, NameMissing, NotFound, RunFailed, SpecError, TrimtabError
from trimtab.project.function import FunctionHandle

TRAIN = """\
import os

def train(context, depth: int, rate: float = 0.5, data=None):
    context.log_result("depth", depth)
    context.log_result("mode", os.environ.get("MODE"))
    context.artifact("model.txt").write_text("model")
    if depth < 0:
        raise ValueError("too shallow")
    if depth == 100:
        raise SystemExit(0)
    if depth == 101:
        raise SystemExit(3)
    return {"rate": rate, "data": data.read_text() if data else None}

async def later(context):
    return "done"
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FunctionHandle:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    path = tmp_path / "training.py"
    path.write_text(TRAIN)
    return trimtab.code_to_function("training", filename=path, kind="job", handler="train")


# On a target


def test_a_run_gives_results_with_mlruns_names(
    job: FunctionHandle, target: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = job.run(params={"depth": 3}, inputs={"data": "x.csv"}, artifact_path="/tmp/out", target=target)
    assert (run.state(), run.uid(), run.metadata.uid, run.metadata.name) == ("succeeded", "run-1", "run-1", "training")
    assert (run.status.state, run.status.results, run.results, run.output("depth")) == (
        "succeeded",
        {"depth": 3},
        {"depth": 3},
        3,
    )
    assert run.outputs == {"depth": 3, "artifact_path": None}
    assert (target.calls[0]["inputs"], target.calls[0]["artifact_path"]) == ({"data": "x.csv"}, "/tmp/out")
    assert target.calls[0]["function"].spec.handler == "training:train"
    assert capsys.readouterr().err.splitlines() == ["WARNING it begins", "printed"]
    assert repr(run) == "Run(uid='run-1', function='training', state='succeeded', results={'depth': 3})"


def test_another_handler_of_the_same_code_can_be_named(job: FunctionHandle, target: Any) -> None:
    job.run(handler="later", target=target)
    assert target.calls[0]["function"].spec.handler == "training:later"
    assert job.function.spec.handler == "training:train"


def test_a_run_that_is_not_watched_is_looked_at_later(job: FunctionHandle, target: Any) -> None:
    run = job.run(params={"depth": 1}, watch=False, target=target)
    assert run.status.state == "running"
    assert run.wait_for_completion() == "succeeded"
    assert run.results == {"depth": 1}


def test_a_failed_run_is_raised_and_kept(job: FunctionHandle, target: Any) -> None:
    job.metadata.name = "broken"
    with pytest.raises(RunFailed, match=r"^run run-1 of 'broken' failed: ValueError: no$") as caught:
        job.run(target=target)
    assert caught.value.run.status.error == "ValueError: no"
    assert job.run(watch=False, target=target).wait_for_completion() == "failed"


def test_waiting_ends(job: FunctionHandle, target: Any) -> None:
    run = job.run(watch=False, target=target)
    target.history = [run.info]
    with pytest.raises(TrimtabError, match=r"^run run-1 is still running after 0 s$"):
        run.wait_for_completion(timeout=0, interval=0)


def test_only_jobs_are_run(job: FunctionHandle) -> None:
    job.spec.kind = "http"
    with pytest.raises(Conflict, match=r"^'training' is of kind 'http': only jobs are run, `invoke` calls the others$"):
        job.run(local=True)


# In this process


def test_a_local_run_coerces_parameters_and_keeps_results_and_files(job: FunctionHandle, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("rows")
    job.set_env("MODE", "fast").spec.parameters["rate"] = 0.25
    run = job.run(local=True, params={"depth": "3"}, inputs={"data": str(tmp_path / "in.txt")})
    assert run.results == {"depth": 3, "mode": "fast", "return": {"rate": 0.25, "data": "rows"}}
    assert (run.state(), run.status.exit_code) == ("succeeded", 0)
    assert (Path(run.outputs["artifact_path"]) / "model.txt").read_text() == "model"
    assert Path(run.outputs["artifact_path"]).is_relative_to(tmp_path / "home")
    assert "MODE" not in os.environ


LOGGING = """\
import pandas as pd

def prepare(context, source: trimtab.DataItem, rows: int = 2):
    frame = source.as_df().head(rows)
    context.logger.info_with("read", rows=len(frame))
    context.log_dataset("rows", df=frame, format="csv", index=False)
    context.artifact("notes.txt").write_text("notes")
    context.log_artifact("notes", local_path="notes.txt")
    context.log_model("model", model={"mean": float(frame.a.mean())}, training_set=frame, metrics={"rows": rows})
    context.log_results({"rows": len(frame), "same": context.get_input("source") is source})

def use(context, model):
    return trimtab.load_model(context.get_dataitem(model).artifact)["mean"]
"""


@pytest.fixture
def logging_job(job: FunctionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FunctionHandle:
    monkeypatch.delenv("TRIMTAB_ARTIFACTS", raising=False)
    (tmp_path / "training.py").write_text(f"import trimtab\n{LOGGING}")
    (tmp_path / "in.csv").write_text("a,b\n1,x\n2,y\n4,z\n")
    job.metadata.project, job.spec.handler = "flowers", "training:prepare"
    return job


def test_what_a_run_logs_is_in_its_outputs_and_says_who_made_it(logging_job: FunctionHandle, tmp_path: Path) -> None:
    run = logging_job.run(local=True, inputs={"source": str(tmp_path / "in.csv")})
    assert run.results == {"rows": 2, "same": True}
    project = trimtab.load_project(name="flowers")
    model = project.get_artifact("model")
    assert run.outputs["model"] == model.version_uri == f"store://models/flowers/model#0:latest@{model.version}"
    assert set(run.outputs) == {"rows", "same", "model", "notes", "artifact_path"}
    assert model.metadata.producer is not None
    assert (model.metadata.producer.uid, model.metadata.producer.name) == (run.uid(), "training")
    assert model.metadata.producer.inputs == {"source": str(tmp_path / "in.csv")}
    assert model.model.metrics == {"rows": 2}
    assert run.artifact("rows").as_df()["b"].tolist() == ["x", "y"]
    assert run.artifact("notes").get(encoding="utf-8") == "notes"
    with pytest.raises(NotFound, match=r"logged no artifact 'nothing'; it logged model, notes, rows$"):
        run.artifact("nothing")


def test_artifacts_of_one_run_are_inputs_of_the_next(logging_job: FunctionHandle, tmp_path: Path) -> None:
    first = logging_job.run(local=True, inputs={"source": str(tmp_path / "in.csv")}, params={"rows": 3})
    rows = first.info.artifacts["rows"]
    second = logging_job.run(local=True, inputs={"source": rows}, params={"rows": 1})
    assert second.outputs["rows"] == second.info.artifacts["rows"] != rows
    producer = trimtab.load_project(name="flowers").get_artifact("model").metadata.producer
    assert producer is not None
    assert producer.inputs == {"source": rows}
    used = logging_job.run(local=True, handler="use", params={"model": first.outputs["model"]})
    assert used.results["return"] == pytest.approx(7 / 3)


RETURNING = """\
from pathlib import Path

import pandas as pd
import trimtab

class Mean:
    def __init__(self, value): self.value = value
    def predict(self, rows): return [self.value] * len(rows)

@trimtab.handler(outputs=["rows", "mean", "notes", "score"])
def split(source: pd.DataFrame, ctx: int = 0):
    Path("notes.txt").write_text("notes")
    return source, Mean(float(source.a.mean())), Path("notes.txt").absolute(), 0.5

def alone(source: pd.DataFrame):
    return source.a.tolist()
"""


def test_what_a_handler_returns_is_kept_under_the_names_it_is_given(
    logging_job: FunctionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.py").write_text(RETURNING)
    inputs = {"source": str(tmp_path / "in.csv")}
    run = logging_job.run(local=True, handler="split", inputs=inputs)
    assert (run.results, set(run.info.artifacts)) == ({"score": 0.5}, {"rows", "mean", "notes"})
    project = trimtab.load_project(name="flowers")
    assert run.artifact("rows").as_df()["b"].tolist() == ["x", "y", "z"]
    assert run.artifact("notes").get(encoding="utf-8") == "notes"
    assert [model.metadata.key for model in project.list_models()] == ["mean"]
    renamed = logging_job.run(
        local=True, handler="split", inputs=inputs, returns=["a", "b:model", "c:file", "d:result"]
    )
    assert (renamed.results, set(renamed.info.artifacts)) == ({"d": 0.5}, {"a", "b", "c"})
    assert logging_job.run(local=True, handler="alone", inputs=inputs).results == {"return": [1, 2, 4]}
    assert logging_job.run(local=True, handler="alone", inputs=inputs, returns=["all"]).results == {"all": [1, 2, 4]}


def test_names_that_do_not_fit_what_is_returned_are_refused(
    logging_job: FunctionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.py").write_text(RETURNING)
    inputs = {"source": str(tmp_path / "in.csv")}
    with pytest.raises(SpecError, match="what the handler returned: found '4 values', allowed: 3: a, b, c"):
        logging_job.run(local=True, handler="split", inputs=inputs, returns=["a", "b", "c"])
    with pytest.raises(
        SpecError, match="returns: found 'a:table', allowed: a name, or NAME:KIND with a kind of dataset"
    ):
        logging_job.run(local=True, handler="split", inputs=inputs, returns=["a:table"])


def test_inputs_that_are_not_there_are_refused_before_the_handler_is_called(logging_job: FunctionHandle) -> None:
    said = r"^input source: found 'store://datasets/flowers/no', allowed: an artifact that is there\. .*there is no project"
    with pytest.raises(SpecError, match=said):
        logging_job.run(local=True, inputs={"source": "store://datasets/flowers/no"})


def test_inputs_are_what_the_handler_asks_for(job: FunctionHandle, tmp_path: Path) -> None:
    code = "from pathlib import Path\ndef train(context, a: Path, b: str, c):\n    return [type(x).__name__ for x in (a, b, c)]\n"
    (tmp_path / "training.py").write_text(code)
    inputs = dict.fromkeys("abc", str(tmp_path / "training.py"))
    assert job.run(local=True, inputs=inputs).results["return"] == ["PosixPath", "str", "DataItem"]
    (tmp_path / "training.py").write_text("def train(context):\n    context.get_input('d')\n")
    with pytest.raises(SpecError, match=r"^input d: found nothing, allowed: one of a, b, c$"):
        job.run(local=True, inputs=inputs)


def test_a_local_run_reads_the_file_again(job: FunctionHandle, tmp_path: Path) -> None:
    job.run(local=True, params={"depth": 1})
    (tmp_path / "training.py").write_text("def train(context):\n    return 'changed, and of another length'\n")
    assert job.run(local=True).results["return"] == "changed, and of another length"


def test_an_async_handler_runs_also_where_a_loop_runs(job: FunctionHandle) -> None:
    import asyncio

    async def notebook() -> Any:
        return job.run(local=True, handler="later").results

    assert job.run(local=True, handler="later").results == {"return": "done"}
    assert asyncio.run(notebook()) == {"return": "done"}


def test_embedded_code_runs_too(job: FunctionHandle) -> None:
    job.spec.source.path, job.spec.source.code, job.spec.handler = None, TRAIN, "handler:later"
    assert job.run(local=True).results == {"return": "done"}


def test_a_folder_runs_too(job: FunctionHandle, tmp_path: Path) -> None:
    job.spec.source.path = str(tmp_path)
    assert job.run(local=True, params={"depth": 1}).results["depth"] == 1


def test_a_handlers_exception_is_the_cause_and_the_results_until_then_are_kept(job: FunctionHandle) -> None:
    with pytest.raises(RunFailed, match=r"^run \w+ of 'training' failed: ValueError: too shallow$") as caught:
        job.run(local=True, params={"depth": -1})
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.run.results["depth"] == -1
    assert caught.value.run.status.exit_code == 1


def test_a_handler_that_exits_does_not_end_this_process(job: FunctionHandle) -> None:
    assert job.run(local=True, params={"depth": 100}).results["depth"] == 100
    with pytest.raises(RunFailed, match=r"failed: SystemExit: 3$"):
        job.run(local=True, params={"depth": 101})


def test_parameters_and_handlers_that_do_not_fit_are_refused(job: FunctionHandle, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^parameter depth: found 'deep', allowed: a value of type int$"):
        job.run(local=True, params={"depth": "deep"})
    with pytest.raises(NameMissing, match=r"^'training' has no 'nothing'; found: train, later$"):
        job.run(local=True, handler="nothing")
    (tmp_path / "training.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ImportFailed, match=r"No module named 'nothing_of_this_name'"):
        job.run(local=True)
    job.spec.source.path = None
    job.spec.build.image = "registry/train:1"
    with pytest.raises(
        SpecError, match=r"^spec\.source: found nothing, allowed: a path, code or git, to run in this process"
    ):
        job.run(local=True)
