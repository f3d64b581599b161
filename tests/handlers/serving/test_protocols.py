"""Both protocols over the real application: what is asked, what is answered, and who is to blame when it fails."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.handlers.serving.conftest import IRIS, ROW

from trimtab.project.mock import MockServer
from trimtab.runtime.codec import decode, to_msgpack

Serve = Callable[..., MockServer]
INFER = "/v2/models/m/infer"


def tensor(data: Any, *shape: int, name: str = "x", datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


def refused(server: MockServer, body: Any, path: str = INFER, **more: Any) -> tuple[int, str]:
    """Ask what is to be refused; give the status and the message."""
    reply = server.test(path, body, silent=True, get_body=False, **more)
    return reply.status_code, reply.value["error"]


# MLRun's


@pytest.mark.parametrize(
    "path", [INFER, "/v2/models/m/predict", "//v2//models/m//infer", "/v2/models/m", "/v2/models/m/infer/"]
)
def test_rows_are_answered_under_mlruns_paths(serve: Serve, models: dict[str, Path], path: str) -> None:
    reply = serve(m=models["iris"]).test(path, {"inputs": [ROW, ROW], "id": "r1"})
    assert {**reply, "timestamp": ""} == {"id": "r1", "model_name": "m", "outputs": [0, 0], "timestamp": ""}


def test_models_are_listed_and_described(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m__v1=models["iris"], m__v2=models["named"], n=models["gaps"])
    assert server.test("/v2/models") == {"models": ["m:v1", "m:v2", "n"]}
    assert server.test("/")["name"] == "served"
    described = server.test("/v2/models/m/versions/v2")
    assert (described["name"], described["version"], described["versions"]) == ("m", "v2", ["v1", "v2"])
    assert described["platform"] == "sklearn_LogisticRegression"
    assert described["inputs"][0]["parameters"] == {"columns": IRIS}
    assert described["outputs"][1] == {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]}


def test_a_version_is_chosen_by_the_path_and_else_the_last_one_added(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m__v1=models["iris"], m__v2=models["gaps"])
    assert server.test("/v2/models/m/versions/v1/infer", {"inputs": [ROW]})["model_version"] == "v1"
    assert server.test("/v2/models/m:v1/infer", {"inputs": [ROW]})["model_version"] == "v1"
    assert server.test(INFER, {"inputs": [ROW]})["model_version"] == "v2"


def test_the_body_may_name_model_and_operation(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(a=models["iris"], b=models["gaps"])
    assert server.test("/", {"inputs": [ROW]})["model_name"] == "a"
    assert server.test("/v2/models", {"model": "b", "operation": "predict", "inputs": [ROW]})["model_name"] == "b"


def test_mappings_are_put_in_the_models_order(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["named"])
    row = dict(zip(reversed(IRIS), reversed(ROW), strict=True))
    for path in ("/v2/models/m/infer_dict", "/v2/models/m/predict_dict", INFER):
        assert server.test(path, {"inputs": [row]})["outputs"] == [0]
    by_columns = {"inputs": [ROW[::-1]], "columns": IRIS[::-1]}
    assert server.test(INFER, by_columns)["outputs"] == [0]


def test_msgpack_carries_arrays_both_ways(serve: Serve, models: dict[str, Path]) -> None:
    body = to_msgpack({"inputs": np.array([ROW, ROW], dtype="float32")})
    reply = serve(m=models["iris"]).test(INFER, body, content_type="application/msgpack", get_body=False)
    found = decode(reply.body, reply.headers["content-type"])
    assert isinstance(found["outputs"], np.ndarray)
    assert found["outputs"].tolist() == [0, 0]


def test_a_cloudevent_is_answered_with_one(serve: Serve, models: dict[str, Path]) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "e1", "ce-source": "/s", "ce-type": "ask"}
    reply = serve(m=models["iris"]).test(INFER, {"inputs": [ROW]}, headers=headers, get_body=False)
    assert reply.headers["ce-type"] == "ask.reply"
    assert (reply.value["id"], reply.value["outputs"]) == ("e1", [0])


# The Open Inference Protocol


def test_health_and_metadata_of_the_protocol(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    assert server.test("/v2/health/live") == {"live": True}
    assert server.test("/v2/health/ready") == {"ready": True}
    assert server.test("/v2/models/m/ready") == {"name": "m", "ready": True}
    assert server.test("/v2")["extensions"] == ["binary_tensor_data", "model_repository"]
    assert server.test("/v2/repository/index", method="POST")[0]["state"] == "READY"


def test_a_tensor_of_rows_is_answered_with_a_tensor(serve: Serve, models: dict[str, Path]) -> None:
    reply = serve(m=models["iris"]).test(INFER, {"id": "q", "inputs": [tensor(ROW + ROW, 2, 4, datatype="FP32")]})
    assert reply == {
        "model_name": "m",
        "id": "q",
        "outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 0]}],
    }


def test_outputs_are_chosen(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    reply = server.test(INFER, {"inputs": [tensor(ROW, 1, 4)], "outputs": [{"name": "predict_proba"}]})
    assert [(one["name"], one["shape"]) for one in reply["outputs"]] == [("predict_proba", [1, 3])]
    assert refused(server, {"inputs": [tensor(ROW, 1, 4)], "outputs": [{"name": "y"}]}) == (
        400,
        "outputs: found 'y', allowed: 'predict', 'predict_proba'",
    )


def test_a_tensor_for_each_feature_in_any_order(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["named"], mixed=models["mixed"])
    inputs = [tensor([value], 1, name=name) for name, value in zip(IRIS[::-1], ROW[::-1], strict=True)]
    assert server.test(INFER, {"inputs": inputs})["outputs"][0]["data"] == [0]
    assert refused(server, {"inputs": inputs[1:]})[1].startswith(
        "inputs: missing: 'petal width (cm)'; allowed: 'sepal length (cm)'"
    )


def test_binary_tensors_both_ways(serve: Serve, models: dict[str, Path]) -> None:
    content = np.array(ROW, dtype="<f2").tobytes()
    asked = {
        "inputs": [
            {"name": "x", "shape": [1, 4], "datatype": "FP16", "parameters": {"binary_data_size": len(content)}}
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(asked).encode()
    server = serve(m=models["iris"])
    for content_type in ("application/octet-stream", "application/json"):
        headers = {"Inference-Header-Content-Length": str(len(head)), "content-type": content_type}
        reply = server.test(INFER, head + content, headers=headers, get_body=False)
        length = int(reply.headers["inference-header-content-length"])
        said = json.loads(reply.body[:length])
        assert said["outputs"] == [
            {"name": "predict", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}
        ]
        assert struct.unpack("<q", reply.body[length:]) == (0,)


@pytest.mark.parametrize(
    ("length", "body", "message"),
    [
        ("x", b"{}", "Inference-Header-Content-Length: found 'x', allowed: a length up to the body's, 2"),
        ("9", b"{}", "Inference-Header-Content-Length: found '9', allowed: a length up to the body's, 2"),
        ("2", b"{}abc", "body: not an inference request: Object missing required field `inputs`"),
        ("13", b'{"inputs":[]}', "inputs: found no tensor, allowed: at least one"),
    ],
)
def test_a_broken_binary_request_is_refused(
    serve: Serve, models: dict[str, Path], length: str, body: bytes, message: str
) -> None:
    headers = {"Inference-Header-Content-Length": length, "content-type": "application/octet-stream"}
    assert refused(serve(m=models["iris"]), body, headers=headers) == (400, message)


def test_binary_data_must_be_used_up(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    for size, message in (
        (9, "binary_data_size: found 9, allowed: 0 to 8"),
        (4, "found 4 bytes behind the last tensor"),
    ):
        asked = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": size}}]}
        head = json.dumps(asked).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        status, error = refused(server, head + bytes(8), headers=headers)
        assert (status, message in error) == (400, True)


def test_a_pipeline_of_words_and_numbers_gets_a_frame(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["mixed"])
    assert server.test(INFER, {"inputs": [[1, "red"], [2.5, "blue"]]})["outputs"] == [0, 1]
    inputs = [tensor(["red", "blue"], 2, name="colour", datatype="BYTES"), tensor([1, 2], 2, name="size")]
    assert server.test(INFER, {"inputs": inputs})["outputs"][0]["data"] == [0, 1]
    assert [one["name"] for one in server.test("/v2/models/m")["inputs"]] == ["size", "colour"]


# Who is to blame


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("iris", {"inputs": [[1, 2, 3]]}, "inputs: found 3 columns, allowed: 4"),
        (
            "named",
            {"inputs": [[1, 2, 3]]},
            "inputs: found 3 columns, allowed: 4: 'sepal length (cm)', 'sepal width (cm)'",
        ),
        ("iris", {"inputs": [[1, 2, 3, 4], [1, 2]]}, "inputs[1]: found 2 columns, allowed: 4"),
        (
            "named",
            {"inputs": [[1, 2, "x", 4]]},
            "inputs[0], feature 'petal length (cm)' (column 2): found 'x', allowed: a number",
        ),
        ("named", {"inputs": [[1, True, 3, 4]]}, "inputs[0], feature 'sepal width (cm)' (column 1): found True"),
        (
            "named",
            {"inputs": [[1, None, 3, 4]]},
            "inputs[0], feature 'sepal width (cm)' (column 1): found a missing value",
        ),
        (
            "named",
            {"inputs": [[1, "Infinity", 3, 4]]},
            "inputs[0], feature 'sepal width (cm)' (column 1): found an infinity",
        ),
        ("named", {"inputs": [{"a": 1}]}, "inputs[0]: missing: 'sepal length (cm)'"),
        ("iris", {"inputs": [{"a": 1}]}, "inputs: found {'a': 1}, allowed: rows as lists"),
        ("iris", {"inputs": ROW}, "inputs[0]: found 5.1, allowed: a list of values; one row alone is [[...]]"),
        ("iris", {"inputs": []}, "inputs: found [], allowed: a list of rows, at least one"),
        ("iris", {"rows": 1}, "inputs: found nothing, allowed: a list of rows, at least one"),
        ("iris", [1], "body: found a list, allowed: JSON or msgpack such as"),
        ("iris", b"{", "body: not JSON"),
        (
            "iris",
            {"inputs": [{"name": "x", "shape": [1]}]},
            "body: not an inference request: Object missing required field",
        ),
        ("iris", {"inputs": [ROW], "ids": ["a", "b"]}, "ids: found ['a', 'b'], allowed: a list of 1 texts"),
        ("mixed", {"inputs": [[1, ["x"]]]}, "inputs[0], feature 'colour' (column 1): found ['x'], allowed: "),
    ],
)
def test_the_callers_mistakes_are_400_and_name_the_feature(
    serve: Serve, models: dict[str, Path], model: str, body: Any, message: str
) -> None:
    status, error = refused(serve(m=models[model]), body)
    assert (status, error[: len(message)]) == (400, message)


def test_a_model_that_takes_nan_gets_it(serve: Serve, models: dict[str, Path]) -> None:
    assert serve(m=models["gaps"]).test(INFER, {"inputs": [[5.1, None, 1.4, "NaN"]]})["outputs"] == [0]


def test_what_is_not_there_is_404_and_says_what_is(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    assert refused(server, {"inputs": [ROW]}, "/v2/models/n/infer") == (404, "no model 'n'; there is m")
    assert refused(server, {}, "/v2/models/m/dance") == (404, "model 'm' has no operation 'dance'")
    assert refused(server, None, "/v3")[0] == 404
    assert refused(server, {"inputs": [ROW]}, "/v2/models/m/explain") == (
        501,
        "model 'm' explains nothing: its class has no explain",
    )


BROKEN = """
import trimtab

