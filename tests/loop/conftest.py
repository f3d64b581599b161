"""A clinic that classifies tumours: scikit-learn's breast cancer data, a world that can shift, and everything that watches."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.deploy.local.conftest import Local, until

import trimtab
from trimtab.errors import TrimtabError
from trimtab.handlers.retrain.state import Loop
from trimtab.project.project import Project

ENDPOINT = "clinic/tumour"
TRAIN = """
def train(context, dataset, label_column: str, model_name: str):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = dataset.as_df()
    inputs, truth = rows.drop(columns=[label_column]), rows[label_column]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(inputs, truth)
    context.log_model(model_name, model=model, training_set=rows, label_column=label_column)
    context.log_result("rows", len(rows))
"""
RULE: dict[str, Any] = {
    "confirm": 2,
    "close_after": 2,
    "cooldown": "5s",
    "data": "window",
    "comparison": {"minRows": 60},
    "rollout": {"steps": [20, 50], "interval": "2s", "guard": {"minRequests": 20, "latency": 20}},
}


class Clinic:
    """Data, a model in service, and its traffic. `shift` moves features by so many standard deviations."""

    def __init__(self, local: Local, folder: Path) -> None:
        from sklearn.datasets import load_breast_cancer

        data = load_breast_cancer(as_frame=True)
        self.local, self.inputs, self.truth = local, data.data, data.target.rename("benign")
        self.deviation = self.inputs.std()
        self.draw = np.random.default_rng(7)
        self.shift: dict[str, float] = {}
        self.sent = self.failed = 0
        (folder / "train.py").write_text(TRAIN, "utf-8")
        self.project: Project = trimtab.get_or_create_project("clinic", context=folder)

    def rows(self, count: int) -> tuple[Any, Any]:
        """Draw rows of today's world: patients of the data, measured a little differently each time."""
        chosen = self.draw.integers(0, len(self.inputs), count)
        noise = self.draw.normal(size=(count, self.inputs.shape[1])) * self.deviation.to_numpy() * 0.05
        found = self.inputs.iloc[chosen].reset_index(drop=True) + noise
        for name, size in self.shift.items():
            found[name] += size * self.deviation[name]
        return found, self.truth.iloc[chosen].reset_index(drop=True)

    def deploy(self, **rule: Any) -> None:
        """Train, log, watch and serve."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        target, (inputs, truth) = self.local.target, self.rows(3000)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(inputs, truth)
        fresh, answers = self.rows(1000)
        self.first = self.project.log_model(
            "tumour",
            model=model,
            training_set=inputs.assign(benign=truth),
            label_column="benign",
            metrics={"accuracy": float(model.score(fresh, answers))},
        )
        self.project.enable_model_monitoring("2s", flush="0.3s", lateness="0.7s", look="1s", target=target)
        train = self.project.set_function("train.py", name="train", kind="job", handler="train")
        serve = trimtab.new_function("clinic", kind="serving")
        serve.metadata.project = "clinic"
        serve.add_model("tumour", model_path=self.first.uri).set_tracking(age="0.2s")
        serve.set_retraining(train, **{**RULE, **rule})
        train.deploy(target, watch=False)
        self.url = serve.deploy(target, watch=False)

    def visit(self, count: int = 80) -> None:
        """Send patients in requests of ten, and tell their truth. A request that fails is counted."""
        inputs, truth = self.rows(count)
        known: dict[str, int] = {}
        for at in range(0, count, 10):
            self.sent += 1
            name = f"visit-{self.sent}"
            if self._ask({"id": name, "inputs": inputs.iloc[at : at + 10].to_numpy().tolist()}):
                known.update((f"{name}-{place}", int(truth.iloc[at + place])) for place in range(10))
            else:
                self.failed += 1
        with contextlib.suppress(TrimtabError):  # while the broker is away, rows stay without a label
            self.project.log_labels(ENDPOINT, list(known), list(known.values()), target=self.local.target)

    def _ask(self, body: Any) -> bool:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            connection.request(
                "POST", "/v2/models/tumour/infer", json.dumps(body), {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except OSError:
            return False
        finally:
            connection.close()

    # What is known

    def loop(self) -> Loop:
        """The endpoint's loop, from the file itself: it is there while its function is not."""
        from trimtab.handlers.documents import open_documents
        from trimtab.handlers.retrain.runner import Runner

        documents = open_documents(f"sqlite://{self.local.home}/state.db")
        try:
            return Runner(documents, None).loop(ENDPOINT)  # type: ignore[arg-type]
        finally:
            documents.close()

    def reports(self) -> list[Any]:
        """All reports on the endpoint, oldest first."""
        from trimtab.handlers.documents import open_documents
        from trimtab.handlers.drift.progress import Reports

        documents = open_documents(f"sqlite://{self.local.home}/state.db")
        try:
            return Reports(documents).latest(ENDPOINT, 1000)
        finally:
            documents.close()

    def visit_until(self, condition: Any, within: float = 90.0) -> None:
        """Have patients come until the condition holds."""

        def holds() -> Any:
            self.visit()
            return condition()

        until(holds, within)


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    home = tmp_path / "Zuhause mit Ümlaut"
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    folder = tmp_path / "code"
    folder.mkdir()
    local = Local(home)
    yield Clinic(local, folder)
    local.target.down()
    left = local.processes()
    until(lambda: not local.processes(), 15)
    assert not local.processes(), left
