"""Classes of the user's own: the steps in their order, under MLRun's names, in both protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.handlers.serving.conftest import ROW

import trimtab
from trimtab.errors import HandlerError, ImportFailed, SpecError
from trimtab.project.mock import MockServer
from trimtab.runtime.codec import decode, to_msgpack

Serve = Callable[..., MockServer]
INFER = "/v2/models/m/infer"

STEPS = """
import pickle
import trimtab
from trimtab import PermanentError

class Steps(trimtab.V2ModelServer):
    def __init__(self, context, name, model_path, **params):
        super().__init__(context, name, model_path, **params)
        self.seen = []

    def load(self):
        path, extra = self.get_model(".pkl")
        with open(path, "rb") as file:
            self.model = pickle.load(file)
        self.set_metric("factor", self.get_param("factor", 1))

    def preprocess(self, request, operation):
        self.seen.append(f"preprocess {operation}")
        return request if "inputs" in request else {"inputs": request["rows"]}

    def validate(self, request, operation):
        if len(request["inputs"]) > 3:
            raise ValueError("at most three rows")
        return request

    def predict(self, request):
        found = self.model.predict(request["inputs"]) * self.get_param("factor", 1)
        return found.tolist()

    async def postprocess(self, response):
        return {**response, "steps": self.seen}

    def explain(self, request):
        return [f"because of {len(request['inputs'])} rows"]

    def op_shape(self, request):
        return {"rows": len(request["inputs"]), "params": self.params, "version": self.version}

class Named(trimtab.ModelServer):
    async def predict(self, request):
        return {"sum": [sum(row) for row in request["inputs"]], "most": [max(row) for row in request["inputs"]]}

class Batched(trimtab.ModelServer):
    calls = 0
    def predict(self, request):
        type(self).calls += 1
        if any(row[0] < 0 for row in request["inputs"]):
            raise PermanentError("negative")
        return [row[0] * 2 for row in request["inputs"]]
