"""A canary goes up by its figures, and back by them; the decision and the figures are kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.deploy.knative.fake.knative import pod, update
from tests.deploy.knative.fake.server import FakeCluster, Fault
from tests.deploy.knative.test_target import edited

from trimtab.deploy.knative.canary import Canary, Figures, Guard, figures, last, read, since, tripped
from trimtab.deploy.knative.client.kinds import SERVICE
from trimtab.deploy.knative.target import KnativeTarget, Options
from trimtab.errors import Conflict, TargetUnreachable
from trimtab.runtime.limits import Limiter
from trimtab.runtime.metrics import Metrics

POD = "hello-00002-deployment-1"


def page(good: int, bad: int = 0, seconds: float = 0.02) -> str:
    """Give what a real replica shows after so many requests."""
    metrics = Metrics("hello", "hello-00002")
    for status, count in ((200, good), (500, bad)):
        for _ in range(count):
            metrics.observe(seconds, status)
    return metrics.render(Limiter(0), None)


@pytest.fixture
def held(target: KnativeTarget) -> KnativeTarget:
    """A second revision without traffic."""
    target.deploy(edited(1))
    target.options = Options(hold=True)
    target.deploy(edited(2))
    return target


def shares(target: KnativeTarget) -> dict[str, int]:
    return {revision.name: revision.percent for revision in target.get("hello").revisions}


def test_a_revision_that_is_held_has_an_address_and_no_traffic(held: KnativeTarget) -> None:
    assert shares(held) == {"hello-00001": 100, "hello-00002": 0}
    assert held.get("hello").revisions[1].urls == {"canary": "http://canary-hello.default.example.com/"}


def test_good_figures_take_it_to_all_the_traffic(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(100), page(100), page(300)]
    seen: list[Figures] = []
    done = held.canary("hello", [10, 50, 100], 0.0, Guard(max_latency=1.0), seen.append)
    assert (done.state, done.reason) == ("promoted", "")
    assert [(each.percent, each.requests, each.error_rate) for each in seen] == [(10, 100, 0.0), (50, 200, 0.0)]
    assert shares(held) == {"hello-00001": 0, "hello-00002": 100}
    assert last(held.api.get(SERVICE, "hello")) == done


@pytest.mark.parametrize("status", [404, 503])
def test_a_replica_that_goes_while_its_figures_are_read_ends_nothing(
    held: KnativeTarget, cluster: FakeCluster, status: int
) -> None:
    def goes(_: Figures) -> None:
        if not cluster.faults:
            cluster.faults.append(Fault("GET", "proxy/metrics", status))

    cluster.metrics[POD] = [page(0), page(100), page(300)]
    done = held.canary("hello", [10, 50, 100], 0.0, Guard(max_latency=1.0), goes)
    assert done.state == "promoted"
    assert cluster.faults[0].times == 0


def test_errors_send_the_traffic_back(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(95, 5)]
    done = held.canary("hello", [10, 100], 0.0, Guard())
    assert (done.state, done.reason) == ("rolled back", "5.00% of 100 answers were 5xx; at most 1.00% may be")
    assert shares(held) == {"hello-00001": 100, "hello-00002": 0}
    kept = last(held.api.get(SERVICE, "hello"))
    assert kept is not None
    assert kept.steps == [Figures(percent=10, requests=100, error_rate=0.05, latency=0.025)]


def test_slow_answers_send_the_traffic_back(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(100, seconds=0.7)]
    done = held.canary("hello", [10, 100], 0.0, Guard(max_latency=0.25))
    assert done.reason == "99% of 100 answers took up to 1 s; at most 0.25 s may they take"


RUNNING = {"name": "user-container", "ready": True, "restartCount": 0, "state": {"running": {}}}
UNREADY = {"type": "Ready", "status": "False"}


def ended(reason: str, code: int) -> dict[str, Any]:
    """Give the state of a container that ended, and was started again."""
    last = {"terminated": {"reason": reason, "exitCode": code, "containerID": "containerd://1"}}
    return {**RUNNING, "restartCount": 1, "lastState": last}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (ended("OOMKilled", 137), "out of memory"),
        (ended("Error", 3), "exit code 3"),
        ({**ended("Error", 139), "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, "exit code 139"),
    ],
)
def test_a_replica_that_ends_sends_the_traffic_back_though_no_figure_tells(
    held: KnativeTarget, cluster: FakeCluster, status: dict[str, Any], why: str
) -> None:
    def goes(_: Figures) -> None:
        pod(cluster, "hello-00002", 1, conditions=[UNREADY], containerStatuses=[status], phase="Running")

    cluster.metrics[POD] = [page(0), page(100)]
    done = held.canary("hello", [10, 50, 100], 0.0, Guard(), goes)
    assert (done.state, done.reason) == ("rolled back", f"a replica ended ({why}): {POD}")
    assert shares(held) == {"hello-00001": 100, "hello-00002": 0}
    assert [each.percent for each in done.steps] == [10, 50]


def test_what_ended_before_it_got_traffic_or_from_outside_is_not_held_against_it(
    held: KnativeTarget, cluster: FakeCluster
) -> None:
    ready = {"type": "Ready", "status": "True"}
    pod(cluster, "hello-00002", 1, conditions=[ready], containerStatuses=[ended("Error", 1)], phase="Running")
    pod(cluster, "hello-00002", 2, conditions=[UNREADY], containerStatuses=[ended("Error", 137)], phase="Failed")

    def drained(_: Figures) -> None:
        name = pod(cluster, "hello-00002", 3, conditions=[UNREADY], containerStatuses=[ended("Error", 143)])
        leaving = cluster.object("v1", "pods", name)
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        cluster.add("v1", "pods", name, **leaving)

    cluster.metrics[POD] = [page(0), page(100), page(100), page(300)]
    assert held.canary("hello", [10, 50, 100], 0.0, Guard(), drained).state == "promoted"


def test_a_revision_that_is_not_ready_any_more_gets_no_traffic(held: KnativeTarget, cluster: FakeCluster) -> None:
    failed = {"type": "Ready", "status": "False", "reason": "ExitCode1", "message": "Container failed with: no model"}
    update(cluster, "revisions", "hello-00002", conditions=[failed])
    cluster.metrics[POD] = [page(0)]
    asked = Canary(held.api, "hello", "hello-00002", Guard(), lambda _: None, patience=30.0)
    done = asked.run([10, 100], 0.0)
    assert done.reason == "it is not ready any more: ExitCode1: Container failed with: no model"


def test_replicas_of_which_none_becomes_ready_send_the_traffic_back(held: KnativeTarget, cluster: FakeCluster) -> None:
    pod(cluster, "hello-00002", 1, conditions=[UNREADY], containerStatuses=[RUNNING], phase="Running")
    now = [0.0]
    said: list[int] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    asked = Canary(
        held.api, "hello", "hello-00002", Guard(), said.append, patience=30.0, clock=lambda: now[0], sleep=sleep
    )
    done = asked.run([10, 100], 300.0)
    assert (done.state, done.reason) == ("rolled back", "none of its 1 replicas was ready for 30 s")
    assert (said, now[0]) == ([10, 0], 35.0)


def test_a_step_waits_until_enough_requests_have_come(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(1, 1), page(10, 1), page(200, 1)]
    done = held.canary("hello", [10, 100], 0.0, Guard())
    assert (done.state, done.steps[0].requests) == ("promoted", 201)


def test_a_canary_that_is_interrupted_leaves_what_it_saw(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(100)]

    def cut(found: Figures) -> None:
        if found.percent == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        held.canary("hello", [10, 50, 100], 0.0, Guard(min_requests=0), cut)
    kept = last(held.api.get(SERVICE, "hello"))
    assert kept is not None
    assert (kept.state, [each.percent for each in kept.steps]) == ("running", [10])


def test_a_decision_outlives_the_next_deployment(held: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.metrics[POD] = [page(0), page(100)]
    done = held.canary("hello", [10, 100], 0.0, Guard())
    held.options = Options()
    held.deploy(edited(3))
    assert last(held.api.get(SERVICE, "hello")) == done


def test_without_a_revision_that_is_held_there_is_no_canary(target: KnativeTarget) -> None:
    target.deploy(edited(1))
    with pytest.raises(
        Conflict, match="hello-00001 has all the traffic; `trimtab deploy --hold` leaves it where it is"
    ):
        target.canary("hello", [10, 100], 0.0, Guard())


def test_a_replica_that_is_started_again_counts_from_zero() -> None:
    assert since(read("p", page(10)), read("p", page(100)))["p/0", "code", "200"] == 10


@given(st.integers(0, 300), st.integers(0, 300))
def test_figures_add_up(good: int, bad: int) -> None:
    found = figures(read("p", page(good, bad)), 10, 0.99)
    assert found.requests == good + bad
    assert found.error_rate == (bad / (good + bad) if good + bad else 0)
    assert bool(tripped(found, Guard(min_requests=1))) == (bad > 0.01 * (good + bad))


class Prometheus(BaseHTTPRequestHandler):
    """Answers instant queries for one revision, with more requests at each look."""

    looks = 0
    body: bytes | None = None

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)["query"][0]
        type(self).looks += "requests_total" in query
        name, _, selector = query.partition("{")
        assert selector == 'revision="hello-00002",namespace=~"default|"}'
        labels: dict[str, str] = {"pod": "gone", "worker": "0"}
        count = str(100 * self.looks)
        samples: list[dict[str, Any]] = (
            [{"metric": labels | {"code": "200"}, "value": [0, count]}]
            if name.endswith("total")
            else [{"metric": labels | {"le": le}, "value": [0, count]} for le in ("0.1", "+Inf")]
        )
        body = self.body or json.dumps({"status": "success", "data": {"result": samples}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[str]:
    Prometheus.looks, Prometheus.body = 0, None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/prefix"
    server.shutdown()
    server.server_close()


def test_prometheus_is_asked_where_the_target_names_one(held: KnativeTarget, prometheus: str) -> None:
    held.settings = replace(held.settings, prometheus=prometheus)
    done = held.canary("hello", [10, 100], 0.0, Guard(max_latency=0.5))
    assert done.state == "promoted"
    assert done.steps == [Figures(percent=10, requests=100, error_rate=0.0, latency=0.1)]


def test_what_is_no_prometheus_is_told(held: KnativeTarget, prometheus: str) -> None:
    Prometheus.body = b"<html>"
    held.settings = replace(held.settings, prometheus=prometheus)
    with pytest.raises(TargetUnreachable, match="answered 200, and not as Prometheus does: b'<html>'"):
        held.canary("hello", [10, 100], 0.0, Guard())
