"""Runs of jobs as Kubernetes Jobs: started, followed, read back, cancelled."""

from __future__ import annotations

import json
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key, Object
from tests.deploy.knative.test_client import until
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative.manifests.job import KEPT
from trimtab.deploy.knative.runs import Runs, again, describe
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.knative.times import seconds_of
from trimtab.errors import NotFound
from trimtab.spec import Function, FunctionSpec, Metadata

TIME = "2026-01-01T00:00:0"


class Jobs:
    """Kubernetes' Job controller and kubelet: makes a pod that says some lines, and ends as told."""

    def __init__(self) -> None:
        self.code: int | None = 0
        self.message = json.dumps({"trimtab.dev/result": {"results": {"accuracy": 0.9}, "error": None}})
        self.reason = "Completed"

    def __call__(self, cluster: FakeCluster, change: str, item: Object) -> None:
        if item.get("kind") != "Job" or change == "DELETED":
            return
        name = item["metadata"]["name"]
        if item["spec"].get("suspend"):
            return
        pod = f"{name}-x"
        ended = {"exitCode": self.code, "reason": self.reason, "message": self.message, "finishedAt": f"{TIME}9Z"}
        state: dict[str, Any] = {"running": {}} if self.code is None else {"terminated": ended}
        status = {"phase": "Running", "containerStatuses": [{"name": "user-container", "state": state}]}
        cluster.logs[pod] = [(f"{TIME}1.0", "training"), (f"{TIME}2.0", self.message)]
        labels = {**item["spec"]["template"]["metadata"]["labels"], "job-name": name}
        cluster.add("v1", "pods", pod, metadata={"labels": labels}, status=status)
        if self.code is None:
            return
        condition = {"type": "Complete" if self.code == 0 else "Failed", "status": "True", "message": "Job has failed"}
        with cluster.store.lock:
            key = Key("batch/v1", "jobs", "default", name)
            job = cluster.store.get(key)
            job["status"] = {"startTime": f"{TIME}1Z", "conditions": [condition]}
            cluster.store.put(key, job)


@pytest.fixture
def jobs(cluster: FakeCluster) -> Jobs:
    made = Jobs()
    cluster.controllers.append(made)
    return made


def job() -> Function:
    return function("kind: job, parameters: {depth: 1}", name="train")


@pytest.mark.usefixtures("jobs")
def test_a_run_gives_its_results_and_its_log(target: KnativeTarget) -> None:
    lines: list[str] = []
    info = target.run(job(), {"depth": 3}, on_log=lines.append)
    assert (info.state, info.exit_code, info.results) == ("succeeded", 0, {"accuracy": 0.9})
    assert (info.function, info.parameters) == ("train", {"depth": 3})
    assert lines == ["training"]
    assert [each.id for each in target.runs("train")] == [info.id]
    assert target.runs("other") == []


def test_a_runs_lines_come_while_it_runs(target: KnativeTarget, cluster: FakeCluster, jobs: Jobs) -> None:
    jobs.code = None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: target.run(job(), {}, on_log=lines.put))
        try:
            assert lines.get(timeout=20) == "training"
            (name,) = cluster.names("v1", "pods")
            cluster.logs[name].append((f"{TIME}3.0", "epoch 2"))
            assert lines.get(timeout=20) == "epoch 2"
            assert not running.done()
        finally:
            jobs.code = 0
            for key in [key for key in cluster.store.objects if key.plural == "jobs"]:
                jobs(cluster, "WRITTEN", cluster.store.get(key))
        assert running.result(timeout=20).state == "succeeded"


def test_the_job_says_what_to_do(target: KnativeTarget, cluster: FakeCluster, jobs: Jobs) -> None:
    info = target.run(job(), {"depth": 3}, inputs={"data": "s3://b/x"}, artifact_path="s3://b/a", wait=False)
    assert info.state in ("pending", "succeeded")
    (name,) = cluster.names("batch/v1", "jobs")
    container = cluster.object("batch/v1", "jobs", name)["spec"]["template"]["spec"]["containers"][0]
    environ = {each["name"]: each["value"] for each in container["env"]}
    assert environ["TRIMTAB_PARAMETERS"] == '{"depth":3}'
    assert environ["TRIMTAB_INPUTS"] == '{"data":"s3://b/x"}'
    assert (environ["TRIMTAB_KIND"], environ["TRIMTAB_RUN"]) == ("job", info.id)
    assert environ["TRIMTAB_ARTIFACT_PATH"] == "s3://b/a"


