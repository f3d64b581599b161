"""A target of this test process: deployed functions are answered by a real HTTP server that says what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trimtab.deploy.abc import Deployment, FunctionInfo, ModelChange, Progress, RunInfo, Stage, Target
from trimtab.errors import Conflict, NotFound
from trimtab.spec import Function, Model, TrafficTarget


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.endswith("/text"):
            self.reply(200, b"plain", "text/plain")
        elif "/status/" in self.path:
            self.reply(int(self.path.rpartition("/")[2]), b'{"error": "internal error", "id": "7"}', "application/json")
        elif self.path.endswith("/empty"):
            self.reply(200, b"", "application/json")
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode("latin-1")}
            self.reply(200, json.dumps(said).encode(), "application/json; charset=utf-8")

    def reply(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class EchoTarget(Target):
    """Keeps what is deployed; a job named `broken` fails, any other gives its parameters back."""

    name = "echo"

    def __init__(self, url: str) -> None:
        self.url = url
        self.deployed: dict[str, Function] = {}
        self.calls: list[dict[str, Any]] = []
        self.history: list[RunInfo] = []

    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        name = function.metadata.name
        changed = force or self.deployed.get(name) != function
        self.deployed[name] = function
        if progress is not None:
            progress(Stage(name="package", ms=1.4))
            progress(Stage(name="start", ms=20.0, detail="1 replica"))
        return Deployment(
            name=name, revision=f"{name}-00001", url=self.address(name), changed=changed, warnings=["no volumes here"]
        )

    def broker(self, name: str = "default") -> str:
        return f"{self.url}/{name}"

    def address(self, name: str) -> str:
        return "" if self.deployed[name].spec.kind == "job" else f"{self.url}/{name}"

    def get(self, name: str) -> FunctionInfo:
        if name not in self.deployed:
            raise NotFound(f"no function {name!r}")
        spec = self.deployed[name].spec
        return FunctionInfo(
            name=name, kind=spec.kind, url=self.address(name), target="echo", revision="1", scale=spec.scale
        )

    def functions(self) -> list[FunctionInfo]:
        return [self.get(name) for name in sorted(self.deployed)]

    def delete(self, name: str) -> None:
        self.get(name)
        del self.deployed[name]

    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        return self.get(name)

    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        return self.get(name)

    def change_model(self, name: str, key: str, model: Model | None) -> ModelChange:
        raise Conflict(f"{name!r} is no model server")

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        yield from ()

    def run(
        self,
        function: Function,
        parameters: dict[str, Any],
        *,
        inputs: dict[str, str] | None = None,
        artifact_path: str | None = None,
        wait: bool = True,
        on_log: Callable[[str], None] | None = None,
    ) -> RunInfo:
        self.calls.append({"function": function, "inputs": inputs, "artifact_path": artifact_path})
        name = function.metadata.name
        if on_log is not None and wait:
            on_log('{"level": "warning", "message": "it begins"}')
            on_log("printed")
        failed = name == "broken"
        info = RunInfo(
            id=f"run-{len(self.calls)}", function=name, state="failed" if failed else "succeeded", created=time.time()
        )
        info.results, info.error, info.finished = parameters, "ValueError: no" if failed else None, time.time()
        self.history.insert(0, info)
        return info if wait else RunInfo(id=info.id, function=name, state="running", created=info.created)

    def runs(self, function: str | None = None) -> list[RunInfo]:
        return self.history

    def cancel(self, run: str) -> RunInfo:
        raise NotFound(run)


@pytest.fixture
def target() -> Iterator[EchoTarget]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield EchoTarget(f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.py"
    path.write_text("def handler(context, event):\n    return {'got': event.body}\n")
    return path
