"""Tracking: what the records hold, that the sample is fair, and that no sink can slow, fail or lose anything."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.handlers.serving.conftest import IRIS, ROW

from trimtab.errors import SpecError
from trimtab.handlers.records import INFERENCE, Inference, decode, from_event
from trimtab.handlers.serving.register import ENDPOINT, Registration
from trimtab.handlers.serving.tracker import Row, Tracker
from trimtab.project.mock import MockServer
from trimtab.runtime.binding import read
from trimtab.spec import Tracking

Serve = Callable[..., MockServer]
INFER = "/v2/models/m/infer"
DEADLINE = 30.0


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


def records(server: MockServer) -> list[Inference]:
    found = [from_event(event) for event in server.events if event.type == INFERENCE]
    return [record for record in found if isinstance(record, Inference)]


def tracked(**settings: Any) -> Callable[[Any], Any]:
    return lambda function: function.set_tracking(**settings)


def test_a_record_holds_what_was_asked_and_answered(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m__v2=models["named"], change=tracked(batch=3))
    server.test(INFER, {"inputs": [ROW, ROW], "id": "a"})
    server.test(INFER, {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}], "id": "b"})
    (record,) = until(lambda: records(server))
    assert (record.endpoint, record.function, record.model_version) == ("served/m:v2", "served", "v2")
    assert (record.model, record.model_class) == (str(models["named"]), "BuiltIn")
    assert (record.columns, record.inputs) == (IRIS, [[value] * 3 for value in ROW])
    assert (record.predictions, record.classes, record.sample) == ([0, 0, 0], [0, 1, 2], 1.0)
    assert (record.ids, record.requests) == (["a-0", "a-1", "b"], ["a", "a", "b"])
    assert record.probabilities is not None
    assert np.allclose(np.sum(np.array(record.probabilities, dtype=float), axis=1), 1.0)
    assert all(0 < latency < 30_000_000 for latency in record.latency_us)


def test_whoever_watches_is_told_what_is_served_and_by_which_rule(serve: Serve, models: dict[str, Path]) -> None:
    def watched(function: Any) -> Any:
        return function.set_tracking().set_retraining("train", confirm=1, rollout={"mode": "shadow"})

    server = serve(m=models["iris"], n=models["gaps"], change=watched)
    first, second = until(lambda: [event for event in server.events if event.type == ENDPOINT])
    told = msgspec.json.decode(first.data or b"", type=Registration)
    assert (told.endpoint, told.model, told.function) == ("served/m", str(models["iris"]), "served")
    assert told.retrain is not None
    assert (told.retrain.function, told.retrain.confirm, told.retrain.rollout.mode) == ("train", 1, "shadow")
    assert (first.attributes["endpoint"], second.attributes["subject"]) == ("served/m", "served/n")


def test_rows_may_have_ids_of_their_own(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"], change=tracked(batch=2))
    server.test(INFER, {"inputs": [ROW, ROW], "ids": ["order 1", "order 2"]})
    assert until(lambda: records(server))[0].ids == ["order 1", "order 2"]


def test_a_part_of_a_batch_goes_out_by_its_age_and_at_the_end(serve: Serve, models: dict[str, Path]) -> None:
    by_age = serve(m=models["iris"], change=tracked(age="20ms"))
    by_age.test(INFER, {"inputs": [ROW]})
    assert until(lambda: records(by_age))[0].rows == 1
    at_the_end = serve(m=models["iris"], change=tracked(age="1h"))
    at_the_end.test(INFER, {"inputs": [ROW]})
    assert records(at_the_end) == []
    at_the_end.close()
    assert records(at_the_end)[0].rows == 1


def test_a_large_request_is_cut_into_events(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"], change=tracked(batch=4))
    server.test(INFER, {"inputs": [ROW] * 10, "id": "a"})
    until(lambda: sum(record.rows for record in records(server)) == 10)
    assert [record.rows for record in records(server)] == [4, 4, 2]
    assert [identity for record in records(server) for identity in record.ids] == [f"a-{n}" for n in range(10)]


SLOW = """
import time
import trimtab

class Slow(trimtab.ModelServer):
    def predict(self, request):
        time.sleep(1.1)
        return [0]

class Failing(trimtab.ModelServer):
    def predict(self, request):
        raise RuntimeError("no")

class Choosy(trimtab.ModelServer):
    def predict(self, request):
        self.set_metric("seen", len(request["inputs"]))
        return {"predict": ["yes"], "probabilities": [[0.9, 0.1]], "text": ["long"]}

    def logged_results(self, request, response, op):
        return [["kept"]], None
