"""From deploy to delete on a real cluster."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from tests.cluster.conftest import Cluster, until

from trimtab.deploy.knative import place
from trimtab.deploy.knative.canary import Guard
from trimtab.deploy.knative.client.kinds import SINK_BINDING, TRIGGER
from trimtab.deploy.knative.manifests.names import FUNCTION
from trimtab.deploy.knative.situation import condition
from trimtab.errors import DeployFailed, NotFound
from trimtab.spec import TrafficTarget

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HELLO = "def handler(context, event):\n    return {'hello': 'world', 'type': event.type}\n"
LISTENER = "def handler(context, event):\n    context.logger.info_with('heard', type=event.type, id=event.id)\n"
FAILS_ONCE = """
import os, pathlib
def handler(context):
    before = pathlib.Path(context.artifact_path, "before")  # there for the second try on this machine, but not in a new pod
    if os.environ.get("TRIMTAB_FAILURES", "0") == "0" and not before.exists():
        before.parent.mkdir(parents=True, exist_ok=True)
        before.touch()
        raise ValueError("first")
    return "second"
"""
QUICK = {"window": "6s"}


def test_a_function_answers_over_http_and_to_events(cluster: Cluster) -> None:
    url = cluster.deploy("hello", HELLO)
    assert cluster.call(url).check("hello").value["hello"] == "world"
    event = {"ce-specversion": "1.0", "ce-type": "com.example.x", "ce-source": "/t", "ce-id": "1", "prefer": "reply"}
    assert cluster.call(url, {"x": 1}, event).status_code in (200, 202)
    assert not cluster.target.deploy(cluster.function("hello", HELLO)).changed


def test_an_edited_handler_answers(cluster: Cluster) -> None:
    """Prints the stages of the number that is aimed at: 6 s, with the base image on the node."""
    cluster.deploy("edited", HELLO)
    begun = time.monotonic()
    url = cluster.deploy("edited", HELLO.replace("world", "again"))
    until(lambda: cluster.call(url).check("edited").value["hello"] == "again", 60, "the new revision answers")
    print(f"from the edit to the answer: {time.monotonic() - begun:.1f} s")


def test_it_scales_to_zero_and_back(cluster: Cluster) -> None:
    url = cluster.deploy("idle", HELLO, scale=QUICK)
    cluster.call(url).check("idle")
    until(lambda: cluster.target.get("idle").replicas == 0, 180, "no replica is left")
    assert cluster.call(url).check("idle").value["hello"] == "world"


def test_it_scales_out_under_load(cluster: Cluster) -> None:
    slow = "import time\ndef handler(context, event):\n    time.sleep(0.5)\n    return 'done'\n"
    url = cluster.deploy("busy", slow, scale={**QUICK, "concurrency": 1, "max": 4})
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: cluster.call(url).status_code) for _ in range(240)]
        until(lambda: cluster.target.get("busy").replicas >= 3, 60, "three replicas")
        assert {call.result() for call in calls} == {200}


def test_the_clock_calls_it(cluster: Cluster) -> None:
    cron = {"kind": "cron", "name": "minute", "schedule": "* * * * *", "catchUp": "none"}
    cluster.deploy("ticked", LISTENER, scale={"min": 1}, triggers=[cron])
    until(lambda: '"heard"' in cluster.lines("ticked"), 150, "a tick of the PingSource")


def test_an_events_reply_starts_a_second_function(cluster: Cluster) -> None:
    """A SinkBinding takes the first event to the broker, a Trigger to `answer`, whose reply another one to `second`."""
    answers = (
        "from trimtab import CloudEvent\n"
        "def handler(context, event):\n"
        "    about = {'type': 'test.second', 'source': '/answer', 'id': event.id, 'specversion': '1.0'}\n"
        "    return CloudEvent(about, {})\n"
    )

    def on(type: str) -> list[dict[str, object]]:
        return [{"kind": "event", "name": "on", "filters": [{"exact": {"type": type}}]}]

    cluster.deploy("second", LISTENER, scale={"min": 1}, triggers=on("test.second"))
    cluster.deploy("answer", answers, triggers=on("test.first"))
    emits = "def handler(context, event):\n    context.emit(type='test.first', data={})\n    return 'emitted'\n"
    url = cluster.deploy("first", emits, sink={"broker": "default"})
    cluster.call(url).check("first")
    until(lambda: "test.second" in cluster.lines("second"), 120, "the reply reached the second function")


def test_a_job_gives_results_and_its_log(cluster: Cluster) -> None:
    train = "def handler(context, depth: int = 1):\n    print('training')\n    context.log_result('depth', depth)\n"
    lines: list[str] = []
    info = cluster.target.run(cluster.function("train", train, kind="job"), {"depth": 3}, on_log=lines.append)
    assert (info.state, info.results["depth"]) == ("succeeded", 3)
    assert "training" in lines


def test_a_job_that_fails_is_tried_again_and_its_deadline_ends_it(cluster: Cluster) -> None:
    lines: list[str] = []
    again = cluster.function("again", FAILS_ONCE, kind="job", job={"backoffLimit": 2})
    info = cluster.target.run(again, {}, on_log=lines.append)
    assert (info.state, info.results, info.tries) == ("succeeded", {"return": "second"}, 2)
    assert any(line.startswith("try 1 of 3 failed: ValueError: first; ") for line in lines)
    refuses = "from trimtab import PermanentError\ndef handler():\n    raise PermanentError('never')\n"
    info = cluster.target.run(cluster.function("never", refuses, kind="job", job={"backoffLimit": 2}), {})
    assert (info.state, info.exit_code, info.error, info.tries) == ("failed", 2, "PermanentError: never", 1)
    slow = "import time\ndef handler():\n    time.sleep(600)\n"
    info = cluster.target.run(cluster.function("late", slow, kind="job", job={"activeDeadline": "5s"}), {})
    assert (info.state, info.error) == ("failed", "it took longer than 5s (spec.job.activeDeadline)")


@pytest.mark.parametrize("tries", [0, 1])
def test_an_event_starts_a_job(cluster: Cluster, tries: int) -> None:
    """By a JobSink; by a Service of ours where the cluster has none, and for a job that is tried again."""
    trigger = {"kind": "event", "name": "on", "filters": [{"exact": {"type": "test.job"}}]}
    report = "def handler(context):\n    context.log_result('type', context.event['type'])\n"
    name = f"on-event-{tries}"
    job = cluster.function(name, report, kind="job", triggers=[trigger], job={"backoffLimit": tries})
    cluster.target.deploy(job)
    emits = "def handler(context, event):\n    context.emit(type='test.job', data={})\n    return 'emitted'\n"
    url = cluster.deploy("starts", emits, sink={"broker": "default"})
    cluster.call(url).check("starts")
    ended = until(
        lambda: [run for run in cluster.target.runs(name) if run.finished], 180, "the job of the event has ended"
    )
    assert [(run.state, run.results) for run in ended] == [("succeeded", {"type": "test.job"})]


def test_traffic_is_split_and_rolled_back(cluster: Cluster) -> None:
    cluster.deploy("split", HELLO.replace("world", "one"), scale={"min": 1})
    url = cluster.deploy("split", HELLO.replace("world", "two"), scale={"min": 1})
    old, new = [revision.name for revision in cluster.target.get("split").revisions]
    cluster.target.traffic("split", [TrafficTarget(revision=old, percent=50), TrafficTarget(revision=new, percent=50)])

    def answers() -> set[str]:
        return {cluster.call(url).check("split").value["hello"] for _ in range(20)}

    until(lambda: answers() == {"one", "two"}, 60, "both revisions answer")
    cluster.target.rollback("split", old)
    until(lambda: answers() == {"one"}, 60, "the old revision answers alone")


def test_a_canary_goes_up_by_its_figures(cluster: Cluster) -> None:
    url = cluster.deploy("canary", HELLO.replace("world", "one"), scale={"min": 1})
    cluster.target.options = replace(cluster.target.options, hold=True)
    try:
        cluster.deploy("canary", HELLO.replace("world", "two"), scale={"min": 1})
    finally:
        cluster.target.options = replace(cluster.target.options, hold=False)
    assert {cluster.call(url).check("canary").value["hello"] for _ in range(20)} == {"one"}
    with ThreadPoolExecutor(2) as pool:
        done = pool.submit(cluster.target.canary, "canary", [50, 100], 10.0, Guard(min_requests=20))
        while not done.done():
            cluster.call(url).check("canary")
    assert done.result().state == "promoted"
    until(lambda: cluster.call(url).check("canary").value["hello"] == "two", 60, "the new revision answers")


def test_a_crash_is_told_with_its_last_lines(cluster: Cluster) -> None:
    begun = time.monotonic()
    with pytest.raises(DeployFailed, match="crashes at start") as caught:
        cluster.deploy("crash", "raise RuntimeError('on purpose')\n")
    print(f"told after {time.monotonic() - begun:.1f} s, with the build")
    assert "on purpose" in str(caught.value)


def test_an_image_that_is_not_there_is_told(cluster: Cluster) -> None:
    repository = f"{cluster.target.settings.registry}/hello"
    function = cluster.function("absent", HELLO, build={"image": f"{repository}@sha256:{'ab' * 32}"})
    with pytest.raises(DeployFailed, match="is not in its registry"):
        cluster.target.deploy(function)


def test_what_is_no_longer_named_is_pruned_and_deleted(cluster: Cluster) -> None:
    trigger = {"kind": "event", "name": "gone", "filters": [{"exact": {"type": "x"}}]}
    cluster.deploy("pruned", HELLO, triggers=[trigger])
    assert [t.state for t in cluster.target.get("pruned").triggers] == ["active"]
    cluster.deploy("pruned", HELLO)
    assert cluster.target.get("pruned").triggers == []
    cluster.target.delete("pruned")
    with pytest.raises(NotFound):
        cluster.target.get("pruned")


def test_what_is_pruned_and_deleted_leaves_no_object(cluster: Cluster) -> None:
    api, own = cluster.target.api, {FUNCTION: "left"}
    trigger = {"kind": "event", "name": "gone", "filters": [{"exact": {"type": "x"}}]}
    cluster.deploy("left", HELLO, triggers=[trigger], sink={"broker": "default"})
    (there,) = api.all(TRIGGER, own)

    def is_ready() -> bool:
        return condition(api.get(TRIGGER, there["metadata"]["name"]), "Ready").get("status") == "True"

    until(is_ready, 60, "the trigger is ready")
    url = cluster.deploy("left", HELLO)
    assert api.all(TRIGGER, own) == api.all(SINK_BINDING, own) == []
    assert cluster.call(url).check("left").value["hello"] == "world"
    cluster.target.delete("left")
    until(lambda: place.owned(api, "left") == [], 60, "everything is gone")
