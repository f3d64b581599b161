"""A job's run in a container: the environment says what to do, the last line and the message say what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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
    (tmp_path / "event").write_text(json.dumps(event))
    code, _, last, _, _ = run(tmp_path, K_EVENT_PATH=str(tmp_path / "event"), TRIMTAB_RUN="")
    assert (code, last["results"]["cause"], last["results"]["depth"]) == (0, "e1", 5)


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
    while b"training" not in process.stdout.readline():
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