"""


def test_a_latency_of_more_than_a_second_does_not_wrap(serve: Serve) -> None:
    server = serve(SLOW, m={"class_name": "Slow"}, change=tracked(batch=1))
    server.test(INFER, {"inputs": [[1]]})
    assert until(lambda: records(server))[0].latency_us[0] > 1_000_000


def test_failures_are_counted_in_the_next_record(serve: Serve) -> None:
    server = serve(SLOW, m={"class_name": "Failing"}, change=tracked(age="20ms"))
    server.test(INFER, {"inputs": [[1]]}, silent=True)
    (record,) = until(lambda: records(server))
    assert (record.rows, record.errors) == (0, 1)


def test_a_class_chooses_what_is_recorded(serve: Serve) -> None:
    server = serve(SLOW, m={"class_name": "Choosy"}, change=tracked(batch=1))
    server.test(INFER, {"inputs": [["raw"]]})
    (record,) = until(lambda: records(server))
    assert (record.inputs, record.predictions, record.probabilities) == ([["kept"]], ["yes"], [[0.9, 0.1]])
    assert record.metrics == {"seen": 1}


def test_numpys_own_numbers_are_recorded(serve: Serve) -> None:
    code = (
        "import numpy as np, trimtab\nclass Own(trimtab.ModelServer):\n    classes = np.array([0, 1])\n"
        "    def predict(self, request):\n        return [np.int64(1), np.float32('inf')]\n"
    )
    server = serve(code, m={"class_name": "Own"}, change=tracked(batch=1))
    assert server.test(INFER, {"inputs": [[1], [2]]})["outputs"] == [1, "Infinity"]
    (record, *_) = until(lambda: records(server))
    assert (record.predictions[0], record.classes) == (1, [0, 1])


class Shy:
    """Has the method, and says that it has no probabilities when it is called, as a wrapper of a regressor may."""

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows))

    def predict_proba(self, rows: Any) -> Any:
        raise AttributeError("this one has none")


def test_a_model_whose_probabilities_cannot_be_had_is_served_and_tracked_without(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "shy.pkl"
    path.write_bytes(cloudpickle.dumps(Shy()))
    server = serve(m=path, change=tracked(batch=1))
    asked = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    reply = server.test(INFER, {**asked, "outputs": [{"name": "predict_proba"}]}, silent=True)
    assert reply == {"error": "outputs: found 'predict_proba', allowed: 'predict'"}
    assert server.test(INFER, asked)["outputs"][0]["data"] == [0.0]
    assert all(record.probabilities is None for record in until(lambda: records(server)))


def test_the_sample_is_drawn_by_request_and_each_has_the_same_chance() -> None:
    async def scene() -> list[int]:
        context: Any = type("C", (), {"emitter": None, "function": "f", "revision": "r"})
        tracker = Tracker(context, Tracking(sample=0.25), draw=random.Random(7).random)
        chosen = [number for number in range(20_000) if tracker.wanted()]
        await tracker.stop()
        return chosen

    chosen = asyncio.run(scene())
    share = len(chosen) / 20_000
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 20_000) ** 0.5
    # periodic traffic must not meet a periodic sample: each residue gets its share
    for residue in range(10):
        part = sum(number % 10 == residue for number in chosen) / 2_000
        assert abs(part - 0.25) < 5 * (0.25 * 0.75 / 2_000) ** 0.5


def test_what_finds_no_room_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.handlers.serving.tracker.MOST_ROWS", 5)
    hold = threading.Event()

    class Emitter:
        def emit(self, event: Any) -> None:
            hold.wait(DEADLINE)

    async def scene() -> int:
        context: Any = type("C", (), {"emitter": Emitter(), "function": "f", "revision": "r"})
        entry: Any = type(
            "E", (), {"key": "m", "version": "", "uri": "p", "server": type("S", (), {"metrics": {}, "artifact": None})}
        )
        tracker = Tracker(context, Tracking(batch=2))
        for number in range(20):
            tracker.record(entry, Row(np.zeros((1, 1)), [0], None, str(number), None, 1, 0.0))
        dropped = tracker.dropped
        hold.set()
        await tracker.stop()
        assert tracker.recorded + tracker.dropped == 20
        return dropped

    assert asyncio.run(scene()) >= 14


def test_mlruns_settings_are_taken(models: dict[str, Path]) -> None:
    import trimtab

    function = trimtab.new_function("f", kind="serving").set_tracking(
        stream_path="http://127.0.0.1:1/in", sample=10, batch=5
    )
    assert function.spec.tracking == Tracking(sample=0.1, batch=5)
    assert function.spec.sink.uri == "http://127.0.0.1:1/in"
    assert function.set_tracking(enable_tracking=False).spec.tracking is None
    with pytest.raises(SpecError, match="sink: found 'kafka://x', allowed: a broker's name such as 'default'"):
        function.set_tracking("kafka://x")
    with pytest.raises(SpecError, match=r"tracking\.sample: found 0, allowed: a number from 1e-06 to 1"):
        function.set_tracking(sample=0)
    with pytest.raises(SpecError, match="allowed: 'serving', for a function whose models are tracked"):
        trimtab.new_function("f").set_tracking()


# A replica of its own, and a sink that misbehaves


class Sink:
    """Takes events; `mood` says how: well, error (500), block (no answer), or gone (nobody listens)."""

    def __init__(self) -> None:
        self.mood = "well"
        self.records: dict[str, Inference] = {}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.server: http.server.ThreadingHTTPServer | None = None
        self.open()

    def open(self) -> None:
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if sink.server is None:  # closed, and this connection is still open
                    self.close_connection = True
                    return
                if sink.mood == "block":
                    end = time.monotonic() + DEADLINE
                    while sink.mood == "block" and time.monotonic() < end:
                        time.sleep(0.01)
                    self.close_connection = True
                    return
                if sink.mood == "well":
                    event = read([(k.lower().encode(), v.encode()) for k, v in self.headers.items()], body)
                    if event.type == INFERENCE:
                        sink.records[event.id] = decode(event.data or b"")
                self.send_response(202 if sink.mood == "well" else 500)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        if self.server is not None:
            closing, self.server = self.server, None
            closing.shutdown()
            closing.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.mood = "well"
    made.close()


@pytest.fixture
def replica(tmp_path: Path, sink: Sink) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """Serve a tracked model as an image's entry point does, by environment variables alone."""
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        **os.environ,
        "TRIMTAB_KIND": "serving",
        "TRIMTAB_MODELS": json.dumps([{"key": "m", "path": str(path)}]),
        "TRIMTAB_TRACKING": json.dumps({"batch": 20, "age": "100ms"}),
        "TRIMTAB_SPOOL": str(tmp_path / "spool"),
        "K_SINK": f"http://127.0.0.1:{sink.port}/",
        "K_SERVICE": "iris",
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "trimtab", "serve"]
    child = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: _status(port) == 200)
    yield child, port, tmp_path
    child.kill()
    child.wait()


