"""Formats of models, each with the library behind it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

import trimtab
from trimtab.artifacts import load_model
from trimtab.artifacts.frameworks import by_file
from trimtab.errors import SpecError, StoreError
from trimtab.project.project import Project

DATA, TARGET = load_iris(return_X_y=True)


@pytest.fixture
def project(home: Path) -> Project:
    return trimtab.get_or_create_project("formats", context=str(home))


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(DATA, TARGET)


def onnx_of(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skl2onnx import to_onnx

        options = {type(model): {"zipmap": False}} if isinstance(model, LogisticRegression) else None
        return to_onnx(model, DATA[:1].astype(np.float32), options=options)


@pytest.mark.parametrize(
    ("file", "format"),
    [("a.pkl", "pickle"), ("A.PICKLE", "pickle"), ("a.joblib", "joblib"), ("m.onnx", "onnx"), ("MLmodel", "mlflow")],
)
def test_formats_are_told_by_the_files_name(file: str, format: str) -> None:
    found = by_file(file)
    assert found is not None
    assert found.name == format


def test_no_format_is_made_up() -> None:
    assert by_file("model.h5") is None


def test_joblib_files_are_written_where_asked_for_and_read(
    project: Project, model: LogisticRegression, tmp_path: Path
) -> None:
    import joblib

    logged = project.log_model("a", model, model_file="a.joblib")
    assert (logged.model.file, logged.model.format, logged.model.framework) == ("a.joblib", "joblib", "sklearn")
    joblib.dump(model, tmp_path / "b.joblib", compress=3)
    joblib.dump(model, tmp_path / "c.joblib")
    compressed = project.log_model("b", model_file=tmp_path / "b.joblib")
    plain = project.log_model("c", model_file=tmp_path / "c.joblib")
    assert (compressed.model.framework, plain.model.framework) == ("", "sklearn")
    for each in (logged, compressed, plain):
        assert (load_model(each).predict(DATA) == model.predict(DATA)).all()


def test_onnx_models_predict_like_what_they_were_made_of(
    project: Project, model: LogisticRegression, tmp_path: Path
) -> None:
    graph = onnx_of(model)
    logged = project.log_model("a", graph)
    assert (logged.model.file, logged.model.format, logged.model.algorithm) == ("model.onnx", "onnx", "ModelProto")
    (tmp_path / "b.onnx").write_bytes(graph.SerializeToString())
    by_file = project.log_model("b", model_file=tmp_path / "b.onnx")
    assert (by_file.model.framework, by_file.model.format) == ("onnx", "onnx")
    for each in (logged, by_file):
        loaded = load_model(each)
        assert (loaded.predict(DATA) == model.predict(DATA)).all()
        assert np.allclose(loaded.predict_proba(DATA), model.predict_proba(DATA), atol=1e-5)


def test_an_onnx_regressor_gives_a_number_for_each_row(project: Project) -> None:
    regressor = LinearRegression().fit(DATA, TARGET)
    loaded = load_model(project.log_model("a", onnx_of(regressor)))
    assert loaded.predict(DATA).shape == (150,)
    assert np.allclose(loaded.predict(DATA), regressor.predict(DATA), atol=1e-4)
    with pytest.raises(AttributeError, match="has no output for probabilities"):
        loaded.predict_proba(DATA)


def test_an_onnx_graph_with_an_input_for_each_column_takes_tables_of_mixed_types(project: Project) -> None:
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("n", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("t", TensorProto.STRING, [None, 1]),
    ]
    outputs = [
        helper.make_tensor_value_info("double", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("text", TensorProto.STRING, [None, 1]),
    ]
    nodes = [helper.make_node("Add", ["n", "n"], ["double"]), helper.make_node("Identity", ["t"], ["text"])]
    graph = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    loaded = load_model(project.log_model("a", graph))
    double, text = loaded.run([[1.5, "a"], [2.5, "b"]])
    assert double[:, 0].tolist() == [3.0, 5.0]
    assert text[:, 0].tolist() == ["a", "b"]


def test_mlflow_models_are_written_and_read_as_python_functions(project: Project, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True):  # MLflow has a lot to say, whatever the filters
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        class Double(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
                return model_input * 2

        logged = project.log_model("a", Double())
        mlflow.pyfunc.save_model(tmp_path / "saved", python_model=Double(), pip_requirements=[])
        by_folder = project.log_model("b", model_dir=tmp_path / "saved")
        for each in (logged, by_folder):
            assert (each.model.file, each.model.format) == ("MLmodel", "mlflow")
            assert (load_model(each).predict(DATA) == DATA * 2).all()
        changed = by_folder.local("python_model.pkl")
        changed.chmod(0o644)
        changed.write_bytes(b"evil")
        with pytest.raises(StoreError, match=r"its file 'python_model\.pkl' is not what was logged"):
            load_model(by_folder)


def test_a_format_whose_library_is_missing_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = project.log_model("a", body=b"x", model_file="a.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(StoreError, match=r"needs the module 'onnxruntime', which is not here: install it"):
        load_model(logged)
    monkeypatch.setitem(__import__("sys").modules, "joblib", None)
    with pytest.raises(SpecError, match=r"^model: found 'sklearn', allowed: a model whose library is here: "):
        project.log_model("b", LinearRegression(), model_file="a.joblib")


def test_cloudpickle_is_not_needed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    assert load_model(project.log_model("a", {"weights": [1, 2]})) == {"weights": [1, 2]}
