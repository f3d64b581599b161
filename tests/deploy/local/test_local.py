"""Functions on this machine: deployed, called, rolled over, scaled, killed, and never a request lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.deploy.local import logs
from trimtab.deploy.local.autoscale import TICK_INTERVAL
from trimtab.errors import Conflict, DeployFailed, NotFound, SpecError
from trimtab.spec import EnvVar, TrafficTarget

HELLO = "def handler(context, event):\n    return 'hello'\n"
WHO = (
    "import os\n\ndef handler(context, event):\n    return {'pid': os.getpid(), 'revision': os.environ['K_REVISION']}\n"
)


class Hammer:
    """Keeps asking from several threads until stopped; remembers every answer and every failure."""

    def __init__(self, call: Callable[..., Any], url: str, threads: int = 4) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.failures: list[str] = []
        self._go = True
        self._threads = [threading.Thread(target=self._run, args=(call, url)) for _ in range(threads)]

    def _run(self, call: Callable[..., Any], url: str) -> None:
        while self._go:
            try:
                answer = call(url, b"{}", {"content-type": "application/json"})
            except OSError as exc:
                self.failures.append(repr(exc))
                time.sleep(0.01)
            else:
                self.statuses.append(answer.status)
                self.bodies.append(answer.body)

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._go = False
        for thread in self._threads:
            thread.join()


def test_a_deployed_function_answers_under_its_url(local: Any, call: Any) -> None:
    deployment = local.deploy("hello", HELLO)
    assert deployment.changed
    assert deployment.revision == "hello-00001"
    assert deployment.url.endswith("/")
    assert [stage.name for stage in deployment.stages] == ["source", "environment", "zygote", "replica", "traffic"]
    assert call(deployment.url).body == b"hello"


def test_an_unchanged_function_is_not_deployed_again(local: Any) -> None:
    first = local.deploy("hello", HELLO)
    second = local.deploy("hello", HELLO)
    assert not second.changed
    assert second.revision == first.revision
    assert local.deploy("hello", HELLO, scale={"max": 3}).changed


def test_a_function_sees_the_runtime_contract_and_its_own_variables(local: Any, call: Any) -> None:
    code = "import os\n\ndef handler(context, event):\n    return dict(os.environ)\n"
    deployment = local.deploy("env", code, env=[EnvVar(name="GREETING", value="grüß Gott")])
    seen = call(deployment.url).json()
    assert seen["K_SERVICE"] == seen["K_CONFIGURATION"] == "env"
    assert seen["K_REVISION"] == "env-00001"
    assert seen["GREETING"] == "grüß Gott"
    assert "PYTEST_CURRENT_TEST" not in seen


def test_a_new_revision_takes_over_without_a_failed_request(local: Any, call: Any) -> None:
    url = local.deploy("roll", WHO).url
    with Hammer(call, url) as hammer:
        for number in range(3):
            local.deploy("roll", f"{WHO}# {number}\n")
            time.sleep(0.3)
    assert hammer.failures == []
    assert set(hammer.statuses) == {200}
    assert {b'"revision":"roll-0000%d"' % n in b"".join(hammer.bodies) for n in (1, 2, 3, 4)} == {True}


def test_a_broken_revision_is_reported_and_the_old_one_keeps_serving(local: Any, call: Any) -> None:
    url = local.deploy("fragile", HELLO).url
    with pytest.raises(DeployFailed, match="the previous revision keeps serving") as caught:
        local.deploy("fragile", "import nowhere_to_be_found\n")
    assert "ModuleNotFoundError: No module named 'nowhere_to_be_found'" in caught.value.traceback
    assert call(url).body == b"hello"
    info = local.target.get("fragile")
    assert [revision.state for revision in info.revisions] == ["ready", "failed"]
    assert "nowhere_to_be_found" in (info.last_error or "")


def test_a_function_that_never_started_leaves_nothing_behind(local: Any) -> None:
    with pytest.raises(DeployFailed, match="SyntaxError"):
        local.deploy("broken", "def handler(:\n")
    assert local.target.functions() == []
    with pytest.raises(NotFound, match="no function 'broken'; there is none yet"):
        local.target.get("broken")


def test_it_goes_to_zero_and_wakes_for_the_next_request(local: Any, call: Any, until: Any) -> None:
    url = local.deploy("sleepy", WHO, scale={"window": "6s"}).url
    first = call(url).json()["pid"]
    until(lambda: local.target.get("sleepy").replicas == 0, 30)
    answer = call(url).json()
    assert answer["pid"] != first
    assert local.target.get("sleepy").replicas == 1


def test_load_brings_replicas_and_its_end_takes_them_away(local: Any, call: Any, until: Any) -> None:
    code = "import os, time\n\ndef handler(context, event):\n    time.sleep(0.1)\n    return {'pid': os.getpid()}\n"
    url = local.deploy("busy", code, scale={"window": "6s", "concurrency": 1, "max": 3}).url
    with Hammer(call, url, threads=8) as hammer:
        until(lambda: local.target.get("busy").replicas == 3, 30)
        time.sleep(1.0)
    assert hammer.failures == []
    assert set(hammer.statuses) == {200}
    assert len(set(hammer.bodies)) == 3
    until(lambda: local.target.get("busy").replicas == 0, 30)


def test_traffic_is_split_by_percent_and_rolled_back(local: Any, call: Any) -> None:
    url = local.deploy("split", WHO).url
    local.deploy("split", WHO + "#\n")
    info = local.target.traffic(
        "split", [TrafficTarget(revision="split-00001", percent=75), TrafficTarget(percent=25, tag="next")]
    )
    seen = [call(url).json()["revision"] for _ in range(200)]
    assert 120 < seen.count("split-00001") < 180
    tagged = next(revision.urls["next"] for revision in info.revisions if revision.urls)
    assert {call(tagged).json()["revision"] for _ in range(5)} == {"split-00002"}
    local.target.traffic("split", [TrafficTarget(percent=100, tag="next")])
    back = local.target.rollback("split")
    assert (back.revisions[0].percent, list(back.revisions[1].urls)) == (100, ["next"])
    assert {call(url).json()["revision"] for _ in range(20)} == {"split-00001"}


def test_the_replicas_of_a_revision_that_had_a_tag_end_when_it_leaves(local: Any, call: Any, until: Any) -> None:
    local.deploy("tagged", WHO)
    local.deploy("tagged", WHO + "#\n", scale={"min": 1})
    first = TrafficTarget(revision="tagged-00001", percent=100)
    info = local.target.traffic("tagged", [first, TrafficTarget(percent=0, tag="next")])
    address = next(revision.urls["next"] for revision in info.revisions if revision.urls)
    pid = call(address).json()["pid"]
    local.target.traffic("tagged", [first])
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_revision_that_starts_slowly_gets_its_traffic_back(local: Any, call: Any) -> None:
    """Its start lasts longer than the autoscaler takes from one decision to the next."""
    slow = f"import time\n\ntime.sleep({TICK_INTERVAL + 0.2})\n{WHO}"
    url = local.deploy("slow", slow).url
    local.deploy("slow", WHO)
    local.target.traffic("slow", [TrafficTarget(percent=100)])
    assert local.target.rollback("slow").revisions[0].percent == 100
    assert call(url).json()["revision"] == "slow-00001"


def test_a_split_that_cannot_be_is_refused(local: Any) -> None:
    local.deploy("split", WHO)
    with pytest.raises(SpecError, match="traffic: found 90, allowed: percents that sum to 100"):
        local.target.traffic("split", [TrafficTarget(percent=90)])
    with pytest.raises(NotFound, match="'split' has no revision 'split-00009'; it has split-00001"):
        local.target.traffic("split", [TrafficTarget(revision="split-00009", percent=100)])
    with pytest.raises(Conflict, match="has no ready revision before 'split-00001'"):
        local.target.rollback("split")


def test_a_killed_replica_is_replaced(local: Any, call: Any, until: Any) -> None:
    url = local.deploy("mortal", WHO, scale={"min": 1}).url
    pid = call(url).json()["pid"]
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: call(url).json()["pid"] != pid)
    assert "SIGKILL" in (local.target.get("mortal").last_error or "")


def test_a_deleted_function_is_gone(local: Any, call: Any) -> None:
    url = local.deploy("brief", HELLO).url
    local.target.delete("brief")
    with pytest.raises(OSError, match="refused"):
        call(url)
    with pytest.raises(NotFound):
        local.target.delete("brief")


def test_the_logs_hold_what_a_handler_logs_and_prints(local: Any, call: Any) -> None:
    code = "def handler(context, event):\n    context.logger.info_with('seen', size=3)\n    print('printed')\n    return 1\n"
    url = local.deploy("talk", code).url
    call(url)
    lines = "\n".join(local.target.logs("talk"))
    assert '"seen"' in lines
    assert "printed" in lines
    assert list(local.target.logs("talk", tail=1)) == lines.splitlines()[-1:]


def test_logs_are_followed_beyond_the_end_of_a_function(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"talk-0000{number}.log" for number in (1, 2, 3))
    first.write_text("one\n")
    second.write_text("two\n")
    lines = logs.read(tmp_path, follow=True, tail=None, revision=None)
    assert next(lines) == "one"
    second.unlink()  # after the folder was listed, before it is read
    third.write_text("three\n")
    assert next(lines) == "three"
    third.unlink()
    second.write_text("more\n")
    assert next(lines) == "more"
    third.write_text("three\nfour\n")  # the name of a deleted function, deployed anew
    assert [next(lines), next(lines)] == ["three", "four"]


@pytest.mark.chaos
def test_a_killed_daemon_comes_back_with_every_function_at_its_address(local: Any, call: Any, until: Any) -> None:
    urls = [local.deploy(f"fn-{number}", WHO, scale={"min": number % 2}).url for number in range(3)]
    for _ in range(3):
        with Hammer(call, urls[0]):
            local.kill()
            local.target.up()
            until(lambda: [call(url).status for url in urls] == [200, 200, 200])
        until(lambda: sum("zygote" in line for line in local.processes().values()) <= 8)
    running = sum(info.replicas for info in local.target.functions())
    until(lambda: running == sum(info.replicas for info in local.target.functions()))
    assert len({call(urls[1]).json()["pid"] for _ in range(10)}) == 1
