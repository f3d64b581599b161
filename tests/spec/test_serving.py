"""What a model server's description may say, and what is refused, by its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import SpecError
from trimtab.spec import check, from_dict, load


def document(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1",
        "kind": "Function",
        "metadata": {"name": "iris"},
        "spec": {"kind": "serving", **spec},
    }


def test_a_model_server_needs_neither_code_nor_handler() -> None:
    models = [{"key": "rf:v1", "path": "store://models/p/rf", "batch": {"wait": 0.002}}]
    function = check(from_dict(document(models=models, tracking={"age": 1}, sink={"broker": "default"})))
    assert function.spec.models[0].batch is not None
    assert function.spec.models[0].batch.wait == "2ms"
    assert function.spec.tracking is not None
    assert function.spec.tracking.age == "1s"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"models": [{"key": "a b", "path": "m"}]}, "spec.models[0].key: found 'a b', allowed: a name such as 'churn'"),
        ({"models": [{"key": "a"}]}, "spec.models[0].path: found nothing, allowed: a store:// URI, a path or an https URL"),
        ({"models": [{"key": "a", "path": " "}]}, "spec.models[0].path: found ' ', allowed: a store:// URI, a path"),
        ({"models": [{"key": "a", "path": "http://x.example/m"}]}, ("spec.models[0].path: found 'http://x.example/m', "
                                                                  "allowed: an https URL: a model is code")),
        ({"models": [{"key": "a", "path": "m"}, {"key": "a", "path": "n"}]}, "spec.models[1].key: found 'a', allowed: a key"),
        ({"models": [{"key": "a", "className": "1x"}]}, "spec.models[0].className: found '1x', allowed: a class such as"),
        ({"models": [{"key": "a", "path": "m", "sha256": "x"}]}, "spec.models[0].sha256: found 'x', allowed: 64 hexa"),
        ({"models": [{"key": "a", "path": "m", "batch": {"wait": "2s"}}]}, ("spec.models[0].batch.wait: found '2s', "
                                                                         "allowed: at most 1s")),
        ({"models": [{"key": "a", "path": "m", "batch": {"size": 0}}]}, "spec.models[0].batch.size: found 0, allowed: "),
        ({"tracking": {}}, "spec.sink: found nothing, allowed: a sink while spec.tracking is set"),
        ({"tracking": {"age": "2h"}, "sink": {"broker": "b"}}, "spec.tracking.age: found '2h', allowed: more than 0s"),
        ({"tracking": {"sample": 2}, "sink": {"broker": "b"}}, "spec.tracking.sample: found 2, allowed: a number from"),
        ({"kind": "http", "source": {"code": "x"}, "models": [{"key": "a", "path": "m"}]},
         "spec.models: found [{'key': 'a', 'path': 'm'}], allowed: nothing for kind 'http'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(from_dict(document(**spec)))
    assert str(caught.value).startswith(message)


def test_relative_paths_are_those_of_the_document(tmp_path: Path) -> None:
    path = tmp_path / "function.yaml"
    path.write_text(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: iris}\n"
        "spec:\n  kind: serving\n  models:\n    - {key: a, path: m.pkl}\n    - {key: b, path: 'store://models/p/b'}\n"
    )
    function = load(path)
    assert [model.path for model in function.spec.models] == [str(tmp_path / "m.pkl"), "store://models/p/b"]
    assert function.spec.source.path is None
    path.write_text(path.read_text() + "    - {key: c, className: Own}\n")
    assert load(path).spec.source.path == str(tmp_path)


def test_a_router_that_mlrun_exported_becomes_models() -> None:
    leftovers: list[str] = []
    routes = {
        "m": {"kind": "task", "class_name": "Own", "class_args": {"model_path": "store://models/p/m", "scale": 2}},
        "n:v1": {"kind": "task", "class_name": "hub://v2_model_server", "class_args": {"model_path": "/n.pkl"}},
    }
    exported = {
        "kind": "serving",
        "metadata": {"name": "served", "project": "p"},
        "spec": {
            "graph": {"kind": "router", "routes": routes},
            "track_models": True,
            "parameters": {"log_stream": "v3io:///x"},
            "build": {"functionSourceCode": "eA=="},
        },
    }
    spec = check(from_dict(exported, leftovers=leftovers)).spec
    assert [(each.key, each.path, each.class_name, each.params) for each in spec.models] == [
        ("m", "store://models/p/m", "Own", {"scale": 2}),
        ("n:v1", "/n.pkl", "hub://v2_model_server", {}),
    ]
    assert spec.tracking is not None
    assert spec.sink is not None
    assert spec.sink.broker == "default"
    assert leftovers == ["spec.track_models: the records go to the broker 'default' here; spec.sink says where"]


def test_another_graph_is_not_carried_over() -> None:
    leftovers: list[str] = []
    exported = {"kind": "serving", "metadata": {"name": "s"}, "spec": {"graph": {"kind": "flow", "steps": {}}}}
    assert from_dict(exported, leftovers=leftovers).spec.models == []
    assert any("spec.graph" in line for line in leftovers)
