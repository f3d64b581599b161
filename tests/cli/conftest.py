"""A target that keeps everything in memory, and the command line in this process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.app import app
from trimtab.cli.session import Session
from trimtab.config import Settings
from trimtab.deploy.abc import (
    DeadLetter,
    Deployment,
    Firing,
    FunctionInfo,
    Progress,
    RevisionInfo,
    RunInfo,
    Stage,
    TriggerInfo,
)
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import Conflict, DeployFailed, NotFound
from trimtab.spec import Function, TrafficTarget
from trimtab.spec.load import to_dict


class MemoryTarget(LocalTarget):
    """Functions, runs, triggers and dead letters in memory; code is never run. A source whose text has `raise` fails.

    `started` says whether commands asked for a daemon to be started; `broker_url` is the URL that `status` names.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(Settings(home=home))
        self.deployed: dict[str, FunctionInfo] = {}
        self.documents: dict[str, Function] = {}
        self.lines: dict[str, list[str]] = {}
        self.history: list[RunInfo] = []
        self.letters: list[DeadLetter] = []
        self.accepted: list[dict[str, Any]] = []
        self.started: list[bool] = []
        self.calls: list[tuple[Any, ...]] = []
        self.next_run = RunInfo(id="abc123", function="job", state="succeeded", created=0.0, exit_code=0)
        self.log_of_run: list[str] = []
        self.broker_url = "http://127.0.0.1:9/default"

    def up(self) -> dict[str, Any]:
        return {**self.status(), "started": True}

    def down(self, *, timeout: float = 60.0) -> bool:
        return bool(self.deployed)

    def status(self) -> dict[str, Any]:
        return {"pid": 1, "home": str(self.settings.home), "since": 0.0, "broker": self.broker_url, "functions": 0}

    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        name = function.metadata.name
        known = self.deployed.get(name)
        url = f"http://127.0.0.1:8/{name}/"
        if known and to_dict(self.documents[name]) == to_dict(function) and not force:
            return Deployment(name=name, revision=known.revision, url=url, changed=False)
        revisions = known.revisions if known else []
        revision = f"{name}-{len(revisions) + 1:05d}"
        source = Path(function.spec.source.path or "")
        if source.is_file() and "raise" in source.read_text():
            raise DeployFailed(f"{revision} does not start: ValueError: no", "Traceback: raise ValueError('no')\n")
        for old in revisions:
            old.percent = 0
        revisions.append(RevisionInfo(name=revision, created=0.0, state="ready", percent=100, replicas=1))
        self.documents[name] = function
        self.deployed[name] = FunctionInfo(
            name=name,
            kind=function.spec.kind,
            url=url,
            target="local",
            revision=revision,
            revisions=revisions,
            replicas=1,
            scale=function.spec.scale,
            triggers=[
                TriggerInfo(function=name, name=t.name, kind="cron" if hasattr(t, "schedule") else "event", config={})
                for t in function.spec.triggers
            ],
        )
        stages = [Stage(name="source", ms=2.0, detail="1 files"), Stage(name="replica", ms=40.0)]
        for stage in stages:
            if progress is not None:
                progress(stage)
        return Deployment(
            name=name, revision=revision, url=url, stages=stages, warnings=["volumes are not used"] * force
        )

    def get(self, name: str) -> FunctionInfo:
        if name not in self.deployed:
            raise NotFound(f"no function {name!r}")
        return self.deployed[name]

    def functions(self) -> list[FunctionInfo]:
        return [self.deployed[name] for name in sorted(self.deployed)]

    def delete(self, name: str) -> None:
        self.get(name)
        del self.deployed[name]

    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        info = self.get(name)
        self.calls.append(("traffic", name, targets))
        known = {revision.name: revision for revision in info.revisions}
        for target in targets:
            if target.revision is not None and target.revision not in known:
                raise NotFound(f"{name!r} has no revision {target.revision!r}")
        for revision in info.revisions:
            revision.percent, revision.urls = 0, {}
        for target in targets:
            revision = known[target.revision or info.revision]
            revision.percent += target.percent
            if target.tag:
                revision.urls[target.tag] = f"http://127.0.0.1:8/{target.tag}/"
        return info

    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        info = self.get(name)
        if len(info.revisions) < 2:
            raise Conflict(f"{name!r} has no revision to roll back to")
        return self.traffic(name, [TrafficTarget(revision=revision or info.revisions[-2].name, percent=100)])

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        self.get(name)
        lines = self.lines.get(name, [])
        return iter(lines if tail is None else lines[len(lines) - tail :])

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
        self.calls.append(("run", function, parameters, inputs, artifact_path, wait))
        for line in self.log_of_run:
            if on_log is not None:
                on_log(line)
        return self.next_run

    def runs(self, function: str | None = None) -> list[RunInfo]:
        return [run for run in self.history if function in (None, run.function)]

    def cancel(self, run: str) -> RunInfo:
        info = next(info for info in self.history if info.id == run)
        info.state = "cancelled"
        return info

    def triggers(self, function: str | None = None) -> list[TriggerInfo]:
        return [t for info in self.functions() if function in (None, info.name) for t in info.triggers]

    def firings(self, function: str, trigger: str, *, limit: int = 20) -> list[Firing]:
        return [Firing(id=f"{function}/{trigger}/1", due=0.0, state="delivered", attempts=1)][:limit]

    def fire(self, function: str, trigger: str) -> str:
        return f"{function}/{trigger}/manual"

    def pause(self, function: str, trigger: str, *, paused: bool = True) -> TriggerInfo:
        info = next(t for t in self.triggers(function) if t.name == trigger)
        info.state = "paused" if paused else "active"
        return info

    def events(
        self, *, broker: str = "default", follow: bool = False, tail: int | None = 20, type: str | None = None
    ) -> Iterator[dict[str, Any]]:
        yield from (event for event in self.accepted if type in (None, event["type"]))

    def dead(self, function: str | None = None) -> list[DeadLetter]:
        return [letter for letter in self.letters if function in (None, letter.function)]

    def redrive(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        return self.drop(ids, function=function)

    def drop(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        gone = [letter for letter in self.dead(function) if ids is None or letter.id in ids]
        self.letters = [letter for letter in self.letters if letter not in gone]
        return len(gone)


@pytest.fixture
def target(tmp_path: Path) -> MemoryTarget:
    """Where functions run."""
    return MemoryTarget(tmp_path / "home")


@pytest.fixture
def cli(target: MemoryTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DEBUG", raising=False)

    def make(start: bool) -> LocalTarget:
        target.started.append(start)
        return target

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin, obj=Session(make))

    return run


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A handler's file."""
    path = tmp_path / "hello.py"
    path.write_text("def handler(context, event):\n    return {}\n")
    return path


class Recorder(ThreadingHTTPServer):
    """A web server that keeps the requests it gets, and answers with `answer`: status, headers, body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {"content-type": "application/json"}, b'{"ok":true}')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        status, answered, content = self.server.answer
        self.send_response(status)
        for name, value in answered.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Recorder]:
    """A real web server."""
    with Recorder() as recorder:
        thread = Thread(target=recorder.serve_forever, args=(0.01,))
        thread.start()
        yield recorder
        recorder.shutdown()
        thread.join()


@pytest.fixture
def document() -> Callable[[Result], Any]:
    """Read the JSON that a command printed."""

    def read(result: Result) -> Any:
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return read


@pytest.fixture
def on_terminal() -> Callable[[list[str], dict[str, str]], bytes]:
    """Run a command on a terminal of its own."""
    return _on_terminal


def _on_terminal(command: list[str], environ: dict[str, str]) -> bytes:
    """Run a command whose streams are a terminal; give what it printed there."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environ)
    os.close(terminal)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # EIO: the other side is closed
            break
        output += chunk
    process.wait()
    os.close(controller)
    return output
