"""What must hold when processes die at random: functions answer again, nothing is orphaned or doubled, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trimtab.deploy.local.target import LocalTarget
from trimtab.spec import EnvVar, EventTrigger

LEDGER = """
import os

def handler(context, event):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(event.id + "\\n")
"""
WHO = "import os\n\ndef handler(context, event):\n    return {'pid': os.getpid()}\n"


def replicas(local: Any, function: str) -> list[int]:
    """Pids of the function's processes, by their environment."""
    found = []
    for pid in local.processes():
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        # A forked replica's environ file is its zygote's; the log it writes to says whose it is.
        try:
            log = str(Path(f"/proc/{pid}/fd/1").readlink())
        except OSError:
            continue
        if environ and f"/logs/{function}/" in log:
            found.append(pid)
    return found


@pytest.mark.chaos
def test_no_accepted_event_is_lost_when_daemon_and_replicas_are_killed(
    local: Any, call: Any, until: Any, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    trigger = EventTrigger(name="all", filters=[{"exact": {"type": "t"}}])
    local.deploy(
        "ledger",
        LEDGER,
        env=[EnvVar(name="LEDGER", value=str(ledger))],
        triggers=[trigger],
        scale={"concurrency": 2, "max": 2},
    )
    broker = local.target.status()["broker"]
    accepted: set[str] = set()
    stop = threading.Event()

    def produce(name: int) -> None:
        number = 0
        while not stop.is_set():
            identity = f"{name}-{number}"
            headers = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/chaos", "ce-id": identity}
            try:
                if call(broker, b"", headers).status == 202:
                    accepted.add(identity)
            except OSError:
                time.sleep(0.01)
            number += 1

    producers = [threading.Thread(target=produce, args=(name,)) for name in range(3)]
    for producer in producers:
        producer.start()
    chance = random.Random(7)
    for _ in range(5):
        time.sleep(chance.uniform(0.2, 1.2))
        for pid in chance.sample(running := replicas(local, "ledger"), len(running) // 2):
            os.kill(pid, signal.SIGKILL)
        time.sleep(chance.uniform(0.0, 0.3))
        local.kill()
        local.target.up()
    stop.set()
    for producer in producers:
        producer.join()

    def seen() -> set[str]:
        return set(ledger.read_text().split())

    until(lambda: accepted <= seen(), 60)
    assert len(accepted) > 100
    times = len(ledger.read_text().split())
    print(f"{len(accepted)} accepted, {times} deliveries, {times - len(seen())} duplicates")


@pytest.mark.chaos
def test_after_each_kill_no_replica_is_orphaned_or_doubled(local: Any, call: Any, until: Any) -> None:
    url = local.deploy("single", WHO, scale={"min": 1, "max": 1}).url
    for _ in range(4):
        before = replicas(local, "single")
        local.kill()
        local.target.up()
        until(lambda: call(url).status == 200)
        until(lambda before=before: not set(before) & set(replicas(local, "single")))
        until(lambda: len(replicas(local, "single")) == 1)


def test_a_killed_zygote_is_started_again(local: Any, call: Any, until: Any) -> None:
    url = local.deploy("hello", WHO, scale={"min": 1}).url
    zygotes = [pid for pid, command in local.processes().items() if "runtime.zygote" in command]
    for pid in zygotes:
        os.kill(pid, signal.SIGKILL)
    until(lambda: local.target.get("hello").replicas == 1 and call(url).status == 200)


def test_a_handler_that_ends_its_process_fails_only_its_own_request(local: Any, call: Any, until: Any) -> None:
    code = "import os\n\ndef handler(context, event):\n    if event.body == b'die':\n        os._exit(3)\n    return 'alive'\n"
    url = local.deploy("fragile", code).url
    with pytest.raises(OSError, match=r"closed|reset"):
        call(url, b"die")
    assert until(lambda: call(url, b"live").body == b"alive")
    assert "ended with exit code 3" in local.target.get("fragile").last_error


def test_a_function_that_no_longer_starts_answers_503_instead_of_nothing(
    local: Any, call: Any, until: Any, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    code = f"import os\n\nassert os.path.exists({str(flag)!r})\n\ndef handler(context, event):\n    return 'well'\n"
    url = local.deploy("doomed", code, scale={"window": "6s"}).url
    flag.unlink()
    os.kill(replicas(local, "doomed")[0], signal.SIGKILL)
    answer = call(url)
    assert answer.status == 503
    assert answer.json() == {"error": "the function does not start; see `trimtab logs doomed`"}
    flag.touch()
    until(lambda: call(url).status == 200)


def test_two_daemons_cannot_share_a_home(local: Any, until: Any) -> None:
    started: list[Any] = []
    threads = [
        threading.Thread(target=lambda: started.append(LocalTarget(local.settings).up()["pid"])) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 5
    assert len(set(started)) == 1
    until(lambda: sum("local.daemon" in command for command in local.processes().values()) == 1)


def test_workers_share_the_model_and_all_answer(local: Any, call: Any, until: Any) -> None:
    code = """
import os, time

def init_context(context):
    context.user_data.parent = os.getpid()

def handler(context, event):
    time.sleep(0.02)
    return {"pid": os.getpid(), "parent": context.user_data.parent}
"""
    url = local.deploy("team", code, scale={"workers": 2, "min": 1, "max": 1}).url

    def answers() -> list[dict[str, int]]:
        with ThreadPoolExecutor(8) as pool:
            return [answer.json() for answer in pool.map(lambda _: call(url), range(40))]

    seen: list[dict[str, int]] = []

    def both(gone: int = 0) -> bool:
        """Which worker takes a connection is the kernel's choice: ask until each has been chosen."""
        seen.extend(answers())
        return len({answer["pid"] for answer in seen} - {gone}) == 2

    until(both)
    assert len({answer["parent"] for answer in seen}) == 1
    killed = seen[0]["pid"]
    os.kill(killed, signal.SIGKILL)
    seen.clear()
    until(lambda: both(killed))
    assert local.target.get("team").replicas == 1


def test_concurrency_is_the_replicas_whatever_the_workers(local: Any, call: Any, tmp_path: Path) -> None:
    code = f"""
import fcntl, time

def handler(context, event):
    def count(step):
        with open({str(tmp_path / "count")!r}, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            now, most = map(int, (file.read() or "0 0").split())
            now += step
            file.truncate(0)
            file.write(f"{{now}} {{max(now, most)}}")
    count(1)
    time.sleep(0.05)
    count(-1)
"""
    url = local.deploy("shared", code, scale={"workers": 2, "concurrency": 3, "min": 1, "max": 1}).url
    with ThreadPoolExecutor(12) as pool:
        statuses = [answer.status for answer in pool.map(lambda _: call(url), range(60))]
    assert set(statuses) == {200}
    assert (tmp_path / "count").read_text() == "0 3"