"""


def test_a_request_runs_through_the_steps(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(STEPS, m={"class_name": "Steps", "model_path": models["iris"], "factor": 10})
    reply = server.test(INFER, {"rows": [ROW, [6.5, 3, 5.5, 2]], "id": "q"})
    assert (reply["id"], reply["outputs"], reply["steps"]) == ("q", [0, 20], ["preprocess infer"])
    assert server.test("/v2/models/m/explain", {"inputs": [ROW]})["outputs"] == ["because of 1 rows"]
    assert server.test("/v2/models/m/metrics")["factor"] == 10
    assert server.test("/v2/models/m/shape", {"inputs": [1, 2]}) == {"rows": 2, "params": {"factor": 10}, "version": ""}


def test_what_validate_raises_is_the_callers_mistake(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(STEPS, m={"class_name": "Steps", "model_path": models["iris"]}, n={"class_name": "Named"})
    reply = server.test(INFER, {"inputs": [ROW] * 4}, silent=True, get_body=False)
    assert (reply.status_code, reply.value) == (400, {"error": "at most three rows"})
    reply = server.test("/v2/models/n/infer", {"inputs": 1}, silent=True, get_body=False)
    assert (reply.status_code, reply.value) == (400, {"error": "'inputs' must be a list of rows"})
    reply = server.test("/v2/models/n/explain", {"inputs": [1]}, silent=True, get_body=False)
    assert (reply.status_code, reply.value) == (501, {"error": "Named has no explain"})


def test_a_class_may_have_several_outputs(serve: Serve) -> None:
    server = serve(STEPS, m={"class_name": "Named"})
    assert server.test(INFER, {"inputs": [[1, 2]]})["outputs"] == {"sum": [3], "most": [2]}
    asked = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT32", "data": [1, 2, 3, 4]}]}
    assert [(one["name"], one["data"]) for one in server.test(INFER, asked)["outputs"]] == [
        ("sum", [3, 7]),
        ("most", [2, 4]),
    ]
    found = server.test(INFER, {**asked, "outputs": [{"name": "most"}]})["outputs"]
    assert [one["name"] for one in found] == ["most"]


def test_a_class_gets_micro_batches_when_it_asks_for_them(serve: Serve) -> None:
    import asyncio

    from trimtab.project.call import request
    from trimtab.project.mock import _exchange

    server = serve(STEPS, m={"class_name": "Batched", "batch": {"size": 16, "wait": "50ms"}})

    async def together() -> list[Any]:
        asked = [request(INFER, {"inputs": [[number]]}, None, None) for number in (1, 2, -1, 3)]
        return await asyncio.gather(*(_exchange(server._app, one) for one in asked))

    replies = server._wait(together())
    assert [reply.status_code for reply in replies] == [200, 200, 400, 200]
    assert [reply.value.get("outputs") for reply in replies] == [[2], [4], None, [6]]
    assert server._app.loaded.instance.repository.entries["m"].batcher.calls == 1


def test_the_handlers_class_is_that_of_models_that_name_none(tmp_path: Path) -> None:
    path = tmp_path / "named.py"
    path.write_text(STEPS)
    function = trimtab.code_to_function(filename=path, handler="Named", kind="serving").add_model("m")
    with function.to_mock_server() as server:
        assert server.test(INFER, {"inputs": [[1, 2]]})["outputs"]["sum"] == [3]


def test_models_are_loaded_at_the_same_time(serve: Serve) -> None:
    code = (
        "import threading, trimtab\nbarrier = threading.Barrier(3, timeout=20)\n"
        "class Meeting(trimtab.ModelServer):\n    def load(self):\n        barrier.wait()\n"
    )
    server = serve(code, **{key: {"class_name": "Meeting"} for key in "abc"})
    assert server.test("/v2/models") == {"models": ["a", "b", "c"]}


def test_a_class_gets_the_arrays_of_a_msgpack_body(serve: Serve) -> None:
    code = (
        "import trimtab\nclass Sum(trimtab.ModelServer):\n    def predict(self, request):\n"
        "        return request['inputs'].sum(axis=1)\n"
    )
    body = to_msgpack({"inputs": np.arange(4.0).reshape(2, 2)})
    reply = serve(code, m={"class_name": "Sum"}).test(INFER, body, content_type="application/msgpack", get_body=False)
    assert decode(reply.body, reply.headers["content-type"])["outputs"].tolist() == [1.0, 5.0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"class_name": "Missing"}, ("model 'm' cannot be loaded: class 'Missing' in 'served' is not there; subclasses of "
                                    "ModelServer there: Steps, Named, Batched")),
        ({"class_name": "Steps", "model_path": "/nowhere/m.pkl"}, "model 'm' cannot be loaded: there is no model at"),
        ({"class_name": "other.Model"}, "model 'm' cannot be loaded: no module 'other'"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_loaded_says_why(serve: Serve, model: dict[str, Any], message: str) -> None:
    with pytest.raises(HandlerError) as caught:
        serve(STEPS, m=model)
    assert str(caught.value).startswith(message)


def test_a_load_that_raises_shows_the_users_frames(serve: Serve) -> None:
    code = "import trimtab\nclass Bad(trimtab.ModelServer):\n    def load(self):\n        raise KeyError('weights')\n"
    with pytest.raises(ImportFailed, match="model 'm' cannot be loaded: KeyError: 'weights'") as caught:
        serve(code, m={"class_name": "Bad"})
    assert 'served.py", line 4, in load' in caught.value.traceback
    assert "trimtab/handlers" not in caught.value.traceback


def test_what_is_no_model_is_refused(serve: Serve, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "text.pkl").write_bytes(pickle.dumps("text"))
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps("text")[:-3])
    with pytest.raises(ImportFailed, match=r"found a str, allowed: an object with predict\(\)"):
        serve(m=tmp_path / "text.pkl")
    with pytest.raises(ImportFailed, match=r"cut\.pkl is no pickle, or is cut short"):
        serve(m=tmp_path / "cut.pkl")


def test_a_file_whose_hash_is_another_is_not_loaded(serve: Serve, models: dict[str, Path]) -> None:
    with pytest.raises(ImportFailed, match=f"expected {'0' * 64}; it is not loaded"):
        serve(m={"model_path": models["iris"], "sha256": "0" * 64})


def test_only_a_model_server_has_models(models: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match=r"spec\.kind: found 'http', allowed: 'serving'"):
        trimtab.new_function("f").add_model("m", models["iris"])
    with pytest.raises(SpecError, match=r"model a b\.key: found 'a b', allowed: a name such as 'churn'"):
        trimtab.new_function("f", kind="serving").add_model("a b", models["iris"])
    with pytest.raises(SpecError, match="key: found 'n', allowed: 'm'"):
        trimtab.new_function("f", kind="serving").add_model("m", models["iris"]).remove_model("n")