def _status(port: int) -> int:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def figure(port: int, name: str, label: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(rf"^{name}{{[^}}]*{label}[^}}]*}} (\d+)$", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


def ask(port: int, count: int, first: int) -> None:
    """Ask so many times on one connection; every answer must be right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for number in range(first, first + count):
        connection.request("POST", INFER, json.dumps({"inputs": [ROW], "id": f"r{number}"}))
        response = connection.getresponse()
        body = response.read()
        assert (response.status, json.loads(body)["outputs"]) == (200, [0]), body
    connection.close()


def test_a_sink_that_dies_blocks_and_fails_costs_no_prediction_and_loses_no_record(
    replica: tuple[subprocess.Popen[bytes], int, Path], sink: Sink
) -> None:
    _, port, _ = replica
    asked = 0
    for mood in ("well", "gone", "block", "error", "well"):
        if mood == "gone":
            sink.close()
        elif sink.server is None:
            sink.open()
        sink.mood = mood
        ask(port, 300, asked)
        asked += 300
    until(lambda: sum(record.rows for record in sink.records.values()) == asked)
    ids = sorted(identity for record in sink.records.values() for identity in record.ids)
    assert ids == sorted(f"r{number}" for number in range(asked))
    assert figure(port, "trimtab_tracked_rows_total", 'state="dropped"') == 0
    assert figure(port, "trimtab_emitted_events_total", 'state="dropped"') == 0


def test_records_that_a_dead_sink_did_not_take_outlive_the_replica(
    replica: tuple[subprocess.Popen[bytes], int, Path], sink: Sink
) -> None:
    child, port, folder = replica
    sink.close()
    ask(port, 50, 0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 0
    assert list((folder / "spool").glob("*/*.seg"))
