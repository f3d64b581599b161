"""The loop on scikit-learn's breast cancer data: a model in service, a world that changes, and the better model that follows.

`make demo` plays it, and so does, step by step:

    python clinic.py open       train a first model, serve it, watch it
    python clinic.py quiet      patients come until four windows were judged
    python clinic.py change     they come, measured by a new microscope, until a challenger is promoted or refused
    python clinic.py trifle     they come, one thing measured a little differently, until four windows were judged

Windows last two seconds here, so that it is over in a minute; an hour is usual.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import sys
import time
from urllib.parse import urlsplit

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import trimtab
from trimtab.config import settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.handlers.documents import open_documents
from trimtab.handlers.drift.progress import Reports
from trimtab.handlers.retrain.runner import Runner

ENDPOINT = "clinic/tumour"
SHIFT = {"mean radius": 2.0, "worst radius": 2.5, "worst area": 2.0}
"""A new microscope: three of thirty measurements come out larger, by so many standard deviations."""
TRIFLE = {**SHIFT, "mean smoothness": 0.05}


class Clinic:
    """Patients, the model that classifies their tumours, and what watches it."""

    def __init__(self, target, home: pathlib.Path) -> None:
        data = load_breast_cancer(as_frame=True)
        self.target, self.home = target, home
        self.inputs, self.truth = data.data, data.target.rename("benign")
        self.deviation = self.inputs.std()
        self.draw = np.random.default_rng(7)
        self.shift: dict[str, float] = {}
        self.visits = self.failed = 0
        self.day = f"{time.time():.0f}"
        self.project = trimtab.get_or_create_project("clinic", context=pathlib.Path(__file__).parent)

    def rows(self, count: int):
        """Patients of the data, measured a little differently each time, by today's microscope."""
        chosen = self.draw.integers(0, len(self.inputs), count)
        noise = self.draw.normal(size=(count, self.inputs.shape[1])) * self.deviation.to_numpy() * 0.05
        found = self.inputs.iloc[chosen].reset_index(drop=True) + noise
        for name, size in self.shift.items():
            found[name] += size * self.deviation[name]
        return found, self.truth.iloc[chosen].reset_index(drop=True)

    def open(self):
        """Train a first model, log it with its training set, watch it, and serve it."""
        inputs, truth = self.rows(3000)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(inputs, truth)
        fresh, answers = self.rows(1000)
        self.first = self.project.log_model(
            "tumour",
            model=model,
            training_set=inputs.assign(benign=truth),
            label_column="benign",
            metrics={"accuracy": float(model.score(fresh, answers))},
        )
        self.project.enable_model_monitoring("2s", flush="0.3s", lateness="0.7s", look="1s", target=self.target)
        train = self.project.set_function("retrain.py", name="retrain", kind="job", handler="train")
        serve = trimtab.new_function("clinic", kind="serving")
        serve.add_model("tumour", model_path=self.first.uri)
        serve.set_tracking(age="0.2s")
        serve.set_retraining(
            train,
            data="window",
            cooldown="5s",
            comparison={"metric": "accuracy", "minRows": 60},
            rollout={
                "mode": "canary",
                "steps": [20, 50],
                "interval": "2s",
                "guard": {"minRequests": 20, "latency": 20},
            },
        )
        train.deploy(self.target, watch=False)
        return serve.deploy(self.target, watch=False)

    def visit(self, count: int = 80) -> None:
        """Classify some patients, ten in a request; the laboratory then tells what was true."""
        inputs, truth = self.rows(count)
        ids: list[str] = []
        for at in range(0, count, 10):
            self.visits += 1
            name = f"{self.day}-{self.visits}"
            ids += [f"{name}-{place}" for place in range(10)]
            self.failed += self._ask({"id": name, "inputs": inputs.iloc[at : at + 10].to_numpy().tolist()}) != 200
        self.project.log_labels(ENDPOINT, ids, truth.tolist(), target=self.target)

    def _ask(self, body: dict) -> int:
        connection = http.client.HTTPConnection(urlsplit(self.target.get("clinic").url).netloc, timeout=20)
        try:
            connection.request(
                "POST", "/v2/models/tumour/infer", json.dumps(body), {"content-type": "application/json"}
            )
            return connection.getresponse().status
        finally:
            connection.close()

    def reports(self, since: float = 0.0, model: str = "") -> list:
        """What the drift check found (about windows that this model answered), oldest first."""
        documents = open_documents(f"sqlite://{self.home}/state.db")
        try:
            found = [each for each in Reports(documents).latest(ENDPOINT, 1000) if (each.start or 0.0) >= since]
            return [each for each in found if model in ("", each.model)]
        finally:
            documents.close()

    def judged(self, windows: int, within: float = 60.0) -> list[str]:
        """Have patients come until so many windows of today's champion were judged; give the verdicts."""
        began, champion, verdicts = time.time(), self.loop().champion, []
        while len(verdicts) < windows and time.time() < began + within:
            self.visit()
            reports = self.reports(began, champion) if champion else self.reports(began)
            verdicts = [each.severity for each in reports if each.severity != "unknown"]
        return verdicts

    def decided(self, within: float = 120.0):
        """Have patients come until an attempt has ended; give the decision."""
        before, began = len(self.loop().decisions), time.time()
        while len(self.loop().decisions) == before and time.time() < began + within:
            self.visit()
        return self.loop().decisions[-1]

    def loop(self):
        """How the loop stands: champion, incident, attempt, decisions."""
        documents = open_documents(f"sqlite://{self.home}/state.db")
        try:
            return Runner(documents, None).loop(ENDPOINT)
        finally:
            documents.close()


def main(step: str) -> None:
    here = settings()
    clinic = Clinic(LocalTarget(here), here.home)
    if step == "open":
        url = clinic.open()
        print(f"{url} serves {clinic.first.uri}, accuracy {clinic.first.spec.metrics['accuracy']:.3f}")
    elif step == "quiet":
        print("verdicts:", *clinic.judged(4))
    elif step == "change":
        clinic.shift = SHIFT
        decision = clinic.decided()
        print(f"the challenger is {decision.outcome}: {decision.reason}")
    elif step == "trifle":
        clinic.shift = TRIFLE
        print("verdicts:", *clinic.judged(4))
    else:
        sys.exit("usage: python clinic.py open|quiet|change|trifle")


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])
