from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.errors import Conflict, NotFound, SpecError
from trimtab.project.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRIMTAB_ARTIFACTS", raising=False)
    return trimtab.get_or_create_project("flowers", context=str(tmp_path))


def test_a_project_is_made_once_and_loaded_from_then_on(project: Project, tmp_path: Path) -> None:
    assert repr(project) == f"Project('flowers', store='file://{tmp_path}/home/artifacts')"
    assert project.artifact_path == f"file://{tmp_path}/home/artifacts"
    assert trimtab.get_or_create_project("flowers").name == trimtab.load_project(name="flowers").name == "flowers"
    assert project.store.projects() == ["flowers"]


def test_a_project_that_is_not_there_is_not_loaded(project: Project) -> None:
    with pytest.raises(NotFound, match=r"^there is no project 'trees' in file:///.*; its projects: flowers$"):
        trimtab.load_project(name="trees")


def test_a_project_may_bear_its_users_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "Jörg.B")
    mine = trimtab.get_or_create_project("flowers", user_project=True)
    assert mine.name == "flowers-j-rg-b"
    assert trimtab.load_project(name=mine.name).name == mine.name


def test_a_name_that_cannot_be_a_label_is_refused_with_one_that_can(project: Project) -> None:
    with pytest.raises(SpecError, match=r"^project: found 'My Project', allowed: lower-case .*\. Try 'my-project'$"):
        trimtab.get_or_create_project("My Project")


def test_artifacts_are_found_by_key_tag_version_and_uri(project: Project) -> None:
    first = project.log_artifact("notes", body="one", tag="v1")
    second = project.log_artifact("notes", body=b"two")
    assert project.get_artifact("notes").read() == b"two"
    assert project.get_artifact("notes", "v1").read() == b"one"
    assert project.get_artifact("notes", tree=first.tree).uri == f"store://artifacts/flowers/notes#0@{first.tree}"
    assert project.get_artifact(first.version_uri).read() == b"one"
    assert [each.version for each in project.list_artifacts()] == [second.version, first.version]
    assert [each.version for each in project.list_artifacts("notes", "v1")] == [first.version]
    assert project.list_models() == []
    with pytest.raises(NotFound, match=r"^project 'flowers' has no artifact 'note'; it has notes \(artifacts\)$"):
        project.get_artifact("note")


def test_a_key_of_several_kinds_is_asked_about(project: Project) -> None:
    project.log_artifact("iris", body="x")
    model = project.log_model("iris", {"a": 1})
    with pytest.raises(Conflict, match=r"say which of store://models/flowers/iris, store://artifacts/flowers/iris$"):
        project.get_artifact("iris")
    assert project.get_artifact("store://models/flowers/iris").version == model.version
    assert [each.uri for each in project.list_models()] == [model.uri]


def test_files_and_folders_are_logged(project: Project, tmp_path: Path) -> None:
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "a.svg").write_text("a")
    (tmp_path / "plots" / "deep" / "b.svg").write_text("b")
    folder = project.log_artifact("plots", local_path=tmp_path / "plots")
    assert sorted(folder.files) == ["a.svg", "deep/b.svg"]
    assert (folder.local() / "deep" / "b.svg").read_text() == "b"
    assert project.log_artifact("one", local_path=tmp_path / "plots" / "a.svg").local().name == "a.svg"
    with pytest.raises(
        SpecError, match=r"^local_path: found 'nothing', allowed: a file or folder that is there, or give"
    ):
        project.log_artifact("nothing")


def test_functions_of_a_project_belong_to_it(project: Project, hello: Path, target: Any) -> None:
    made = project.set_function("hello.py", kind="nuclio", handler="handler")
    assert (made.metadata.name, made.metadata.project, made.kind) == ("hello", "flowers", "http")
    assert project.get_function("hello") is made
    assert project.deploy_function("hello", target) == f"{target.url}/hello/"
    assert target.deployed["hello"].metadata.project == "flowers"
    path = hello.parent / "fn.yaml"
    made.export(path)
    assert project.set_function("fn.yaml", "again").metadata.name == "again"
    other = trimtab.code_to_function("other", filename=hello, kind="job")
    assert project.set_function(other).metadata.project == "flowers"
    assert sorted(project.functions) == ["again", "hello", "other"]
    with pytest.raises(
        NotFound, match=r"^project 'flowers' has no function 'x'; set here: again, hello, other\. `set_f"
    ):
        project.get_function("x")


def test_a_function_of_a_project_runs_in_it(project: Project, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def train(context, n: int):\n    return [context.project, n]\n")
    project.set_function("train.py", "train", handler="train")
    assert project.run_function("train", params={"n": 2}, local=True).results["return"] == ["flowers", 2]
    loose = trimtab.code_to_function("loose", filename=tmp_path / "train.py", kind="job")
    run = project.run_function(loose, handler="train", params={"n": 3}, local=True)
    assert run.results["return"] == ["flowers", 3]