@pytest.mark.parametrize(
    ("reason", "message", "error"),
    [
        ("Error", json.dumps({"trimtab.dev/result": {"error": "ValueError: no", "results": {}}}), "ValueError: no"),
        ("OOMKilled", "", "out of memory: raise spec.resources.limits.memory"),
        ("Error", "Traceback\nImportError: x", "ended with exit code 1: ImportError: x"),
    ],
)
def test_a_run_that_fails_says_why(target: KnativeTarget, jobs: Jobs, reason: str, message: str, error: str) -> None:
    jobs.code, jobs.reason, jobs.message = 1, reason, message
    info = target.run(job(), {})
    assert (info.state, info.error) == ("failed", error)


def test_a_run_that_took_too_long_says_so(target: KnativeTarget, cluster: FakeCluster, jobs: Jobs) -> None:
    jobs.code = None
    info = target.run(function("kind: job, job: {activeDeadline: 90s}", name="train"), {}, wait=False)
    key = Key("batch/v1", "jobs", "default", f"train-{info.id}")
    item = cluster.store.get(key)
    item["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    jobs.code = 143
    jobs.message = json.dumps({"trimtab.dev/result": {"results": {}, "error": "the handler called exit(143)"}})
    cluster.store.put(key, item)
    found = target.runs()[0]
    assert (found.state, found.error) == ("failed", "it took longer than 1m30s (spec.job.activeDeadline)")


def tried(number: int, code: int) -> Object:
    message = json.dumps({"trimtab.dev/result": {"results": {"count": number}, "error": f"ValueError: no {number}"}})
    ended = {"exitCode": code, "message": message, "finishedAt": f"{TIME}{number}Z"}
    status = {"phase": "Failed", "containerStatuses": [{"name": "user-container", "state": {"terminated": ended}}]}
    notes = {"batch.kubernetes.io/job-index-failure-count": str(number - 1)}
    return {"metadata": {"name": f"train-0-{number}", "annotations": notes}, "status": status}


def run_of(status: Object, **annotations: str) -> Object:
    spec = {
        "backoffLimitPerIndex": 2,
        "activeDeadlineSeconds": 60,
        "template": {"spec": {"containers": [{"name": "x"}]}},
    }
    return {"metadata": {"name": "train", "annotations": annotations}, "spec": spec, "status": status}


def test_a_run_that_its_deadline_ends_in_a_later_try_has_nothing_of_the_earlier_one() -> None:
    """The Job's controller takes the pod that runs away; the one before stays."""
    target = {
        "type": "FailureTarget",
        "status": "True",
        "reason": "DeadlineExceeded",
        "lastTransitionTime": f"{TIME}5Z",
    }
    failed = {**target, "type": "Failed", "lastTransitionTime": f"{TIME}8Z"}
    item = run_of({"failed": 2, "conditions": [target, failed]})
    found = describe(item, tried(1, 1), tried(1, 1)["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
    assert (found.exit_code, found.results, found.tries) == (None, {}, 2)
    assert found.error == "it took longer than 1m (spec.job.activeDeadline)"
    assert found.finished == seconds_of(f"{TIME}8Z")


def test_a_run_that_is_cancelled_in_a_later_try_has_nothing_of_the_earlier_one() -> None:
    item = run_of({"failed": 1, "active": 1}, **{"trimtab.dev/cancelled": f"{TIME}7Z"})
    found = describe(item, tried(1, 1), "")
    assert (found.state, found.exit_code, found.results) == ("cancelled", None, {})


def test_a_try_is_not_tried_again_when_the_run_has_failed_and_waits_for_its_pods() -> None:
    item = run_of({"failed": 1})
    assert list(again(item, [tried(1, 143)], set())) == ["try 1 of 3 failed: ValueError: no 1; it is tried again"]
    item["status"]["conditions"] = [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]
    assert list(again(item, [tried(1, 143)], set())) == []


class Tried:
    """Kubernetes' Job controller for an indexed Job: a pod for each exit code, when `lines` tell of the one before."""

    def __init__(self, codes: list[int], lines: list[str]) -> None:
        self.codes, self.lines, self.thread = codes, lines, threading.Thread()

    def __call__(self, cluster: FakeCluster, _: str, item: Object) -> None:
        if item.get("kind") == "Job" and not self.thread.ident:
            self.thread = threading.Thread(target=self._run, args=(cluster, item), daemon=True)
            self.thread.start()

    def _run(self, cluster: FakeCluster, item: Object) -> None:
        name, limit = item["metadata"]["name"], item["spec"]["backoffLimitPerIndex"]
        labels = {**item["spec"]["template"]["metadata"]["labels"], "job-name": name}
        for number, code in enumerate(self.codes):
            error = None if code == 0 else f"ValueError: no {number}"
            message = json.dumps({"trimtab.dev/result": {"results": {"count": number}, "error": error}})
            ended = {"exitCode": code, "message": message, "finishedAt": f"{TIME}{number}Z"}
            status = {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{"name": "user-container", "state": {"terminated": ended}}],
            }
            notes = {"batch.kubernetes.io/job-index-failure-count": str(number)}
            metadata = {"labels": labels, "annotations": notes, "creationTimestamp": f"{TIME}{number}Z"}
            cluster.logs[f"{name}-0-{number}"] = [(f"{TIME}{number}.0", message)]
            cluster.add("v1", "pods", f"{name}-0-{number}", metadata=metadata, status=status)
            if number < limit and code not in (0, 2):
                self._wait(f"try {number + 1} of")
        last = self.codes[-1]
        condition = {"type": "Failed" if last else "Complete", "status": "True", "message": "Job has failed indexes"}
        counts = {"failed": sum(code != 0 for code in self.codes), "succeeded": int(last == 0)}
        key = Key("batch/v1", "jobs", "default", name)
        job = cluster.store.get(key)
        job["status"] = {"startTime": f"{TIME}1Z", "conditions": [condition], **counts}
        cluster.store.put(key, job)

    def _wait(self, beginning: str) -> None:
        until(lambda: any(line.startswith(beginning) for line in self.lines))


@pytest.mark.parametrize(
    ("codes", "state", "error", "noted"),
    [
        ([1, 137, 0], "succeeded", None, [1, 2]),
        ([1, 1, 1], "failed", "ValueError: no 2", [1, 2]),
        ([1, 2], "failed", "ValueError: no 1", [1]),
    ],
)
def test_a_run_that_is_tried_again_says_which_try_failed_and_ends_with_the_last(
    target: KnativeTarget, cluster: FakeCluster, codes: list[int], state: str, error: str | None, noted: list[int]
) -> None:
    lines: list[str] = []
    cluster.controllers.append(Tried(codes, lines))
    info = target.run(function("kind: job, job: {backoffLimit: 2}", name="train"), {}, on_log=lines.append)
    assert (info.state, info.error, info.exit_code, info.tries) == (state, error, codes[-1], len(codes))
    assert info.results == {"count": len(codes) - 1}
    assert lines == [f"try {number} of 3 failed: ValueError: no {number - 1}; it is tried again" for number in noted]


def test_results_that_are_too_long_for_the_message_are_read_from_the_log(
    target: KnativeTarget, cluster: FakeCluster, jobs: Jobs
) -> None:
    jobs.code = None
    info = target.run(job(), {}, wait=False)
    pod = next(name for name in cluster.names("v1", "pods"))
    long = json.dumps({"trimtab.dev/result": {"results": {"text": "x" * 9000}, "error": None}})
    cluster.logs[pod] = [(f"{TIME}1.0", long)]
    short = json.dumps({"trimtab.dev/result": {"in_log": True, "error": None}})
    key = Key("v1", "pods", "default", pod)
    found = cluster.store.get(key)
    found["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0, "message": short}}
    cluster.store.put(key, found)
    assert len(target.runs()[0].results["text"]) == 9000
    assert target.runs()[0].id == info.id


def test_a_run_is_cancelled_and_stays_in_the_history(target: KnativeTarget, cluster: FakeCluster, jobs: Jobs) -> None:
    jobs.code = None
    info = target.run(job(), {}, wait=False)
    assert target.runs()[0].state == "running"
    assert target.cancel(info.id).state == "cancelled"
    assert target.runs()[0].state == "cancelled"
    (name,) = cluster.names("batch/v1", "jobs")
    assert cluster.object("batch/v1", "jobs", name)["spec"]["suspend"] is True
    with pytest.raises(NotFound, match="no run 'nope'; `trimtab runs` lists them"):
        target.cancel("nope")


def test_a_run_that_was_cancelled_is_kept_for_a_day_as_finished_ones_are(
    target: KnativeTarget, cluster: FakeCluster, jobs: Jobs
) -> None:
    jobs.code = None
    info = target.run(job(), {}, wait=False)
    running = target.run(job(), {}, wait=False)
    start = time.time()
    assert Runs(target.api, lambda: start).cancel(info.id).finished == int(start)
    assert {each.id for each in Runs(target.api, lambda: start + KEPT - 1).list()} == {info.id, running.id}
    assert [each.id for each in Runs(target.api, lambda: start + KEPT + 2).list("train")] == [running.id]
    assert cluster.names("batch/v1", "jobs") == [f"train-{running.id}"]


def test_a_job_says_how_long_its_runs_are_kept(target: KnativeTarget, jobs: Jobs) -> None:
    short = function("kind: job, job: {ttlAfterFinished: 1h}", name="train")
    info = target.run(short, {})
    assert info.kept == 3600
    jobs.code = None
    info = target.run(short, {}, wait=False)
    start = time.time()
    target.cancel(info.id)
    assert info.id in {each.id for each in Runs(target.api, lambda: start + 3500).list()}
    assert info.id not in {each.id for each in Runs(target.api, lambda: start + 3602).list()}


def test_a_history_of_old_runs_is_shown_to_whoever_may_only_look(
    target: KnativeTarget, cluster: FakeCluster, jobs: Jobs
) -> None:
    jobs.code = None
    info = target.run(job(), {}, wait=False)
    target.cancel(info.id)
    cluster.forbidden.add(("delete", "jobs"))
    assert Runs(target.api, lambda: time.time() + KEPT + 2).list() == []


@pytest.mark.usefixtures("jobs")
def test_a_deployed_job_is_run_by_its_name(target: KnativeTarget) -> None:
    done = target.deploy(job())
    assert (done.changed, target.deploy(job()).changed, done.url) == (True, False, "")
    assert target.get("train").kind == "job"
    named = Function(metadata=Metadata(name="train"), spec=FunctionSpec(kind="job"))
    assert target.run(named, {}).parameters == {"depth": 1}
    with pytest.raises(NotFound, match="no function 'other'"):
        target.run(Function(metadata=Metadata(name="other"), spec=FunctionSpec(kind="job")), {})


@pytest.mark.usefixtures("jobs")
def test_deleting_a_job_takes_its_runs(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(job())
    target.run(job(), {})
    target.delete("train")
    assert cluster.names("batch/v1", "jobs") == []


@pytest.mark.usefixtures("jobs")
def test_what_a_jobsink_started_is_in_the_history_and_a_posted_tick_is_not(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    labels = {"app.kubernetes.io/managed-by": "trimtab", "trimtab.dev/function": "train"}
    for name, container in (("train-0ab", "user-container"), ("train-tick", "tick")):
        spec = {"template": {"spec": {"containers": [{"name": container}]}}}
        cluster.add("batch/v1", "jobs", name, metadata={"labels": labels}, spec=spec)
    assert [each.id for each in target.runs("train")] == ["train-0ab"]


def test_ctrl_c_cancels_the_run(target: KnativeTarget, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    jobs.code = None
    monkeypatch.setattr("trimtab.deploy.knative.runs.Runs.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        target.run(job(), {})
    assert target.runs()[0].state == "cancelled"


@pytest.mark.usefixtures("jobs")
def test_a_run_has_the_sinks_address_before_any_binding_acts(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.run(function("kind: job, sink: {broker: default}", name="train"), {})
    (name,) = cluster.names("batch/v1", "jobs")
    container = cluster.object("batch/v1", "jobs", name)["spec"]["template"]["spec"]["containers"][0]
    assert container["env"][-2] == {"name": "K_SINK", "value": "http://broker.example.com/default"}
