"""The command line with a real daemon, as separate processes, as a person uses it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trimtab.config import settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import TargetUnreachable
from trimtab.runtime.http import request

HELLO = """\
def handler(context, event):
    context.logger.info_with("called", version=VERSION)
    return {"version": VERSION, "got": event.body}
"""


def version(number: int) -> str:
    return HELLO.replace("VERSION", str(number))


def until(condition: Callable[[], Any], what: Callable[[], str] = str) -> Any:
    """Poll until the condition holds."""
    deadline = time.monotonic() + 60
    while not (result := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
    return result


class Shell:
    """A working directory, a home with its daemon, and a person who types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "TRIMTAB_HOME": str(folder / "home"), "NO_COLOR": "1"}
        self.target = LocalTarget(settings(self.environ), start=False)

    def __call__(self, *arguments: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "trimtab", *arguments],
            cwd=self.folder,
            env={**self.environ, **options.pop("env", {})},
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json").stdout)

    @contextmanager
    def running(self, *arguments: str, code: int) -> Iterator[Callable[[], str]]:
        """Run a command until the block ends; then it is told Ctrl-C, and ends with `code` and without a traceback.

        Gives a function that reads what it printed so far, on both streams.
        """
        printed = self.folder / f"{arguments[0]}.out"
        with printed.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "trimtab", *arguments],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                yield printed.read_text
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == code, printed.read_text()
            finally:
                process.kill()
                process.wait()
        assert "KeyboardInterrupt" not in printed.read_text()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.target.down()


def test_a_functions_life_from_deploy_to_delete(shell: Shell) -> None:
    source = shell.folder / "hello.py"
    source.write_text(version(1))
    assert "no daemon runs" in shell("ls", code=4).stderr
    first = shell.json("deploy", "hello.py", "--concurrency", "2", "--max", "3")
    assert (first["name"], first["revision"], first["changed"]) == ("hello", "hello-00001", True)
    assert all(stage["ms"] >= 0 for stage in first["stages"])
    assert "hello is unchanged" in shell("deploy", "hello.py", "--concurrency", "2", "--max", "3").stdout

    answer = json.loads(shell("invoke", "hello", "-d", '{"x": 1}').stdout)
    assert answer == {"version": 1, "got": {"x": 1}}
    event = shell("invoke", "hello", "-d", "{}", "--event", "com.example.made", "--source", "/me", "--ext", "k=v", "-i")
    assert "ce-type: com.example.made.reply" in event.stdout

    source.write_text("import nothing_of_this_name\n")
    failed = shell("deploy", "hello.py", code=6)
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in failed.stderr
    assert "Serving: hello-00001 (100%)." in failed.stderr
    assert "nothing_of_this_name" in shell.json("get", "hello")["last_error"]

    source.write_text(version(2))
    second = shell.json("deploy", "hello.py")["revision"]
    split = shell.json("traffic", "hello", "hello-00001=90", "latest=10", "--tag", "canary=latest")
    assert {r["name"]: r["percent"] for r in split["revisions"] if r["percent"]} == {"hello-00001": 90, second: 10}
    tagged = next(r["urls"]["canary"] for r in split["revisions"] if r["name"] == second)
    assert json.loads(shell("invoke", tagged).stdout)["version"] == 2
    shell("rollback", "hello", "--to", "hello-00001")
    assert json.loads(shell("invoke", "hello").stdout)["version"] == 1

    assert "version=1" in shell("logs", "hello").stdout
    assert [
        json.loads(line)["level"] for line in shell("logs", "hello", "--tail", "1", "-o", "json").stdout.splitlines()
    ]
    shell("delete", "hello", "--yes")
    assert shell.json("ls") == []
    assert "The daemon is stopped." in shell("down").stdout


def test_events_and_ticks_reach_a_function_and_the_dead_letters(shell: Shell) -> None:
    (shell.folder / "audit.py").write_text(
        "import trimtab\n\n\ndef handler(context, event):\n"
        "    if event.body == {'bad': 1}:\n        raise trimtab.PermanentError('bad event')\n"
    )
    shell("deploy", "audit.py", "--on", "type=com.example.made", "--cron", "0 0 1 1 *")
    good = shell("publish", "com.example.made", "-d", '{"good": 1}').stdout.strip()
    bad = shell("publish", "com.example.made", "-d", '{"bad": 1}').stdout.strip()
    assert [event["id"] for event in map(json.loads, shell("events", "-o", "json").stdout.splitlines())] == [good, bad]
    (letter,) = until(lambda: shell.json("dead", "ls"))
    assert (letter["event"]["id"], letter["trigger"]) == (bad, "on-com-example-made")
    assert "400" in shell("dead", "show", str(letter["id"])).stdout
    assert shell("dead", "drop", "--all").stdout == "1 event dropped\n"

    identity = shell("trigger", "fire", "audit/cron").stdout.strip()
    fired = until(lambda: [f for f in shell.json("trigger", "history", "audit/cron") if f["state"] == "delivered"])
    assert fired[0]["id"] == identity
    assert {t["name"] for t in shell.json("trigger", "ls")} == {"cron", "on-com-example-made"}


