"""A logged model, served and tracked, is watched by the monitor: all of it real, on the local target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.deploy.local.conftest import Local, call, until
from tests.handlers.monitor.test_function import DOCUMENT, get, send

import trimtab
from trimtab.handlers.monitor import Monitor
from trimtab.handlers.monitor.settings import from_environ
from trimtab.handlers.records import Label, label_event
from trimtab.sketches import CategoricalReference
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.numeric import NumericSketch


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    made = Local(tmp_path / "home of iris")
    monkeypatch.setenv("TRIMTAB_HOME", str(made.home))
    monkeypatch.chdir(made.code)
    yield made
    made.target.down()
    until(lambda: not made.processes(), 15)


def test_a_tracked_model_is_watched_beside_its_training_data_and_labels_tell_its_accuracy(local: Local) -> None:
    frame = load_iris(as_frame=True).frame
    features = frame.drop(columns="target")
    model = LogisticRegression(max_iter=1000).fit(features, frame.target)
    project: Any = trimtab.get_or_create_project("flowers", context=str(local.code))
    logged = project.log_model("iris", model=model, training_set=frame, label_column="target")
    (local.code / "function.yaml").write_text(DOCUMENT)
    watcher: Any = trimtab.import_function(str(local.code / "function.yaml"))
    url = watcher.deploy(watch=False).rstrip("/")
    fn: Any = trimtab.new_function("server", kind="serving")
    fn.add_model("iris", model_path=logged.uri)
    fn.set_tracking(sink="default")
    server = fn.deploy(watch=False).rstrip("/")

    for start in range(0, 150, 10):
        rows = features[start : start + 10].to_numpy().tolist()
        body = f'{{"id": "request-{start}", "inputs": {rows}}}'.encode()
        answer = call(server, body, {"content-type": "application/json"}, path="/v2/models/iris/infer")
        assert answer.status == 200, answer.body
    endpoint = f"endpoint={quote('server/iris', safe='')}"

    def rows_seen() -> int:
        found = get(url, f"/windows?{endpoint}")
        return 0 if found == 404 else sum(window["rows"] for window in found["windows"])

    until(lambda: rows_seen() == 150)
    ids = [f"request-{start}-{row}" for start in range(0, 150, 10) for row in range(10)]
    send(local, label_event(Label(endpoint="server/iris", ids=ids, labels=frame.target.tolist()), "/botanist"))
    monitor = Monitor.open(from_environ({"TRIMTAB_HOME": str(local.home)}))
    until(lambda: monitor.endpoint("server/iris").labels.joined == 150)

    windows = monitor.windows("server/iris")
    reference, sketch = monitor.reference(windows[0]), monitor.merge(windows)
    assert monitor.endpoint("server/iris").unreferenced == ""
    assert reference.inputs == list(features.columns)
    column = sketch.columns["petal length (cm)"]
    assert isinstance(column, NumericSketch)
    own = reference.sketch().columns["petal length (cm)"]
    assert isinstance(own, NumericSketch)
    assert column.bins.tolist() == own.bins.tolist()  # the very rows of the training set
    predicted = sketch.columns["prediction"]
    assert isinstance(reference["prediction"], CategoricalReference)
    assert reference["prediction"].levels == ["0", "1", "2"]
    assert isinstance(predicted, CategoricalSketch)
    assert predicted.counts.sum() == 150
    assert [found.name for found in reference.columns if found.role == "probability"] == [
        f"probability:{name}" for name in (0, 1, 2)
    ]
    performances = [monitor.performance(window) for window in windows]
    assert sum(found.joined for found in performances) == 150
    assert sum(found.correct for found in performances) == int((model.predict(features) == frame.target).sum())
    assert time.time() - windows[0].opened < 600
    monitor.close()
