"""Runs that fail are tried again, as often as the job allows, within its deadline; what has ended is kept as long as it says."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.local.conftest import gone

from trimtab.config import settings
from trimtab.deploy.abc import RunInfo
from trimtab.deploy.local import runs as runs_module
from trimtab.deploy.local import tries
from trimtab.deploy.local.machine import Machine
from trimtab.deploy.local.runs import Runs
from trimtab.deploy.local.store import Store
from trimtab.spec import Function, FunctionSpec, Job, Metadata, Source, check

COUNTED = """
import os, pathlib, signal, time
from trimtab import PermanentError

def add(context, succeeds: int = 0):
    counter = pathlib.Path(context.artifact_path, "count")
    counter.parent.mkdir(parents=True, exist_ok=True)
    count = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(count))
    context.log_result("count", count)
    {body}
    return count
"""
FAILS = "if count != succeeds: raise ValueError(f'no {count}')"


def job(body: str, **fields: Any) -> Function:
    spec = FunctionSpec(kind="job", handler="handler:add", source=Source(code=COUNTED.format(body=body)))
    spec.job = Job(**fields)
    return check(Function(metadata=Metadata(name="adder"), spec=spec))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which pauses were made; none of them takes long."""
    made: list[int] = []

    def pause(failures: int) -> float:
        made.append(failures)
        return 0.01

    monkeypatch.setattr(tries, "pause", pause)
    return made


@asynccontextmanager
async def machine(home: Path) -> AsyncIterator[Runs]:
    config = settings({"TRIMTAB_HOME": str(home)})
    for folder in (config.home, config.logs):
        folder.mkdir(parents=True, exist_ok=True)
    made = Machine(config, Store(config.home / "functions.db"), "http://127.0.0.1:9")
    runs = Runs(config.home / "runs.db", made)
    try:
        yield runs
    finally:
        await runs.close()
        await made.close()


def run(home: Path, function: Function, parameters: dict[str, Any] | None = None) -> tuple[RunInfo, list[str]]:
    async def go() -> tuple[RunInfo, list[str]]:
        lines: list[str] = []
        async with machine(home) as runs:
            info = await runs.start(function, parameters or {}, {}, None)
            return await runs.wait(info.id, lines.append), lines

    return asyncio.run(go())


def test_a_run_that_fails_is_tried_until_it_succeeds(tmp_path: Path, pauses: list[int]) -> None:
    info, lines = run(tmp_path, job(FAILS, backoff_limit=5), {"succeeds": 3})
    assert (info.state, info.exit_code, info.error, info.tries) == ("succeeded", 0, None, 3)
    assert info.results == {"count": 3, "return": 3}
    assert [line for line in lines if line.startswith("try ")] == [
        "try 1 of 6 failed: ValueError: no 1; the next in 0.01s",
        "try 2 of 6 failed: ValueError: no 2; the next in 0.01s",
    ]
    assert pauses == [1, 2]


def test_it_has_failed_when_the_last_try_has(tmp_path: Path) -> None:
    info, _ = run(tmp_path, job(FAILS, backoff_limit=2))
    assert (info.state, info.exit_code, info.error, info.tries) == ("failed", 1, "ValueError: no 3", 3)


def test_without_a_limit_nothing_is_tried_again(tmp_path: Path) -> None:
    info, lines = run(tmp_path, job(FAILS))
    assert (info.state, info.tries) == ("failed", 1)
    assert not [line for line in lines if line.startswith("try ")]


