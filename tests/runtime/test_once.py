"""A job's run in a container: the environment says what to do, the last line and the message say what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

JOB = """
import signal, time
def train(context, depth: int = 1, data=None):
    print("training")
    context.log_result("depth", depth)
    if context.event:
        context.log_result("cause", context.event["id"])
    if data is not None:
        context.log_result("rows", len(data.get().decode().splitlines()))
    if depth == 13:
        raise ValueError("unlucky")
    if depth == 99:
        return "x" * 5000
    print("recorded")
    while depth == 77:
        time.sleep(0.01)
    return {"accuracy": 0.5}
"""


def start(folder: Path, **environ: str) -> subprocess.Popen[bytes]:
    (folder / "job.py").write_text(JOB)
    given = {
        "TRIMTAB_KIND": "job",
        "TRIMTAB_HANDLER": "job:train",
        "TRIMTAB_DIRECTORY": str(folder),
        "TRIMTAB_HOME": str(folder / "home"),
        "TRIMTAB_FUNCTION": "train",
        "TRIMTAB_RUN": "run1",
        "TRIMTAB_ARTIFACT_PATH": str(folder / "artifacts"),
        "TRIMTAB_TERMINATION_LOG": str(folder / "message"),
        **environ,
    }
    command = [sys.executable, "-m", "trimtab", "serve"]
    return subprocess.Popen(command, env={**os.environ, **given}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(folder: Path, **environ: str) -> tuple[int, list[str], dict[str, Any], dict[str, Any], str]:
    """Give exit code, lines, the report of the last line, that of the message, and what stands on stderr."""
    process = start(folder, **environ)
    out, err = process.communicate(timeout=60)
    lines = out.decode().splitlines()
    message = folder / "message"
    left = json.loads(message.read_text())["trimtab.dev/result"] if message.exists() else {}
    last = json.loads(lines[-1])["trimtab.dev/result"] if lines and "trimtab.dev/result" in lines[-1] else {}
    return process.returncode, lines, last, left, err.decode()


def test_a_run_leaves_its_results_in_the_last_line_and_in_the_message(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("a\nb\n")
    given = {"TRIMTAB_PARAMETERS": '{"depth": "3"}', "TRIMTAB_INPUTS": json.dumps({"data": str(data)})}
    code, lines, last, left, _ = run(tmp_path, **given)
    assert code == 0
    assert "training" in lines
    assert last["results"] == {"depth": 3, "rows": 2, "return": {"accuracy": 0.5}}
    assert left == last


def test_an_event_that_starts_a_run_is_the_contexts(tmp_path: Path) -> None:
    event = {"specversion": "1.0", "type": "x", "source": "/s", "id": "e1", "data": {"depth": 5}}
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "event").write_text(json.dumps(event))
    for place in ("mounted", "mounted/event"):  # a JobSink names the folder
        code, _, last, _, _ = run(tmp_path, K_EVENT_PATH=str(tmp_path / place), TRIMTAB_RUN="")
        assert (code, last["results"]["cause"], last["results"]["depth"]) == (0, "e1", 5)
    assert last["cause"] == "e1"


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    code, _, last, left, _ = run(tmp_path, TRIMTAB_PARAMETERS='{"depth": 13}')
    assert (code, left["error"]) == (1, "ValueError: unlucky")
    assert "raise ValueError" in last["traceback"]


def test_parameters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    code, _, _, left, _ = run(tmp_path, TRIMTAB_PARAMETERS='{"width": 1}')
    assert code == 2
    assert "width" in left["error"]


def test_a_report_that_is_too_long_for_the_message_is_in_the_log(tmp_path: Path) -> None:
    code, _, last, left, _ = run(tmp_path, TRIMTAB_PARAMETERS='{"depth": 99}')
    assert (code, left) == (0, {"error": None, "in_log": True})
    assert len(last["results"]["return"]) == 5000


def test_a_run_that_is_ended_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, TRIMTAB_PARAMETERS='{"depth": 77}', PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    while b"recorded" not in process.stdout.readline():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert json.loads((tmp_path / "message").read_text())["trimtab.dev/result"]["results"] == {"depth": 77}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("TRIMTAB_PARAMETERS", "nope", "environment variable TRIMTAB_PARAMETERS: found 'nope', allowed: a JSON object"),
        ("TRIMTAB_INPUTS", "[1]", "environment variable TRIMTAB_INPUTS: found '[1]', allowed: a JSON object"),
        ("K_EVENT_PATH", "/no/event", "environment variable K_EVENT_PATH: found '/no/event', allowed: a CloudEvent"),
    ],
)
def test_an_environment_that_cannot_be_read_names_the_variable(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    code, _, _, _, err = run(tmp_path, **{name: text})
    assert code == 5
    assert words in err


class Sink(ThreadingHTTPServer):
    """A broker that refuses the first `refused` events, and keeps the others."""

    def __init__(self, refused: int = 0) -> None:
        self.refused, self.events = refused, list[tuple[dict[str, str], dict[str, Any]]]()
        super().__init__(("127.0.0.1", 0), Taking)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Taking(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.refused -= 1
        if self.server.refused < 0:
            self.server.events.append(({name.lower(): text for name, text in self.headers.items()}, body))
        self.send_response(503 if self.server.refused >= 0 else 202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("depth", "state"), [(5, "succeeded"), (13, "failed")])
def test_the_end_of_a_run_is_told_to_the_sink(tmp_path: Path, depth: int, state: str) -> None:
    event = {"specversion": "1.0", "type": "x", "source": "/s", "id": "e1", "data": {"depth": depth}}
    (tmp_path / "event").write_text(json.dumps(event))
    with Sink(refused=1) as sink:
        environ = {"K_EVENT_PATH": str(tmp_path / "event"), "K_SINK": f"http://127.0.0.1:{sink.server_port}/"}
        code, *_ = run(tmp_path, **environ)
        sink.shutdown()
    ((headers, told),) = sink.events
    assert code == (state == "failed")
    names = ("type", "id", "subject", "function", "state", "cause")
    assert [headers[f"ce-{name}"] for name in names] == ["dev.trimtab.run", "run1.ended", "run1", "train", state, "e1"]
    assert (told["id"], told["state"], told["results"]["depth"]) == ("run1", state, depth)
    assert told["error"] == (None if state == "succeeded" else "ValueError: unlucky")
    assert told["artifacts"] == {}


@pytest.mark.parametrize(
    ("parameters", "failures", "told"),
    [
        ('{"depth": 13}', 0, None),
        ('{"depth": 13}', 1, None),
        ('{"depth": 13}', 2, "failed"),
        ('{"depth": 5}', 1, "succeeded"),
        ('{"width": 1}', 0, "failed"),  # exit code 2, with which it is not tried again
    ],
)
def test_a_try_that_has_others_after_it_is_not_told_as_the_runs_end(
    tmp_path: Path, parameters: str, failures: int, told: str | None
) -> None:
    with Sink() as sink:
        tries = {"TRIMTAB_BACKOFF_LIMIT": "2", "TRIMTAB_FAILURES": str(failures)}
        run(tmp_path, TRIMTAB_PARAMETERS=parameters, K_SINK=f"http://127.0.0.1:{sink.server_port}/", **tries)
        sink.shutdown()
    assert [body["state"] for _, body in sink.events] == ([told] if told else [])
