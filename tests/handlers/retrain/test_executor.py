"""What a loop asks for, done for real: a dataset of labelled rows, a comparison, a document, events; and the function around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from trimtab.artifacts import Artifact, get_dataitem, open_store
from trimtab.errors import NotFound, PermanentError, TrimtabError
from trimtab.events import Envelope
from trimtab.handlers.documents import open_documents
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.settings import from_environ
from trimtab.handlers.records import Inference, Label, label_event, to_event
from trimtab.handlers.retrain.executor import Executor
from trimtab.handlers.retrain.function import Handler
from trimtab.handlers.retrain.messages import Compared, RunEnded
from trimtab.handlers.retrain.rows import is_held_out
from trimtab.handlers.retrain.runner import Runner
from trimtab.handlers.retrain.state import Action, Attempt, Loop
from trimtab.handlers.serving import document as models
from trimtab.handlers.serving.register import ENDPOINT as REGISTERED
from trimtab.project.project import get_or_create_project
from trimtab.runtime.binding import read
from trimtab.runtime.event import PING, Event
from trimtab.sketches import Reference
from trimtab.spec import Model
from trimtab.spec.retrain import Comparison, Retrain

ENDPOINT = "shop/churn"


class Sink:
    """Takes events, unless it is away."""

    def __init__(self) -> None:
        self.events: list[Envelope] = []
        self.status = 202
        sink = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if sink.status == 202:
                    headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
                    sink.events.append(read(headers, body))
                self.send_response(sink.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def types(self) -> list[str]:
        return [event.type for event in self.events]


class Shop:
    """A model that was logged, an endpoint with labelled traffic, and an executor over both."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.folder, self.sink, self.draw, self.sent = folder, sink, np.random.default_rng(5), 0
        self.project = get_or_create_project("shop")
        self.monitor = Monitor.open(from_environ({"TRIMTAB_HOME": str(folder)}), lookup=self._reference)
        self.documents = open_documents(f"sqlite://{folder}/state.db")
        self.champion = self.train(flip=False)
        self.challenger = self.train(flip=True)
        self.project.store.tag(self.champion, "latest")
        self.executor = Executor(self.project.store, self.monitor, self.documents, sink.url)

    def train(self, *, flip: bool) -> Artifact:
        frame = self.frame(400, flip=flip)
        model = LogisticRegression().fit(frame[["a", "b"]], frame["left"])
        return self.project.log_model("churn", model=model, training_set=frame, label_column="left")

    def frame(self, rows: int, *, flip: bool) -> pd.DataFrame:
        """Customers; with `flip` the world has turned, and who used to leave stays."""
        frame = pd.DataFrame(self.draw.normal(size=(rows, 2)), columns=["a", "b"])
        return frame.assign(left=((frame["a"] > 0) != flip).astype("int64"))

    def traffic(self, rows: int, *, flip: bool, endpoint: str = ENDPOINT, labels: bool = True) -> list[str]:
        self.sent += 1
        frame, ids = self.frame(rows, flip=flip), [f"r{self.sent}-{row}" for row in range(rows)]
        record = Inference(
            endpoint=endpoint,
            model=self.champion.version_uri,
            function="shop",
            columns=["a", "b"],
            inputs=[frame["a"].tolist(), frame["b"].tolist()],
            predictions=(frame["a"] > 0).astype(int).tolist(),
            ids=ids,
            requests=ids,
            latency_us=[1000] * rows,
            times=[1_000_000.0 + self.sent] * rows,
        )
        self.monitor.accept(to_event(record))
        if labels:
            truth = frame["left"].tolist()
            self.monitor.accept(label_event(Label(endpoint=endpoint, ids=ids, labels=truth), "/lab"))
        self.monitor.tick(flush=True)
        return ids

    def _reference(self, model: str) -> tuple[Reference | None, str]:
        artifact = self.project.store.get(model)
        return Reference.from_json(artifact.read(artifact.model.reference)), ""

    def loop(self, **rule: Any) -> Loop:
        wanted = Retrain(function="train", comparison=Comparison(min_rows=20), **rule)
        return Loop(endpoint=ENDPOINT, champion=self.champion.version_uri, function="shop", revision="r", rule=wanted)

    def wanted(self, **more: Any) -> Action:
        data = {
            "attempt": "a1",
            "function": "train",
            "champion": self.champion.version_uri,
            "challenger": self.challenger.version_uri,
            "mode": "stateless",
            "data": "log",
            "holdout": 0.3,
            "parameters": {"depth": 3},
            "since": 0.0,
            **more,
        }
        return Action(id="t1", kind="train", data=data)


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def shop(tmp_path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    made = Shop(tmp_path, sink)
    yield made
    made.monitor.close()
    made.documents.close()


class TestTraining:
    def test_it_gets_the_labelled_rows_that_are_not_held_out(self, shop: Shop, sink: Sink) -> None:
        ids = shop.traffic(200, flip=True)
        shop.traffic(50, flip=True, labels=False)
        assert shop.executor.do(shop.loop(), shop.wanted()) == []
        (event,) = sink.events
        data = msgspec.json.decode(event.data or b"")
        assert (event.type, event.id, event.attributes["function"]) == ("dev.trimtab.retrain", "t1", "train")
        assert (data["champion"], data["mode"], data["label_column"]) == (
            shop.champion.version_uri,
            "stateless",
            "left",
        )
        assert (data["features"], data["depth"], data["model_name"]) == (["a", "b"], 3, "churn")
        frame = get_dataitem(data["inputs"]["dataset"]).as_df()
        assert list(frame.columns) == ["a", "b", "left"]
        assert frame["left"].dtype == "int64"
        assert len(frame) == sum(not is_held_out(each, 0.3) for each in ids)

    def test_asked_twice_it_gets_the_same_dataset(self, shop: Shop, sink: Sink) -> None:
        shop.traffic(200, flip=True)
        shop.executor.do(shop.loop(), shop.wanted())
        shop.traffic(200, flip=True)
        shop.executor.do(shop.loop(), shop.wanted())
        first, second = (msgspec.json.decode(event.data or b"") for event in sink.events)
        assert first == second

    def test_rows_of_all_versions_that_were_served_count(self, shop: Shop, sink: Sink) -> None:
        shop.traffic(100, flip=True)
        shop.traffic(100, flip=True, endpoint=f"{ENDPOINT}:v2")
        shop.traffic(100, flip=True, endpoint="shop/churnless")
        shop.executor.do(shop.loop(), shop.wanted(holdout=1e-9))
        data = msgspec.json.decode(sink.events[0].data or b"")
        assert len(get_dataitem(data["inputs"]["dataset"]).as_df()) == 200

    def test_a_window_is_the_rows_of_its_time(self, shop: Shop, sink: Sink) -> None:
        for _ in range(3):
            shop.traffic(60, flip=True)
        shop.executor.do(shop.loop(), shop.wanted(data="window", holdout=1e-9, since=1_000_002.0, until=1_000_003.0))
        data = msgspec.json.decode(sink.events[0].data or b"")
        assert len(get_dataitem(data["inputs"]["dataset"]).as_df()) == 60

    def test_a_stateful_one_gets_the_champion_and_new_rows_alone(self, shop: Shop, sink: Sink) -> None:
        for _ in range(3):
            shop.traffic(60, flip=True)
        shop.executor.do(shop.loop(), shop.wanted(mode="stateful", holdout=1e-9, since=1_000_002.0))
        data = msgspec.json.decode(sink.events[0].data or b"")
        assert data["checkpoint"] == shop.champion.version_uri
        assert len(get_dataitem(data["inputs"]["dataset"]).as_df()) == 120

    def test_all_is_with_the_champions_own_training_set_if_it_was_logged(self, shop: Shop, sink: Sink) -> None:
        shop.traffic(60, flip=True)
        (ended,) = shop.executor.do(shop.loop(), shop.wanted(data="all"))
        assert isinstance(ended, RunEnded)
        assert "was not logged as a dataset (log_dataset)" in ended.error
        frame = shop.frame(100, flip=False)
        model = LogisticRegression().fit(frame[["a", "b"]], frame["left"])
        shop.project.log_dataset("rows", frame, label_column="left")
        champion = shop.project.log_model("churn", model=model, training_set=frame, label_column="left")
        action = msgspec.structs.replace(shop.wanted(data="all", holdout=1e-9, champion=champion.version_uri), id="t2")
        shop.executor.do(shop.loop(), action)
        data = msgspec.json.decode(sink.events[0].data or b"")
        assert len(get_dataitem(data["inputs"]["dataset"]).as_df()) == 160

    def test_too_few_rows_are_waited_for(self, shop: Shop, sink: Sink) -> None:
        shop.traffic(5, flip=True)
        with pytest.raises(TrimtabError, match=r"\d rows with labels are there to train on, 20 are needed"):
            shop.executor.do(shop.loop(), shop.wanted())
        assert sink.events == []

    def test_a_sink_that_is_away_is_tried_again(self, shop: Shop, sink: Sink) -> None:
        shop.traffic(200, flip=True)
        sink.status = 503
        with pytest.raises(TrimtabError, match=r"answered 503 to an event 'dev\.trimtab\.retrain'"):
            shop.executor.do(shop.loop(), shop.wanted())


class TestComparison:
    def compare(self, shop: Shop, **more: Any) -> Compared:
        action = msgspec.structs.replace(shop.wanted(**more), kind="compare")
        (found,) = shop.executor.do(shop.loop(), action)
        assert isinstance(found, Compared)
        return found

    def test_champion_and_challenger_answer_the_same_held_out_rows(self, shop: Shop) -> None:
        ids = shop.traffic(300, flip=True)
        found = self.compare(shop)
        assert found.figures is not None
        assert found.figures.rows == sum(is_held_out(each, 0.3) for each in ids)
        assert found.figures.champion < 0.1
        assert found.figures.challenger > 0.9
        assert found.figures.low > 0.8
        assert found.figures.data

    def test_only_rows_of_the_new_world_count(self, shop: Shop) -> None:
        shop.traffic(300, flip=False)
        shop.traffic(300, flip=True)
        figures = self.compare(shop, since=1_000_002.0).figures
        assert figures is not None
        assert figures.champion < 0.1

    def test_with_too_few_rows_there_are_no_figures(self, shop: Shop) -> None:
        shop.traffic(20, flip=True)
        found = self.compare(shop)
        assert found.figures is None
        assert found.rows < 20


def test_a_route_is_written_into_the_models_document(shop: Shop) -> None:
    champion, challenger = shop.champion.version_uri, shop.challenger.version_uri
    data = {"revision": "r", "champion": champion, "shares": {challenger: 20}, "shadow": None}
    shop.executor.do(shop.loop(), Action(id="x", kind="route", data=data))
    changes, _ = models.read(shop.documents, models.name("shop", "r"))
    key = f"churn:{shop.challenger.version}"
    assert changes.routes["churn"] == models.Route(path=champion, challengers={key: challenger}, shares={key: 20})
    data = {"revision": "r", "champion": champion, "shares": {}, "shadow": challenger}
    shop.executor.do(shop.loop(), Action(id="y", kind="route", data=data))
    changes, _ = models.read(shop.documents, models.name("shop", "r"))
    assert changes.routes["churn"].shadow == key


def test_a_model_that_was_changed_by_hand_is_left_alone(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    champion, challenger = shop.champion.version_uri, shop.challenger.version_uri
    loop = msgspec.structs.replace(shop.loop(), champion=champion)
    name = models.name("shop", "r")
    models.change(
        shop.documents, name, lambda changes: changes.with_change("churn", Model(key="churn", path="/mine.pkl"))
    )
    data = {"revision": "r", "champion": champion, "shares": {challenger: 20}, "shadow": None}
    shop.executor.do(loop, Action(id="x", kind="route", data=data))
    assert models.read(shop.documents, name)[0].routes == {}
    assert "shop/churn was changed by hand since it was deployed" in caplog.text
    models.change(shop.documents, name, lambda changes: changes.with_change("churn", Model(key="churn", path=champion)))
    shop.executor.do(loop, Action(id="x", kind="route", data=data))
    assert models.read(shop.documents, name)[0].routes["churn"].path == champion


def test_a_tag_is_moved(shop: Shop) -> None:
    data = {"model": shop.challenger.version_uri, "tag": "latest"}
    shop.executor.do(shop.loop(), Action(id="x", kind="tag", data=data))
    assert open_store().get("store://models/shop/churn").version == shop.challenger.version


def test_traffic_is_what_each_version_answered_since_the_rollout_began(shop: Shop) -> None:
    attempt = Attempt(
        id="a1",
        incident="i",
        stage="shadow",
        since=0.0,
        started=0.0,
        fresh=0.0,
        champion=shop.champion.version_uri,
        challenger=shop.challenger.version_uri,
    )
    assert {each.requests for each in shop.executor.traffic(shop.loop(), attempt).values()} == {0}
    shop.traffic(50, flip=False)
    found = shop.executor.traffic(shop.loop(), attempt)
    ours = found[shop.champion.version_uri]
    assert (ours.requests, ours.errors, ours.latency) == (50, 0, 1000.0)
    assert found[shop.challenger.version_uri].agreement is None


class TestFunction:
    @pytest.fixture
    def handler(self, shop: Shop) -> Handler:
        made = Handler()
        made._executor, made._runner = shop.executor, Runner(shop.documents, shop.executor)
        return made

    def event(self, type: str, data: Any = None, **attributes: str) -> Event:
        return Event.of({"method": "POST", "path": "/"}, b"", data, Envelope({"type": type, **attributes}))

    def register(self, handler: Handler, shop: Shop, **rule: Any) -> None:
        wanted = {"function": "train", "confirm": 1, "comparison": {"minRows": 20}, **rule}
        data = {"endpoint": ENDPOINT, "model": shop.champion.version_uri, "function": "shop", "retrain": wanted}
        handler(None, self.event(REGISTERED, data))

    def drift(self, handler: Handler, shop: Shop) -> None:
        features = [{"name": "a", "state": "detected"}, {"name": "b", "state": "none"}]
        data = {"endpoint": ENDPOINT, "model": shop.champion.version_uri, "severity": "detected", "features": features}
        handler(None, self.event("dev.trimtab.drift", {**data, "start": 1_000_000.0, "end": 1_000_010.0}))

    def test_drift_leads_to_a_training_whose_end_leads_to_a_comparison(
        self, handler: Handler, shop: Shop, sink: Sink
    ) -> None:
        shop.traffic(300, flip=True)
        self.register(handler, shop, rollout={"mode": "approve"})
        self.drift(handler, shop)
        assert {"dev.trimtab.incident", "dev.trimtab.retrain"} <= set(sink.types())
        training = next(event for event in sink.events if event.type == "dev.trimtab.retrain")
        run = {"id": "r1", "state": "succeeded", "artifacts": {"churn": shop.challenger.version_uri, "t": "store://x"}}
        handler(None, self.event("dev.trimtab.run", run, cause=training.id))
        (loop,) = handler(None, Event(path="/"))["loops"]
        assert loop["incident"]["features"] == ["a"]
        assert (loop["attempt"]["stage"], loop["attempt"]["run"]) == ("approve", "r1")
        told = handler(None, Event(method="POST", path=f"/{ENDPOINT}/promote", body={"by": "ada"}))
        assert told["champion"] == shop.challenger.version_uri
        assert told["decisions"][0]["reason"] == "approved by ada"
        assert "dev.trimtab.decision" in sink.types()

    def test_a_tick_does_what_could_not_be_done(self, handler: Handler, shop: Shop, sink: Sink) -> None:
        sink.status = 500
        shop.traffic(300, flip=True)
        self.register(handler, shop)
        self.drift(handler, shop)
        assert sink.events == []
        sink.status = 202
        handler(None, self.event(PING))
        assert "dev.trimtab.retrain" in sink.types()

    def test_the_end_of_another_run_is_nothing_to_it(self, handler: Handler, shop: Shop) -> None:
        self.register(handler, shop)
        before = handler(None, Event(path=f"/{ENDPOINT}"))
        handler(None, self.event("dev.trimtab.run", {"id": "r", "state": "failed"}, cause="somebody"))
        assert handler(None, Event(path=f"/{ENDPOINT}")) == before

    def test_what_it_does_not_take_is_said(self, handler: Handler, shop: Shop) -> None:
        self.register(handler, shop)
        for event, message in (
            (self.event("com.x"), "type: found 'com.x', allowed: dev.trimtab.endpoint, dev.trimtab.drift"),
            (self.event("dev.trimtab.drift", {"endpoint": "e"}), "the data of a dev.trimtab.drift event: "),
            (Event(path="/nope"), "there is no endpoint 'nope'; there is shop/churn"),
            (Event(method="POST", path=f"/{ENDPOINT}/sell"), "found POST /shop/churn/sell, allowed: GET /"),
            (Event(method="POST", path=f"/{ENDPOINT}/promote"), "shop/churn: no attempt is under way; promote is said"),
        ):
            with pytest.raises(PermanentError) as caught:
                handler(None, event)
            assert message in str(caught.value)


def test_a_model_that_is_gone_is_named(shop: Shop) -> None:
    gone = "store://models/shop/gone"
    with pytest.raises(NotFound, match="gone"):
        shop.executor.do(shop.loop(), Action(id="x", kind="tag", data={"model": gone, "tag": "latest"}))