def test_a_job_is_run_cancelled_and_remembered(shell: Shell) -> None:
    (shell.folder / "job.py").write_text(
        "import time\n\n\ndef train(context, depth: int, slow: bool = False):\n"
        "    print('training', depth, flush=True)\n    time.sleep(60 if slow else 0)\n    return {'next': depth + 1}\n"
    )
    done = shell("run", "job.py:train", "-p", "depth=3")
    assert "4" in done.stdout
    assert "training 3" in done.stderr
    shell("run", "job.py:train", "-p", "depth=three", code=1)
    with shell.running("run", "job.py:train", "-p", "depth=1", "-p", "slow=true", code=130) as printed:
        until(lambda: "training 1" in printed(), printed)
    until(lambda: shell.json("runs")[0]["state"] == "cancelled")
    shell("deploy", "job.py:train", "--kind", "job", "--name", "nightly")
    assert "6" in shell("run", "nightly", "-p", "depth=5").stdout


def test_dev_deploys_on_save_and_survives_what_does_not_import(shell: Shell) -> None:
    source = shell.folder / "hello.py"
    source.write_text("print('imported')\n" + version(1))
    with shell.running("dev", "hello.py", code=130) as printed:
        until(lambda: "hello-00001 is ready" in printed() and "imported" in printed(), printed)
        source.write_text("import nothing_of_this_name\n")
        until(lambda: "Serving: hello-00001 (100%)" in printed(), printed)
        source.write_text(version(3))
        until(lambda: "hello-00003 is ready" in printed(), printed)
        assert json.loads(shell("invoke", "hello").stdout)["version"] == 3
        until(lambda: "called" in printed() and "version=3" in printed(), printed)
    assert "No module named 'nothing_of_this_name'" in printed()
    assert shell.json("get", "hello")["revision"] == "hello-00003"
    with shell.running("dev", "hello.py", "--delete", code=130) as printed:
        until(lambda: "hello is unchanged" in printed(), printed)
    assert "hello is deleted" in printed()
    assert shell.json("ls") == []


def test_logs_are_followed(shell: Shell) -> None:
    (shell.folder / "hello.py").write_text(version(1))
    shell("deploy", "hello.py")
    with shell.running("logs", "hello", "-f", code=130) as printed:
        shell("invoke", "hello")
        until(lambda: "called" in printed(), printed)


def test_a_replica_serves_without_a_daemon(shell: Shell) -> None:
    (shell.folder / "hello.py").write_text(version(1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with shell.running("serve", "hello.py:handler", "--port", str(port), code=0) as printed:
        assert until(lambda: answered(f"http://127.0.0.1:{port}/"), printed) == b'{"version":1,"got":""}'
    shell.folder.joinpath("bad.py").write_text("raise ValueError('no')\n")
    assert "ValueError: no" in shell("serve", "bad.py", "--port", "0", code=1).stdout
    assert shell("status", code=4).stdout == ""


def test_the_daemon_runs_in_the_foreground(shell: Shell) -> None:
    with shell.running("up", "--foreground", code=0) as printed:
        until(lambda: daemon_runs(shell), printed)
        assert shell.json("up")["started"] is False


def test_stages_are_shown_to_a_person_as_they_finish(shell: Shell, on_terminal: Any) -> None:
    (shell.folder / "hello.py").write_text(version(1))
    command = [sys.executable, "-m", "trimtab", "deploy", str(shell.folder / "hello.py")]
    shown = on_terminal(command, shell.environ).decode()
    lines = shown.splitlines()
    assert "hello-00001 is ready after" in lines[-1]
    assert all(line.startswith("  ") and " ms" in line for line in lines[:-1])
    assert len(lines) > 2
    called = [sys.executable, "-m", "trimtab", "invoke", "hello", "-d", "1"]
    assert on_terminal(called, shell.environ).decode().splitlines() == ["{", '  "version": 1,', '  "got": 1', "}"]


def test_functions_names_are_completed(shell: Shell) -> None:
    (shell.folder / "hello.py").write_text(version(1))
    completion = {"_TRIMTAB_COMPLETE": "bash_complete", "COMP_WORDS": "trimtab get he", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", "from trimtab.cli import main; main()"]
    environ = {**shell.environ, **completion}
    nothing = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (nothing.stdout.strip(), nothing.stderr) == ("", "")
    shell("deploy", "hello.py")
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert found.stdout == "plain,hello\n"


def answered(url: str) -> bytes | None:
    try:
        with request("GET", url, [], None) as response:
            return response.read()
    except TargetUnreachable:
        return None


def daemon_runs(shell: Shell) -> bool:
    try:
        return bool(shell.target.status())
    except TargetUnreachable:
        return False
