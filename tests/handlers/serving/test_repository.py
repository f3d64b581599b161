"""Models that come and go: by the document, by the protocol's extension, and what happens to those that cannot come."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.handlers.serving.conftest import ROW

from trimtab.errors import StoreError, StoreFull
from trimtab.handlers.serving import document
from trimtab.handlers.serving.document import Changes
from trimtab.handlers.serving.repository import Repository
from trimtab.project.mock import MockServer
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
    document.change(repository(server).path, lambda changes: changes.with_change(key, model))


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


def test_a_document_that_cannot_be_read_changes_nothing(serve: Serve, models: dict[str, Path], tmp_path: Path) -> None:
    server = serve(m=models["iris"])
    path = repository(server).path
    path.parent.mkdir()
    path.write_text("{garbage")
    reply = server.test("/v2/models/other", silent=True, get_body=False)
    assert reply.status_code == 404
    assert server.test(INFER, {"inputs": [ROW]})["outputs"] == [0]
    with pytest.raises(StoreError, match=r"cannot be read .*; remove it to serve what was deployed"):
        document.read(path)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "models.json"

    def add(name: str) -> None:
        for number in range(20):
            key = f"{name}{number}"
            document.change(path, lambda changes: changes.with_change(key, Model(key=key, path="/m")))  # noqa: B023

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = document.read(path)
    assert len(changes.models) == 80
    assert len({change.stamp for change in changes.models.values()}) == 80


def test_changes_lie_over_what_was_deployed() -> None:
    deployed = [Model(key="a", path="/1"), Model(key="b", path="/2")]
    changes = Changes().with_change("a", None).with_change("c", Model(key="c", path="/3"))
    assert list(changes.over(deployed)) == ["b", "c"]
    assert list(Changes().over(deployed)) == ["a", "b"]


WRITER = """
import sys
from pathlib import Path
from trimtab.handlers.serving import document
from trimtab.spec import Model

path = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    document.change(path, lambda changes: changes.with_change(f"m{number % 50}", Model(key=f"m{number % 50}", path="/m")))
"""


@pytest.mark.chaos
def test_a_writer_that_is_killed_leaves_a_whole_document_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    for round_ in range(4):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        until(lambda: len(document.read(path).models) >= min(50, 5 * (round_ + 1)))  # noqa: B023
        child.kill()
        child.communicate()
        before = document.read(path)
        document.change(path, lambda changes: changes.with_change("mine", None))
        assert set(document.read(path).models) == {*before.models, "mine"}


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.json"
    document.change(path, lambda changes: changes.with_change("a", Model(key="a", path="/m")))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match=r"models\.json cannot be written: No space left on device"):
        document.change(path, lambda changes: changes.with_change("b", None))
    assert list(document.read(path).models) == ["a"]