@pytest.mark.parametrize(
    ("body", "parameters", "error"),
    [
        ("raise PermanentError('the table is gone')", {}, "PermanentError: the table is gone"),
        ("import sys; sys.exit(2)", {}, "the handler called exit(2)"),
        ("pass", {"succeeds": "x"}, "parameter succeeds: found 'x', allowed: a value of type int"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(tmp_path: Path, body: str, parameters: Any, error: str) -> None:
    info, _ = run(tmp_path, job(body, backoff_limit=5), parameters)
    assert (info.state, info.exit_code, info.error, info.tries) == ("failed", 2, error, 1)


def test_a_process_that_was_killed_is_tried_again_and_leaves_no_results(tmp_path: Path) -> None:
    body = "if count == 2: os.kill(os.getpid(), signal.SIGKILL)\n    if count == 1: raise ValueError('first')"
    info, lines = run(tmp_path, job(body, backoff_limit=1))
    assert (info.state, info.exit_code, info.error, info.tries) == ("failed", 137, "ended by SIGKILL", 2)
    assert info.results == {}
    assert any(line.startswith("try 1 of 2 failed: ValueError: first") for line in lines)


def test_the_deadline_ends_a_run_that_is_under_way(tmp_path: Path) -> None:
    info, _ = run(tmp_path, job("time.sleep(600)", active_deadline="1s", backoff_limit=5))
    assert (info.state, info.error, info.tries) == ("failed", "it took longer than 1s (spec.job.activeDeadline)", 1)


def test_the_deadline_ends_a_run_that_waits_for_its_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "pause", lambda _: 600.0)
    info, _ = run(tmp_path, job(FAILS, active_deadline="2s", backoff_limit=5))
    error = "it took longer than 2s (spec.job.activeDeadline); before that: ValueError: no 1"
    assert (info.state, info.error, info.tries) == ("failed", error, 1)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_waits_for_its_next_try_is_cancelled_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr(tries, "pause", lambda _: 600.0)

    async def go() -> RunInfo:
        async with machine(tmp_path) as runs:
            info = await runs.start(job(FAILS, backoff_limit=1), {}, {}, None)
            log = runs.folder(info.id) / "log"
            await _until(lambda: "the next in 600s" in log.read_text())
            return await runs.cancel(info.id, lost=lost)

    info = asyncio.run(go())
    assert (info.state, info.lost, info.tries) == ("cancelled", lost, 1)


def test_the_next_try_runs_the_code_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is edited in between is another run's."""
    file = tmp_path / "handler.py"
    file.write_text(COUNTED.format(body=FAILS))
    function = job(FAILS, backoff_limit=1)
    function.spec.source = Source(path=str(file))
    monkeypatch.setattr(tries, "pause", lambda _: file.write_text("def add():\n    return 'edited'\n") * 0.0)
    info, _ = run(tmp_path / "home", function, {"succeeds": 2})
    assert (info.state, info.results["return"]) == ("succeeded", 2)


def test_a_run_is_forgotten_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with machine(tmp_path) as runs:
            kept = await runs.start(job("pass"), {}, {}, None)
            short = await runs.start(job("pass", ttl_after_finished="1h"), {}, {}, None)
            for info in (kept, short):
                await runs.wait(info.id, lambda _: None)
            ended = runs.get(short.id)
            assert ended.kept == 3600
            assert len(runs.list()) == 2
            monkeypatch.setattr(runs_module, "now", lambda: (ended.finished or 0) + 3601)
            assert [info.id for info in runs.list()] == [kept.id]
            await runs.start(job("pass"), {}, {}, None)
            assert runs.folder(short.id).exists()  # nobody has been told of its end
            runs.told(short.id)
            await runs.start(job("pass"), {}, {}, None)
            assert not runs.folder(short.id).exists()
            assert runs.folder(kept.id).exists()

    asyncio.run(go())


def test_a_run_whose_end_finds_no_room_on_the_disk_ends_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "_AGAIN", 0.01)
    put, refused = Runs._put, list[str]()

    def refusing(self: Runs, info: RunInfo) -> None:
        if info.tries == 2 and len(refused) < 3:
            refused.append(info.state)
            raise sqlite3.OperationalError("database or disk is full")
        put(self, info)

    monkeypatch.setattr(Runs, "_put", refusing)
    info, _ = run(tmp_path, job(FAILS, backoff_limit=5), {"succeeds": 2})
    assert (info.state, info.tries) == ("succeeded", 2)
    assert refused == ["running", "succeeded", "succeeded"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is set, the disk is full for whatever is written of a run."""
    event, put = threading.Event(), Runs._put
    monkeypatch.setattr(runs_module, "_AGAIN", 0.01)
    monkeypatch.setattr(runs_module, "_WRITTEN", 0.1)

    def refusing(self: Runs, info: RunInfo) -> None:
        if event.is_set() and info.state != "pending":
            raise sqlite3.OperationalError("database or disk is full")
        put(self, info)

    monkeypatch.setattr(Runs, "_put", refusing)
    yield event
    event.clear()


def test_a_run_that_begins_on_a_full_disk_is_watched(tmp_path: Path, full: threading.Event) -> None:
    async def go() -> RunInfo:
        async with machine(tmp_path) as runs:
            full.set()
            info = await runs.start(job("time.sleep(600)", active_deadline="1s"), {}, {}, None)
            await asyncio.sleep(1.5)
            full.clear()
            return await runs.wait(info.id, lambda _: None)

    info = asyncio.run(go())
    assert (info.state, info.error) == ("failed", "it took longer than 1s (spec.job.activeDeadline)")


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_is_cancelled_on_a_full_disk_and_the_daemon_ends(
    tmp_path: Path, full: threading.Event, lost: bool
) -> None:
    async def go() -> RunInfo:
        async with machine(tmp_path) as runs:
            info = await runs.start(job("time.sleep(600)"), {}, {}, None)
            full.set()
            return await runs.cancel(info.id, lost=lost)

    info = asyncio.run(go())
    assert (info.state, info.lost) == ("cancelled", lost)
    for folder in Path("/proc").glob("[0-9]*"):
        assert mark(tmp_path) not in environ_of(folder)


def test_the_deadline_does_not_count_what_comes_before_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = Machine.interpreter

    async def slow(self: Machine, function: Function, folder: Path) -> str:
        await asyncio.sleep(2.2)
        return await interpreter(self, function, folder)

    monkeypatch.setattr(Machine, "interpreter", slow)
    info, _ = run(tmp_path, job("pass", active_deadline="2s"))
    assert info.state == "succeeded", info.error


def test_what_a_try_started_ends_with_it(tmp_path: Path) -> None:
    body = "import subprocess; print('child', subprocess.Popen(['sleep', '600']).pid, flush=True)\n    " + FAILS
    info, lines = run(tmp_path, job(body, backoff_limit=1), {"succeeds": 2})
    assert info.state == "succeeded"
    children = [int(line.split()[1]) for line in lines if line.startswith("child ")]
    assert len(children) == 2
    assert all(gone(pid) for pid in children)


def test_a_run_that_the_daemon_lost_is_forgotten_in_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> list[RunInfo]:
        async with machine(tmp_path) as runs:
            info = await runs.start(job("pass", ttl_after_finished="1h"), {}, {}, None)
            await runs.wait(info.id, lambda _: None)
            ended = runs.get(info.id)
            ended.state, ended.finished = "running", None
            runs._put(ended)
        async with machine(tmp_path) as runs:
            (lost,) = runs.list()
            assert (lost.state, lost.lost) == ("failed", True)
            monkeypatch.setattr(runs_module, "now", lambda: (lost.finished or 0) + 3601)
            return runs.list()

    assert asyncio.run(go()) == []


def test_pauses_are_those_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [tries.pause(failures) for failures in (1, 2, 3, 6, 7, 1000)] == [10, 20, 40, 320, 360, 360]


def test_no_process_is_left(tmp_path: Path) -> None:
    run(tmp_path, job(FAILS, backoff_limit=2))
    for folder in Path("/proc").glob("[0-9]*"):
        assert mark(tmp_path) not in environ_of(folder)


def mark(home: Path) -> bytes:
    return f"TRIMTAB_HOME={home}".encode()


def environ_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes() if int(process.name) != os.getpid() else b""
    except OSError:
        return b""
