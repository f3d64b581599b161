"""Jobs run in a process of their own, with parameters, results and a history; events can start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import Conflict, DeployFailed
from trimtab.spec import CronTrigger, EventTrigger, Function, FunctionSpec, Metadata, Source

ADD = """
def add(context, a: int, b: float = 0.5, tags: list[str] = ()):
    print("adding", a, b)
    context.log_result("sum", a + b)
    context.log_result("tags", list(tags))
    context.artifact("report.txt").write_text("done")
    return a * b
"""


def job(code: str, handler: str = "handler:add", **spec: Any) -> Function:
    more = FunctionSpec(kind="job", handler=handler, source=Source(code=code), **spec)
    return Function(metadata=Metadata(name="adder"), spec=more)


def test_parameters_are_coerced_and_results_kept(local: Any) -> None:
    lines: list[str] = []
    info = local.target.run(job(ADD), {"a": "2", "tags": '["x", "y"]'}, on_log=lines.append)
    assert info.state == "succeeded"
    assert info.exit_code == 0
    assert info.results == {"sum": 2.5, "tags": ["x", "y"], "return": 1.0}
    assert "adding 2 0.5" in lines
    assert Path(info.artifact_path, "report.txt").read_text() == "done"
    assert [run.id for run in local.target.runs("adder")] == [info.id]


def test_a_job_has_nothing_to_go_back_to(local: Any) -> None:
    local.target.deploy(job(ADD))
    for to in (None, "adder-00001"):
        with pytest.raises(Conflict, match="'adder' is of kind job: it has no revisions to go back to"):
            local.target.rollback("adder", to)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": "two"}, "parameter a: found 'two', allowed: a value of type int"),
        ({}, "parameter a: found nothing, allowed: a value: it has no default. Give -p name=value."),
        ({"a": 1, "c": 3}, "parameter c: found 3, allowed: one of a, b, tags"),
    ],
)
def test_parameters_that_do_not_fit_fail_the_run_with_a_reason(local: Any, given: Any, message: str) -> None:
    info = local.target.run(job(ADD), given)
    assert info.state == "failed"
    assert info.exit_code == 2
    assert info.error == message


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        ("raise ValueError('no rows')", 1, "ValueError: no rows"),
        ("import sys; sys.exit(7)", 7, "the handler called exit(7)"),
        ("import os; os._exit(9)", 9, "ended with exit code 9"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "ended by SIGKILL"),
    ],
)
def test_a_run_that_fails_says_how(local: Any, body: str, code: int, error: str) -> None:
    info = local.target.run(job(f"def add():\n    {body}\n"), {})
    assert (info.state, info.exit_code, info.error) == ("failed", code, error)


def test_a_run_is_cancelled_and_its_children_with_it(local: Any, until: Any) -> None:
    code = "import subprocess, time\n\ndef add():\n    print(subprocess.Popen(['sleep', '600']).pid)\n    time.sleep(600)\n"
    info = local.target.run(job(code), {}, wait=False)
    log = local.home / "runs" / info.id / "log"
    child = int(until(lambda: log.exists() and log.read_text().strip()))
    assert local.target.cancel(info.id).state == "cancelled"
    until(lambda: not Path(f"/proc/{child}").exists())


def test_ctrl_c_cancels_the_run_and_leaves_no_process(local: Any, until: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\n\ndef slow():\n    print('begun', flush=True)\n    time.sleep(600)\n"
    )
    local.target.up()
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "run", f"{tmp_path}/slow.py:slow"],
        env={**os.environ, "TRIMTAB_HOME": str(local.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until(lambda: any(run.state == "running" for run in local.target.runs()))
    log = local.home / "runs" / local.target.runs()[0].id / "log"
    until(lambda: "begun" in log.read_text())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    until(lambda: local.target.runs()[0].state == "cancelled")


def test_a_deployed_job_is_started_by_events_once_per_event(local: Any, call: Any, until: Any) -> None:
    trigger = EventTrigger(name="go", filters=[{"exact": {"type": "com.example.go"}}])
    local.target.deploy(job(ADD, triggers=[trigger]))
    broker = local.target.status()["broker"]
    event = {
        "ce-specversion": "1.0",
        "ce-type": "com.example.go",
        "ce-source": "/test",
        "content-type": "application/json",
    }
    for identity in ("1", "2", "2"):
        answer = call(broker, json.dumps({"a": 4, "other": 1}).encode(), {**event, "ce-id": identity})
        assert answer.status == 202
    until(lambda: [run.state for run in local.target.runs("adder")] == ["succeeded"] * 2)
    assert {run.results["sum"] for run in local.target.runs("adder")} == {4.5}


def test_a_job_runs_by_the_clock(local: Any, until: Any) -> None:
    code = "def add(context):\n    context.log_result('event', context.event['type'])\n"
    local.target.deploy(job(code, triggers=[CronTrigger(name="tick", schedule="@every 1s")]))
    until(lambda: len(local.target.runs("adder")) >= 2)
    done = until(lambda: [run for run in local.target.runs("adder") if run.state == "succeeded"])
    assert done[0].results == {"event": "dev.knative.sources.ping"}


def test_a_job_that_cannot_be_loaded_is_refused_at_deploy(local: Any) -> None:
    with pytest.raises(DeployFailed, match="cannot be loaded: 'handler' failed while it was imported: KeyError"):
        local.target.deploy(job("{}['missing']\n"))


def test_runs_of_a_killed_daemon_are_marked_failed(local: Any, until: Any) -> None:
    info = local.target.run(job("import time\n\ndef add():\n    time.sleep(600)\n"), {}, wait=False)
    until(lambda: local.target.runs()[0].state == "running")
    local.kill()
    local.target.up()
    found = local.target.runs()[0]
    assert (found.id, found.state) == (info.id, "failed")
    assert found.error == "the daemon ended while this ran; run it again"


def test_two_runs_at_once_do_not_meet(local: Any) -> None:
    code = "import time\n\ndef add(a: int):\n    time.sleep(0.3)\n    return a\n"
    results: dict[int, Any] = {}
    local.target.up()
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: local.target.run(job(code), {"a": n}).results}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: {"return": n} for n in range(4)}


def ends(local: Any, until: Any, count: int) -> list[dict[str, Any]]:
    """The events that tell of ended runs, as soon as there are so many."""

    def told() -> list[dict[str, Any]]:
        return [event for event in local.target.events(tail=100) if event["type"] == "dev.trimtab.run"]

    found: list[dict[str, Any]] = until(lambda: len(told()) >= count and told())
    return found


def test_the_end_of_each_run_is_an_event(local: Any, until: Any) -> None:
    well = local.target.run(job(ADD), {"a": 1})
    local.target.run(job("def add():\n    raise ValueError('no rows')\n"), {})
    first, second = ends(local, until, 2)
    assert (first["id"], first["subject"], first["source"]) == (f"{well.id}.ended", well.id, "/functions/adder")
    assert (first["function"], first["state"], second["state"]) == ("adder", "succeeded", "failed")
    assert first["data"]["results"]["sum"] == 1.5
    assert second["data"]["error"] == "ValueError: no rows"
    assert second["data"]["lost"] is False


def test_a_run_that_its_daemon_took_along_is_told_as_lost_by_the_next(local: Any, until: Any) -> None:
    local.target.run(job("import time\n\ndef add():\n    time.sleep(600)\n"), {}, wait=False)
    local.kill()
    local.target.up()
    (event,) = ends(local, until, 1)
    assert event["data"]["lost"] is True
    assert event["data"]["error"] == "the daemon ended while this ran; run it again"
