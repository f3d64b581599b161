"""Whatever comes in, the answer is the caller's own mistake or a prediction, and never the server's failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trimtab
from trimtab.project.mock import MockServer

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
THINGS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.text(max_size=2),
        "shape": st.lists(st.integers(-1, 5), max_size=3),
        "datatype": st.sampled_from(["FP32", "INT8", "BYTES", "BOOL", "X"]),
    },
    optional={"data": st.lists(THINGS, max_size=6), "parameters": THINGS},
)
BODIES = st.one_of(
    st.binary(max_size=40),
    THINGS.map(lambda thing: json.dumps(thing).encode()),
    st.fixed_dictionaries({"inputs": THINGS}, optional={"id": THINGS, "ids": THINGS, "columns": THINGS}).map(
        lambda body: json.dumps(body).encode()
    ),
    st.fixed_dictionaries(
        {"inputs": st.lists(TENSORS, max_size=3)}, optional={"outputs": THINGS, "parameters": THINGS}
    ).map(lambda body: json.dumps(body).encode()),
    st.just(b"[" * 100_000),
)


@pytest.fixture(scope="module")
def server(models: dict[str, Path]) -> Iterator[MockServer]:
    function = trimtab.new_function("fuzzed", kind="serving")
    for key in ("iris", "named", "mixed"):
        function.add_model(key, models[key])
    with function.set_tracking().to_mock_server() as made:
        yield made


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    BODIES,
    st.sampled_from(["iris", "named", "mixed"]),
    st.sampled_from(["infer", "predict_dict"]),
    st.sampled_from(["application/json", "application/msgpack", "application/octet-stream", "text/plain"]),
    st.none() | st.integers(0, 50).map(str) | st.just("x"),
)
def test_no_request_is_the_servers_failure(
    server: MockServer, body: bytes, model: str, operation: str, content_type: str, length: str | None
) -> None:
    headers: dict[str, Any] = {"content-type": content_type}
    if length is not None:
        headers["inference-header-content-length"] = length
    reply = server.test(f"/v2/models/{model}/{operation}", body, "POST", headers, silent=True, get_body=False)
    assert reply.status_code in (200, 400), reply
    if content_type == "application/json":
        json.loads(reply.body)