class Model(trimtab.ModelServer):
    def predict(self, request):
        raise RuntimeError("secret")
"""


def test_a_models_own_failure_is_500_with_an_id_and_without_its_text(serve: Serve) -> None:
    server = serve(BROKEN, m={"class_name": "Model"})
    reply = server.test(INFER, {"inputs": [ROW]}, silent=True, get_body=False)
    assert reply.status_code == 500
    assert b"secret" not in reply.body
    assert set(msgspec.json.decode(reply.body)) == {"error", "id"}
    assert server.test("/v2/models/m/metrics") == {"requests": 1, "failures": 1, "rows": 0}


WILD = """
import trimtab

class Model(trimtab.ModelServer):
    def predict(self, request):
        return [float("nan"), float("inf"), float("-inf")]
"""


def test_nan_and_infinities_in_the_answer_are_valid_json(serve: Serve) -> None:
    reply = serve(WILD, m={"class_name": "Model"}).test(INFER, {"inputs": [[1]]}, get_body=False)
    assert json.loads(reply.body)["outputs"] == [None, "Infinity", "-Infinity"]


def test_the_figures_of_models_are_in_metrics(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    server.test(INFER, {"inputs": [ROW, ROW]})
    text = server.test("/metrics").decode()
    assert 'trimtab_model_rows_total{function="served",revision="",worker="0",model="m"} 2' in text
