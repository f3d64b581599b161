"""Models: what is kept of them, and that what is loaded is what was logged."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import trimtab
from trimtab.artifacts import Environment, VersionWarning, load_model
from trimtab.artifacts.types import Document
from trimtab.errors import SpecError, StoreError
from trimtab.project.project import Project
from trimtab.sketches import Reference, Schema

IRIS = load_iris(as_frame=True)


@pytest.fixture
def project(home: Path) -> Project:
    return trimtab.get_or_create_project("flowers", context=str(home))


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)


def test_a_logged_model_is_described_whole_and_loads(project: Project, model: LogisticRegression) -> None:
    logged = project.log_model(
        "iris",
        model=model,
        training_set=IRIS.frame,
        label_column="target",
        metrics={"accuracy": np.float64(0.97), "rows": np.int64(150)},
        parameters=model.get_params(),
        labels={"team": "a"},
    )
    assert logged.uri == "store://models/flowers/iris#0:latest"
    spec = project.get_artifact("iris").model
    assert (spec.file, spec.format, spec.framework, spec.algorithm) == (
        "model.pkl",
        "pickle",
        "sklearn",
        "LogisticRegression",
    )
    assert spec.schema == Schema.of(IRIS.data)
    assert spec.label is not None
    assert (spec.label_column, spec.label.name, spec.label.dtype) == ("target", "target", "int64")
    assert spec.metrics == {"accuracy": 0.97, "rows": 150}
    assert spec.parameters["max_iter"] == 500
    assert spec.environment is not None
    assert {"scikit-learn", "numpy", "cloudpickle"} <= set(spec.environment.packages)
    assert spec.training_rows == 150
    assert project.log_dataset("iris-data", df=IRIS.frame).dataset.digest == spec.training_set
    assert (load_model(logged.uri).predict(IRIS.data) == model.predict(IRIS.data)).all()
    assert (trimtab.load_model(logged).predict(IRIS.data) == model.predict(IRIS.data)).all()


def test_the_statistics_of_the_training_set_are_kept_with_those_of_the_label(
    project: Project, model: LogisticRegression
) -> None:
    logged = project.log_model("iris", model=model, training_set=IRIS.frame, label_column="target")
    assert logged.model.reference == "reference.json"
    reference = msgspec.json.decode(logged.read("reference.json"), type=Reference)
    assert reference.rows == 150
    assert reference.inputs == list(IRIS.data.columns)
    assert reference.schema == logged.model.schema
    assert reference["label"].role == "label"
    assert reference.sketch().rows == 150


def test_a_model_without_a_training_set_has_no_schema(project: Project, model: LogisticRegression) -> None:
    spec = project.log_model("iris", model).model
    assert (spec.schema, spec.reference, spec.training_set, spec.label_column) == (None, None, "", None)
    array = project.log_model("iris", model, training_set=IRIS.data.to_numpy()).model
    assert array.schema == Schema.of(IRIS.data.to_numpy())
    assert array.training_rows == 150


def test_files_folders_and_bytes_are_taken_as_they_are(
    project: Project, model: LogisticRegression, tmp_path: Path
) -> None:
    folder = tmp_path / "Modell"
    folder.mkdir()
    path = folder / "gewichte.pkl"
    path.write_bytes(pickle.dumps(model))
    by_file = project.log_model("a", model_file=path)
    by_body = project.log_model("a", body=pickle.dumps(model), model_file="model.pkl")
    (folder / "vocabulary.txt").write_text("words")
    by_folder = project.log_model("a", model_dir=folder, framework="own", algorithm="mine")
    named = project.log_model("a", model_dir=folder, model_file="gewichte.pkl")
    for logged in (by_file, by_body, by_folder, named):
        assert (load_model(logged).coef_ == model.coef_).all()
    assert (by_file.model.file, by_file.model.framework, by_file.model.algorithm) == (
        "gewichte.pkl",
        "sklearn",
        "LogisticRegression",
    )
    assert (by_folder.model.framework, by_folder.model.algorithm) == ("own", "mine")
    assert sorted(by_folder.files) == ["gewichte.pkl", "vocabulary.txt"]


def test_extra_files_go_along(project: Project, model: LogisticRegression, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words")
    logged = project.log_model("a", model, extra_data={"vocabulary": tmp_path / "words.txt", "notes.md": b"# notes"})
    assert logged.model.extra_data == {"vocabulary": "vocabulary.txt", "notes.md": "notes.md"}
    assert logged.local("vocabulary.txt").read_text() == "words"
    with pytest.raises(SpecError, match=r"^extra_data model\.pkl: found 'model\.pkl', allowed: a name that no other"):
        project.log_model("a", model, extra_data={"model.pkl": b""})
    with pytest.raises(SpecError, match=r"^extra_data x: found '/nowhere', allowed: bytes, or the path of a file that"):
        project.log_model("a", model, extra_data={"x": "/nowhere"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {},
            "log_model: found nothing, allowed: one of model=OBJECT, model_file=PATH, model_dir=FOLDER, or body=BYTES",
        ),
        ({"model": 1, "body": b"x", "model_file": "a.pkl"}, "log_model: found 'several models', allowed: one of model"),
        ({"body": b"x"}, "log_model: found nothing, allowed: one of"),
        ({"model_file": "none.pkl"}, "model_file: found 'none.pkl', allowed: one of"),
        ({"model_dir": "none"}, "model_dir: found 'none', allowed: a folder that holds the model's files"),
        ({"model": 1, "label_column": "y"}, "label_column: found 'y', allowed: nothing, without a training_set"),
        (
            {"model": 1, "label_column": "y", "training_set": IRIS.data},
            "label_column: found 'y', allowed: a column of the training set: sepal length (cm)",
        ),
        (
            {"model": 1, "label_column": "y", "training_set": IRIS.data.to_numpy()},
            "label_column: found 'y', allowed: a column of the training set: f0, f1",
        ),
        ({"model": 1, "model_file": "a.onnx"}, "model_file: found 'a.onnx', allowed: a name for a builtins model"),
    ],
)
def test_what_does_not_fit_together_is_refused(project: Project, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        project.log_model("a", **arguments)
    assert str(caught.value).startswith(said)
    assert project.list_models() == []


def test_a_folder_that_does_not_say_which_file_is_the_model_is_asked_about(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("a.pkl", "b.pkl"):
        (folder / name).write_bytes(b"")
    with pytest.raises(SpecError, match=r"^model_file: found nothing, allowed: one of a\.pkl, b\.pkl$"):
        project.log_model("a", model_dir=folder)
    with pytest.raises(SpecError, match=r"^model_file: found 'c\.pkl', allowed: a file of .*: a\.pkl, b\.pkl$"):
        project.log_model("a", model_dir=folder, model_file="c.pkl")


# Loading


class Trap:
    """Says so when it is unpickled."""

    sprung = False

    def __reduce__(self) -> Any:
        return (spring, ())


def spring() -> None:
    Trap.sprung = True


def test_the_hash_is_checked_before_anything_is_unpickled(project: Project) -> None:
    logged = project.log_model("a", model={"fine": 1})
    path = logged.local()
    path.chmod(0o644)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StoreError, match=r"is not what was logged: .*It was not used; bring the file back, or log it"):
        load_model(logged)
    assert not Trap.sprung


def remade(project: Project, **environment: Any) -> str:
    """Log a model, and change what is written about where it was made."""
    logged = project.log_model("a", model=LogisticRegression())
    name = f"models/flowers/a/versions/{logged.version}.json"
    document = msgspec.json.decode(project.store.files.read(name), type=Document)
    document.spec.environment = Environment(**environment)  # type: ignore[union-attr]
    project.store.files.write(name, msgspec.json.encode(document))
    return logged.version_uri


def test_a_model_of_another_python_or_scikit_learn_says_so(project: Project) -> None:
    uri = remade(project, python="3.6.1", packages={"scikit-learn": "0.18.2", "numpy": "1.0", "cloudpickle": "3.0"})
    said = r"was made with Python 3\.6\.1 \(here: 3\.\d+\.\d+\), scikit-learn 0\.18\.2 \(here: 1\.\d.*\), numpy 1\.0 \(here: 2"
    with pytest.warns(VersionWarning, match=rf"^{uri} {said}.*\); what it computes may differ$"):
        assert isinstance(load_model(uri), LogisticRegression)
    with pytest.raises(
        StoreError, match=rf"{said}.*\); it was not loaded\. Load it where it was made, or train it agai"
    ):
        load_model(uri, versions="refuse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(uri, versions="ignore")


def test_what_is_not_installed_is_named_among_the_differences(project: Project) -> None:
    uri = remade(project, python="3.6.1", packages={"xgboost": "1.0"})
    with pytest.warns(VersionWarning, match=r"xgboost 1\.0 \(here: not installed\)"):
        load_model(uri)


def test_a_model_whose_module_is_not_here_says_which(project: Project) -> None:
    body = b"\x80\x04\x8c\x0fno_such_module_\x8c\x05Model\x93)R."
    logged = project.log_model("a", body=body, model_file="a.pkl")
    assert (logged.model.framework, logged.model.algorithm) == ("pickle", "")
    with pytest.raises(StoreError, match=r"needs the module 'no_such_module_', which is not here: install it, or log"):
        load_model(logged)


def test_a_file_that_is_no_pickle_says_what_happened(project: Project, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"garbage")
    logged = project.log_model("a", model_file=tmp_path / "a.pkl")
    assert (logged.model.framework, logged.model.algorithm) == ("", "")
    with pytest.raises(StoreError, match=r"^store://models/flowers/a.* cannot be loaded: UnpicklingError: "):
        load_model(logged)


def test_files_that_nothing_here_reads_are_kept_and_not_loaded(project: Project, tmp_path: Path) -> None:
    (tmp_path / "net.weights").write_bytes(b"w")
    logged = project.log_model("a", model_file=tmp_path / "net.weights")
    assert logged.model.format == ""
    with pytest.raises(StoreError, match=r"nothing here reads 'net\.weights'; `artifact\.local\(\)` gives the file"):
        load_model(logged)
    with pytest.raises(StoreError, match=r"is no model; models are below store://models/$"):
        load_model(project.log_artifact("b", body="text"))


def test_parameters_that_are_objects_are_kept_as_text(project: Project) -> None:
    spec = project.log_model("a", 1, parameters={"base": LogisticRegression(), "by": {1: (2, 3)}}).model
    assert spec.parameters == {"base": "LogisticRegression()", "by": {"1": [2, 3]}}
    assert json.loads(msgspec.json.encode(spec))["parameters"]["by"] == {"1": [2, 3]}


def test_classes_of_a_script_go_along_with_their_model(project: Project) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Mine:\n    def predict(self, rows):\n        return [7] * len(rows)\n", namespace)
    logged = project.log_model("a", model=namespace["Mine"]())
    del namespace
    assert load_model(logged).predict([1, 2]) == [7, 7]


def test_the_label_may_be_text_and_the_frame_of_any_types(project: Project) -> None:
    frame = pd.DataFrame({"n": [1.0, None], "t": ["a", None], "c": pd.Categorical(["x", "y"]), "y": ["no", "yes"]})
    spec = project.log_model("a", 1, training_set=frame, label_column="y").model
    assert spec.schema is not None
    assert [(column.name, column.kind) for column in spec.schema.columns] == [
        ("n", "numeric"),
        ("t", "categorical"),
        ("c", "categorical"),
    ]


def test_old_protocols_show_their_class_too(project: Project) -> None:
    logged = project.log_model("a", body=b"", model_file="a.pkl")
    assert logged.model.framework == "pickle"
    path = logged.local().parent
    for protocol in (0, 2):
        (path / "old.pkl").write_bytes(pickle.dumps(LogisticRegression(), protocol=protocol))
        spec = project.log_model("a", model_file=path / "old.pkl").model
        assert (spec.framework, spec.algorithm) == ("sklearn", "LogisticRegression")


def test_a_model_that_says_nothing_of_where_it_was_made_is_loaded(project: Project) -> None:
    logged = project.log_model("a", model={"a": 1})
    logged.model.environment = None
    assert load_model(logged) == {"a": 1}


def test_a_name_that_cannot_be_imported_is_told_from_a_module(project: Project) -> None:
    body = b"\x80\x04\x8c\x0etrimtab.errors\x8c\x07Nothing\x93)R."
    logged = project.log_model("a", body=body, model_file="a.pkl")
    with pytest.raises(StoreError, match=r"cannot be loaded: AttributeError: .*Nothing"):
        load_model(logged)
