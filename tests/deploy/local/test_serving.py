"""Model servers on the local target: deployed, changed while they run, tracked; the scenes MLRun's users know."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import trimtab
from trimtab.errors import Conflict, DeployFailed
from trimtab.handlers.records import Inference, decode
from trimtab.handlers.serving.register import ENDPOINT, Registration

ROW = [5.1, 3.5, 1.4, 0.2]
Until = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model in a file."""
    path = tmp_path_factory.mktemp("models") / "iris model ü.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))))
    return path


def server(local: Any, **scale: int) -> Any:
    function = trimtab.new_function("iris", kind="serving")
    for name, value in scale.items():
        setattr(function.function.spec.scale, name, value)
    return function


def inferences(local: Any) -> list[Inference]:
    """All records that are in the broker."""
    found = [event for event in local.target.events(tail=1000) if event["type"] == "dev.trimtab.inference"]
    return [decode(json.dumps(event["data"]).encode()) for event in found]


def changed_by_hand(local: Any) -> list[Registration]:
    """Read what was announced of models that were changed since they were deployed."""
    found = [event for event in local.target.events(tail=1000) if event["type"] == ENDPOINT]
    told = [msgspec.convert(event["data"], Registration) for event in found]
    return [each for each in told if each.stamp]


def test_a_model_is_served_without_any_code(local: Any, model: Path) -> None:
    done = local.cli("deploy", "--name", "iris", "--model", f"rf:v1={model}", "--track", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "there is no model server yet" not in done.stderr
    asked = json.dumps({"inputs": [ROW]})
    found = local.cli("invoke", "iris", "--path", "/v2/models/rf/infer", "-d", asked)
    assert json.loads(found.stdout)["outputs"] == [0]
    assert "is unchanged" in local.cli("deploy", "--name", "iris", "--model", f"rf:v1={model}", "--track").stdout


def test_another_file_under_the_same_path_makes_a_new_revision(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    data = load_iris(return_X_y=True)
    path.write_bytes(pickle.dumps(LogisticRegression(max_iter=500).fit(*data)))
    function = server(local).add_model("m", path)
    function.deploy(local.target, watch=False)
    path.write_bytes(pickle.dumps(DecisionTreeClassifier().fit(*data)))
    url = function.deploy(local.target, watch=False)
    assert local.target.get("iris").revision == "iris-00002"
    assert url
    assert function.invoke("/v2/models/m")["platform"] == "sklearn_DecisionTreeClassifier"


def test_a_model_that_fails_to_load_fails_the_deployment_and_the_old_revision_serves_on(
    local: Any, model: Path, tmp_path: Path
) -> None:
    function = server(local).add_model("m", model)
    function.deploy(local.target, watch=False)
    code = tmp_path / "bad.py"
    code.write_text(
        "import trimtab\nclass Bad(trimtab.ModelServer):\n    def load(self):\n        raise KeyError('weights')\n"
    )
    worse = (
        trimtab.code_to_function("iris", filename=code, kind="serving")
        .add_model("m", model)
        .add_model("n", class_name="Bad")
    )
    with pytest.raises(DeployFailed, match="model 'n' cannot be loaded: KeyError: 'weights'; the previous") as caught:
        worse.deploy(local.target, watch=False)
    assert 'bad.py", line 4, in load' in caught.value.traceback
    assert function.invoke("/v2/models/m/infer", {"inputs": [ROW]})["outputs"] == [0]


@pytest.mark.slow
def test_models_come_and_go_without_a_deployment_in_every_worker_and_replica_and_after_restarts(
    local: Any, model: Path, tmp_path: Path, until: Until, call: Any
) -> None:
    function = server(local, min=2, max=2, initial=2, workers=2).add_model("m", model)
    function.deploy(local.target, watch=False)
    tree = tmp_path / "tree.pkl"
    tree.write_bytes(pickle.dumps(DecisionTreeClassifier().fit(*load_iris(return_X_y=True))))

    def everywhere(wanted: list[str]) -> bool:
        """Ask often, on new connections: all four processes answer some of them."""
        url = f"{local.target.get('iris').url}v2/models"
        return all(call(url).json()["models"] == wanted for _ in range(24))

    function.load_model("n:v2", tree)
    until(lambda: everywhere(["m", "n:v2"]))
    assert local.target.get("iris").revision == "iris-00001"
    with pytest.raises(
        DeployFailed, match=r"there is no model at '/nowhere.pkl'.*; 'iris' serves what it served before"
    ):
        function.load_model("x", "/nowhere.pkl")
    with pytest.raises(DeployFailed):
        function.load_model("m", "/nowhere.pkl")
    assert function.invoke("/v2/models/m/infer", {"inputs": [ROW]})["outputs"] == [0]

    # a worker dies, then the daemon with all its replicas
    listed = [pid for pid, command in local.processes().items() if "zygote" in command or "trimtab" in command]
    local.kill()
    for pid in listed:
        if pid in local.processes():
            os.kill(pid, signal.SIGKILL)
    local.target.up()
    until(lambda: everywhere(["m", "n:v2"]))

    function.unload_model("m")
    until(lambda: everywhere(["n:v2"]))
    # by the protocol's own extension, known models only
    assert function.invoke("/v2/repository/models/m/load", {}, "POST") == {}
    until(lambda: everywhere(["m", "n:v2"]))
    assert function.invoke("/v2/repository/models/m/unload", {}, "POST") == {}
    until(lambda: everywhere(["n:v2"]))
    with pytest.raises(trimtab.TrimtabError, match="no model 'other' was deployed or added"):
        function.invoke("/v2/repository/models/other/load", {}, "POST")


def test_only_a_model_servers_models_can_be_changed(local: Any) -> None:
    local.deploy("plain", "def handler(event):\n    return 1\n")
    with pytest.raises(Conflict, match="'plain' is no model server: deploy it with kind 'serving'"):
        local.target.change_model("plain", "m", None)


def test_a_logged_model_is_served_in_the_version_that_was_latest_when_it_was_deployed(
    local: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(local.home))
    frame, target = load_iris(return_X_y=True, as_frame=True)
    project = trimtab.get_or_create_project("flowers", context=str(local.code))
    training = frame.assign(species=target)

    def log() -> Any:
        return project.log_model(
            "rf",
            model=LogisticRegression(max_iter=500).fit(frame, target),
            training_set=training,
            label_column="species",
        )

    first = log()
    function = server(local).add_model("m", first.uri).set_tracking()
    function.deploy(local.target, watch=False)
    assert function.invoke("/v2/models/m")["path"] == first.version_uri
    with pytest.raises(
        trimtab.TrimtabError, match=r"feature 'sepal width .cm.' .column 1.: found 'x', allowed: a number"
    ):
        function.invoke("/v2/models/m/infer", {"inputs": [[1, "x", 3, 4]]})
    second = log()
    assert function.invoke("/v2/models/m")["path"] == first.version_uri
    function.load_model("m", second.uri)
    assert function.invoke("/v2/models/m")["path"] == second.version_uri
    until(lambda: changed_by_hand(local))
    assert [(each.endpoint, each.model) for each in changed_by_hand(local)] == [("iris/m", second.version_uri)]


# Scenes by MLRun's names alone: only the import differs

SCENE = """
from cloudpickle import load
import numpy as np
import trimtab as mlrun

class ClassifierModel(mlrun.V2ModelServer):
    def load(self):
        model_file, extra_data = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = load(file)

    def predict(self, body):
        feats = np.asarray(body["inputs"])
        return self.model.predict(feats).tolist()

def handler(context, event):
    context.logger.info_with("called", path=event.path)
    return context.Response(body=f"hello, {event.body['name']}", content_type="text/plain", status_code=200)
"""


def test_scene_a_real_time_function(local: Any) -> None:
    import trimtab as mlrun

    path = local.code / "scene.py"
    path.write_text(SCENE)
    fn = mlrun.code_to_function("echo", filename=str(path), kind="nuclio", image="mlrun/mlrun", handler="handler")
    fn.with_http(workers=1)
    fn.spec.min_replicas = 1
    fn.deploy(local.target, watch=False)
    assert fn.invoke("/x", body={"name": "Ada"}) == b"hello, Ada"


def test_scene_a_model_server(local: Any, model: Path) -> None:
    import trimtab as mlrun

    path = local.code / "scene.py"
    path.write_text(SCENE)
    fn = mlrun.code_to_function("server", filename=str(path), kind="serving", image="mlrun/mlrun")
    fn.add_model("my_model", model_path=str(model), class_name="ClassifierModel")
    fn.add_model("hub", model_path=str(model), class_name="hub://v2_model_server")
    mock = fn.to_mock_server()
    assert mock.test("/v2/models/my_model/infer", body={"inputs": [ROW]})["outputs"] == [0]
    mock.close()
    fn.deploy(local.target, watch=False)
    assert fn.invoke("/v2/models/") == {"models": ["my_model", "hub"]}
    for name in ("my_model", "hub"):
        reply = fn.invoke(f"/v2/models/{name}/infer", body={"inputs": [ROW, [6.5, 3.0, 5.5, 2.0]]})
        assert (reply["model_name"], reply["outputs"]) == (name, [0, 2])


def test_scene_a_tracked_model_server_with_traffic(local: Any, model: Path, until: Until) -> None:
    import trimtab as mlrun

    path = local.code / "scene.py"
    path.write_text(SCENE)
    fn = mlrun.code_to_function("tracked", filename=str(path), kind="serving", image="mlrun/mlrun")
    fn.add_model("my_model", model_path=str(model), class_name="ClassifierModel")
    fn.set_tracking(stream_path="default", batch=10)
    fn.deploy(local.target, watch=False)
    for number in range(25):
        fn.invoke("/v2/models/my_model/infer", body={"id": f"r{number}", "inputs": [ROW]})
    until(lambda: sum(record.rows for record in inferences(local)) == 25)
    records = inferences(local)
    assert {record.endpoint for record in records} == {"tracked/my_model"}
    assert sorted(identity for record in records for identity in record.ids) == sorted(f"r{n}" for n in range(25))
    assert max(record.rows for record in records) <= 10
    assert records[0].predictions[0] == 0
    assert [column[0] for column in records[0].inputs] == ROW
