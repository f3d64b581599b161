"""Models that come and go: by the document, by the protocol's extension, and what happens to those that cannot come."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.handlers.serving.conftest import ROW

from trimtab.errors import StoreError
from trimtab.handlers.documents import open_documents
from trimtab.handlers.serving import document
from trimtab.handlers.serving.classes import Classes
from trimtab.handlers.serving.document import Changes, Route
from trimtab.handlers.serving.repository import Repository
from trimtab.project.mock import MockServer
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.context import Context
from trimtab.spec import Model

Serve = Callable[..., MockServer]
INFER = "/v2/models/m/infer"


def repository(server: MockServer) -> Repository:
    found: Repository = server._app.loaded.instance.repository
    return found


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


def write(server: MockServer, key: str, model: Model | None) -> None:
    change(server, lambda changes: changes.with_change(key, model))


def change(server: MockServer, make: Callable[[Changes], Changes]) -> None:
    documents = open_documents(repository(server).state)
    document.change(documents, repository(server).name, make)
    documents.close()


def test_a_model_that_is_added_to_the_document_is_there_for_the_next_request(
    serve: Serve, models: dict[str, Path]
) -> None:
    server = serve(m=models["iris"])
    write(server, "n:v1", Model(key="n:v1", path=str(models["gaps"])))
    assert server.test("/v2/models/n/infer", {"inputs": [ROW]})["model_version"] == "v1"
    write(server, "m", None)
    until(lambda: server.test("/v2/models")["models"] == ["n:v1"])


def test_one_that_cannot_be_loaded_leaves_the_one_before_in_service_and_is_tried_again(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    server = serve(m=models["iris"])
    late = tmp_path / "late.pkl"
    write(server, "m", Model(key="m", path=str(late)))
    write(server, "n", Model(key="n", path=str(late)))
    until(lambda: len([one for one in server.test("/v2/repository/index") if one["state"] == "UNAVAILABLE"]) == 2)
    assert server.test(INFER, {"inputs": [ROW]})["outputs"] == [0]
    assert server.test("/v2/health/ready", silent=True) == {"ready": False, "missing": ["m", "n"]}
    reply = server.test("/v2/models/n/infer", {"inputs": [ROW]}, silent=True, get_body=False)
    assert (
        reply.status_code,
        "model 'n' is not ready: model 'n' cannot be loaded: there is no model at" in reply.value["error"],
    ) == (503, True)
    late.write_bytes(models["gaps"].read_bytes())
    until(lambda: server.test("/v2/health/ready", silent=True) == {"ready": True})
    assert server.test("/v2/models/m")["path"] == str(late)


def test_by_the_extension_only_known_models_come_and_go(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    assert server.test("/v2/repository/models/m/unload", {}) == {}
    assert server.test("/v2/models") == {"models": []}
    assert server.test("/v2/repository/models/m/load", {}) == {}
    assert server.test("/v2/models") == {"models": ["m"]}
    for path, status in (("m/load", 405), ("x/load", 404), ("x/unload", 404)):
        method = "GET" if status == 405 else "POST"
        reply = server.test(f"/v2/repository/models/{path}", method=method, silent=True, get_body=False)
        assert reply.status_code == status
    models["iris"].rename(models["iris"].with_suffix(".away"))
    try:
        reply = server.test("/v2/repository/models/m/load", {}, silent=True, get_body=False)
        assert (reply.status_code, "there is no model at" in reply.value["error"]) == (500, True)
        assert server.test(INFER, {"inputs": [ROW]})["outputs"] == [0]
    finally:
        models["iris"].with_suffix(".away").rename(models["iris"])


def test_where_callers_may_be_anybody_they_change_nothing(serve: Serve, models: dict[str, Path]) -> None:
    import msgspec

    server = serve(m=models["iris"])
    handler = server._app.loaded.instance
    handler.config = msgspec.structs.replace(handler.config, model_control="off")
    reply = server.test("/v2/repository/models/m/unload", {}, silent=True, get_body=False)
    assert (reply.status_code, "set TRIMTAB_MODEL_CONTROL to 'on'" in reply.value["error"]) == (403, True)


def test_a_document_that_cannot_be_read_changes_nothing(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    documents = open_documents(repository(server).state)
    documents.put(repository(server).name, b"{garbage", 0)
    reply = server.test("/v2/models/other", silent=True, get_body=False)
    assert reply.status_code == 404
    assert server.test(INFER, {"inputs": [ROW]})["outputs"] == [0]
    with pytest.raises(StoreError, match=r"cannot be read .*; remove it to serve what was deployed"):
        document.read(documents, repository(server).name)
    documents.close()


def test_without_a_place_for_documents_models_are_served_as_deployed(
    serve: Serve, models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    found = Repository([Model(key="m", path=str(models["iris"]))], f"sqlite://{tmp_path}/file/x.db", *_around())
    asyncio.run(found.begin())
    assert list(found.entries) == ["m"]
    assert f"{tmp_path}/file/x.db' cannot be made" in caplog.text


def _around() -> tuple[Classes, Context]:
    return Classes("", Path()), Context(ReplicaConfig())


def test_shares_decide_which_version_answers_and_a_version_that_is_named_answers_itself(
    serve: Serve, models: dict[str, Path]
) -> None:
    server = serve(m=models["iris"])
    route = Route(path=str(models["iris"]), challengers={"m:b": str(models["gaps"])}, shares={"m:b": 50})
    change(server, lambda changes: changes.with_route("m", route))
    until(lambda: server.test("/v2/models")["models"] == ["m", "m:b"])
    until(lambda: repository(server).routes)
    answered = [server.test(INFER, {"inputs": [ROW]}).get("model_version") for _ in range(200)]
    assert 60 <= answered.count("b") <= 140
    named = [server.test("/v2/models/m/versions/b/infer", {"inputs": [ROW]})["model_version"] for _ in range(20)]
    assert set(named) == {"b"}


def test_a_challenger_of_a_versioned_key_gets_its_share_and_no_more(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m__v1=models["iris"])
    route = Route(path=str(models["iris"]), challengers={"m:v1:b": str(models["gaps"])}, shares={"m:v1:b": 50})
    change(server, lambda changes: changes.with_route("m:v1", route))
    until(lambda: repository(server).routes)
    for path in (INFER, "/v2/models/m/versions/v1/infer"):
        answered = [server.test(path, {"inputs": [ROW]})["model_version"] for _ in range(200)]
        assert 60 <= answered.count("v1") <= 140


def test_a_request_that_names_the_model_in_its_body_takes_part(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    route = Route(path=str(models["iris"]), challengers={"m:b": str(models["gaps"])}, shares={"m:b": 50})
    change(server, lambda changes: changes.with_route("m", route))
    until(lambda: repository(server).routes)
    answered = [server.test("/", {"model": "m", "inputs": [ROW]}).get("model_version") for _ in range(200)]
    assert 60 <= answered.count("b") <= 140


def test_an_older_route_does_not_replace_a_newer_one() -> None:
    newer = Changes().with_route("m", Route(path="/2", number=2))
    assert newer.with_route("m", Route(path="/1", number=1)).routes["m"].path == "/2"
    assert newer.with_route("m", Route(path="/3", number=3)).routes["m"].path == "/3"


def test_a_shadow_answers_copies_and_its_failures_are_nobodys(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    route = Route(path=str(models["iris"]), challengers={"m:s": str(models["gaps"])}, shadow="m:s")
    change(server, lambda changes: changes.with_route("m", route))
    until(lambda: repository(server).routes)
    for _ in range(10):
        assert server.test(INFER, {"inputs": [ROW]}).get("model_version") is None
    until(lambda: server.test("/v2/models/m/versions/s/metrics")["requests"] == 10)
    shadow = repository(server).entries["m:s"]
    shadow.batcher = None  # whatever it does now fails
    assert server.test(INFER, {"inputs": [ROW]})["outputs"] == [0]
    until(lambda: shadow.failures == 1)


def test_a_challenger_that_cannot_be_loaded_leaves_the_champion_ready(serve: Serve, models: dict[str, Path]) -> None:
    server = serve(m=models["iris"])
    route = Route(path=str(models["iris"]), challengers={"m:b": "/nowhere/m.pkl"}, shares={"m:b": 100})
    change(server, lambda changes: changes.with_route("m", route))
    until(lambda: repository(server).routes)
    assert server.test(INFER, {"inputs": [ROW]}).get("model_version") is None
    assert server.test("/v2/health/ready") == {"ready": True}


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = f"sqlite://{tmp_path}/deep/state.db"

    def add(name: str) -> None:
        documents = open_documents(path)
        for number in range(20):
            key = f"{name}{number}"
            document.change(documents, "m", lambda changes: changes.with_change(key, Model(key=key, path="/m")))  # noqa: B023
        documents.close()

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes, _ = document.read(open_documents(path), "m")
    assert len(changes.models) == 80
    assert len({change.stamp for change in changes.models.values()}) == 80


def test_changes_lie_over_what_was_deployed() -> None:
    deployed = [Model(key="a", path="/1"), Model(key="b", path="/2")]
    changes = Changes().with_change("a", None).with_change("c", Model(key="c", path="/3"))
    assert list(changes.over(deployed)) == ["b", "c"]
    assert list(Changes().over(deployed)) == ["a", "b"]
