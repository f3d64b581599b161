"""The monitor as a function on the local target: a real daemon, its broker, and a replica that is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.deploy.local.conftest import Local, call, until
from tests.handlers.monitor.world import NAME, REFERENCE, World

from trimtab.events import Envelope
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.settings import from_environ
from trimtab.runtime.binding import write_binary
from trimtab.sketches import Reference, Sketch
from trimtab.spec import load

DOCUMENT = """
apiVersion: trimtab.dev/v1
kind: Function
metadata: {name: monitor}
spec:
  handler: trimtab.handlers.monitor:handler
  scale: {min: 1, max: 1}
  env:
    - {name: TRIMTAB_MONITOR_FLUSH_SECONDS, value: "0"}
  triggers:
    - kind: event
      name: records
      filters:
        - any:
            - exact: {type: dev.trimtab.inference}
            - exact: {type: dev.trimtab.label}
    - kind: cron
      name: tick
      schedule: "@every 1m"
"""


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "Zuhause mit Ümlaut")
    yield made
    made.target.down()
    until(lambda: not made.processes(), 15)


def deployed(local: Local, document: str = DOCUMENT) -> str:
    path = local.code / "function.yaml"
    path.write_text(document)
    return local.target.deploy(load(path)).url


def get(url: str, path: str) -> Any:
    answer = call(url, path=path)
    return answer.json() if answer.status == 200 else answer.status


def send(local: Local, event: Envelope) -> None:
    headers, body = write_binary(event)
    broker = local.target.status()["broker"]
    assert call(broker, body, {name.decode(): value.decode() for name, value in headers}).status == 202


def test_records_go_through_the_broker_into_windows_that_survive_a_kill(local: Local, tmp_path: Path) -> None:
    model = tmp_path / "model.pkl"
    Path(f"{model}.reference.json").write_bytes(REFERENCE.to_json())
    url = deployed(local)
    world = World(None, tmp_path)
    world.now = time.time()
    for number in range(40):
        send(local, world.event(2, model=str(model), ids=[f"{number}-a", f"{number}-b"], id=f"e{number}"))
        if number == 20:
            os.kill(call(url).json()["process"], signal.SIGKILL)
    send(local, world.label([f"{number}-b" for number in range(40)], [1] * 40))
    endpoint = f"endpoint={quote(NAME, safe='')}"

    def rows() -> bool:
        found = get(url, f"/windows?{endpoint}")
        return bool(found != 404) and sum(window["rows"] for window in found["windows"]) == 80

    until(rows)
    until(lambda: get(url, "/endpoints")["endpoints"][0]["endpoint"]["labels"]["joined"] == 40)
    window = get(url, f"/windows?{endpoint}")["windows"][-1]
    shown = get(url, f"/window?{endpoint}&number={window['number']}")
    assert shown["columns"][0]["name"] == "x"
    assert shown["performance"]["metrics"]["accuracy"] == 1.0
    reference = Reference.from_json(call(url, path=f"/reference?{endpoint}").body)
    assert reference["x"] == REFERENCE["x"]
    sketch = Sketch.from_bytes(call(url, path=f"/sketch?{endpoint}&number={window['number']}").body, reference)
    assert sketch.rows == window["rows"]
    # Another process of this machine reads the same state, as the drift check does.
    monitor = Monitor.open(from_environ({"TRIMTAB_HOME": str(local.home)}))
    assert sum(found.rows for found in monitor.windows(NAME)) == 80
    assert len(set(monitor.log.read("inference", NAME).column("_id").to_pylist())) == 80
    monitor.close()


def test_what_it_is_asked_wrongly_is_answered_in_words(local: Local) -> None:
    url = deployed(local)
    assert get(url, "/endpoints") == {"endpoints": []}
    assert call(url).json()["paths"]["/endpoints"] == "all endpoints"
    for path, status, text in [
        ("/windows", 400, "parameter 'endpoint' is missing: .../?endpoint=..."),
        ("/windows?endpoint=x", 404, "there is no endpoint 'x'; there are none"),
        ("/window?endpoint=x&number=y", 400, "parameter 'number': found 'y', allowed: a whole number"),
        ("/nowhere", 404, "there is nothing at '/nowhere'; there is /endpoints, /windows?endpoint=E[&since=N]"),
    ]:
        answer = call(url, path=path)
        assert answer.status == status, path
        assert text in answer.body.decode(), path
    answer = call(url, b"{}", {"content-type": "application/json"})
    assert (answer.status, "events come as CloudEvents, by POST" in answer.body.decode()) == (405, True)
    other = {"ce-specversion": "1.0", "ce-type": "dev.trimtab.drift", "ce-source": "/s", "ce-id": "1"}
    answer = call(url, b"{}", {**other, "content-type": "application/json"})
    assert answer.status == 400
    assert (
        "type: found 'dev.trimtab.drift', allowed: 'dev.trimtab.inference', 'dev.trimtab.label'" in answer.body.decode()
    )


def test_a_wrong_setting_fails_the_deployment_with_its_name(local: Local) -> None:
    from trimtab.errors import DeployFailed

    with pytest.raises(DeployFailed, match="environment variable TRIMTAB_MONITOR_FLUSH_SECONDS: found 'soon', allowed"):
        deployed(local, DOCUMENT.replace('value: "0"', "value: soon"))


def test_forked_workers_have_a_monitor_each(local: Local, tmp_path: Path) -> None:
    url = deployed(local, DOCUMENT.replace("max: 1", "max: 1, workers: 2"))
    world = World(None, tmp_path)
    for number in range(30):
        send(local, world.event(2, id=f"e{number}"))
    endpoint = f"endpoint={quote(NAME, safe='')}"
    until(lambda: get(url, "/endpoints")["endpoints"] != [])
    until(lambda: sum(window["rows"] for window in get(url, f"/windows?{endpoint}")["windows"]) == 60)
