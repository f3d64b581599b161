"""The logs of a function: of all its pods, merged, across restarts, and each pod no longer than it has something to say."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from tests.deploy.knative.fake.knative import pod
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative import logs
from trimtab.deploy.knative.podlog import last_lines
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.errors import SpecError

OURS = {"app.kubernetes.io/managed-by": "trimtab", "trimtab.dev/function": "hello"}


def test_logs_of_all_pods_come_merged_and_with_what_was_before_a_restart(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(function())
    restarted = [{"name": "user-container", "restartCount": 1, "state": {"running": {}}}]
    second = pod(cluster, "hello-00001", 2, containerStatuses=restarted)
    cluster.logs[second] = [("2026-01-01T00:00:03.5", "c")]
    cluster.previous[second] = [("2026-01-01T00:00:00.0", "a")]
    cluster.logs["hello-00001-deployment-1"] = [("2026-01-01T00:00:02.0", "b")]
    assert list(target.logs("hello")) == ["a", "b", "c"]
    assert list(target.logs("hello", tail=2)) == ["b", "c"]
    with pytest.raises(SpecError, match="revision: found 'x', allowed: one of hello-00001"):
        target.logs("hello", revision="x")


def test_following_goes_on_across_restarts_and_new_pods(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function())
    first = "hello-00001-deployment-1"
    lines = iter(target.logs("hello", follow=True))
    assert next(lines) == "hello from hello-00001"
    cluster.logs[first].append(("2026-01-01T00:00:05.1", "after a restart"))
    assert next(lines) == "after a restart"
    second = pod(cluster, "hello-00001", 2)
    cluster.logs[second] = [("2026-01-01T00:00:06.0", "from a new pod")]
    assert next(lines) == "from a new pod"
    lines.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("tail", "begun"), [(1, ["newest"]), (3, ["old 2", "old 3", "newest"])])
def test_following_begins_at_the_tail_in_every_pod(
    target: KnativeTarget, cluster: FakeCluster, tail: int, begun: list[str]
) -> None:
    target.deploy(function())
    first, second = "hello-00001-deployment-1", pod(cluster, "hello-00001", 2)
    cluster.logs[first] = [(f"2026-01-01T00:00:0{number}.0", f"old {number}") for number in range(4)]
    cluster.logs[second] = [("2026-01-01T00:00:05.0", "newest")]
    lines: Any = iter(target.logs("hello", follow=True, tail=tail))
    assert [next(lines) for _ in begun] == begun
    cluster.logs[first].append(("2026-01-01T00:00:06.0", "after"))
    assert next(lines) == "after"
    lines.close()


def consumer(cluster: FakeCluster, name: str, **status: Any) -> None:
    containers = [{"name": "consume"}]
    metadata = {"labels": {**OURS, "trimtab.dev/trigger": "orders"}}
    cluster.add("v1", "pods", name, metadata=metadata, spec={"containers": containers}, status=status)


def test_what_consumes_a_stream_is_in_the_functions_log(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function())
    restarted = [{"name": "consume", "restartCount": 1, "state": {"running": {}}}]
    consumer(cluster, "hello-orders-x", containerStatuses=restarted)
    cluster.logs["hello-orders-x"] = [("2026-01-01T00:00:09.0", "10 messages")]
    cluster.previous["hello-orders-x"] = [("2026-01-01T00:00:08.0", "redis went away")]
    assert list(target.logs("hello")) == ["hello from hello-00001", "redis went away", "10 messages"]
    assert list(target.logs("hello", revision="hello-00001")) == ["hello from hello-00001"]
    assert {container for name, container in cluster.containers_asked if name == "hello-orders-x"} == {"consume"}


def test_a_pod_that_has_ended_is_read_once_while_others_are_followed(
    target: KnativeTarget, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LOOK", 0.02)
    target.deploy(function())
    consumer(cluster, "before", phase="Succeeded")
    cluster.logs["before"] = [("2025-01-01T00:00:00.0", "done before")]
    lines: Any = iter(target.logs("hello", follow=True))
    assert [next(lines), next(lines)] == ["done before", "hello from hello-00001"]
    consumer(cluster, "between", phase="Failed")
    cluster.logs["between"] = [("2026-01-01T00:00:09.0", "done between")]
    assert next(lines) == "done between"
    thread = threading.Thread(target=next, args=(lines,), daemon=True)
    thread.start()
    looks, deadline = looks_for_pods(cluster), time.monotonic() + 20
    while looks_for_pods(cluster) < looks + 10:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    cluster.logs["hello-00001-deployment-1"].append(("2026-01-01T00:00:10.0", "one more"))
    thread.join(20)
    lines.close()
    asked = [name for name, _ in cluster.containers_asked]
    assert (asked.count("before"), asked.count("between")) == (1, 1)
    assert asked.count("hello-00001-deployment-1") > 1


def looks_for_pods(cluster: FakeCluster) -> int:
    return cluster.requests.count(("GET", "/api/v1/namespaces/default/pods"))


def test_a_node_that_has_lost_a_log_is_not_taken_for_the_log(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function())
    pod, lost = "hello-00001-deployment-1", "unable to retrieve container logs for containerd://cf9f61dffa16"
    cluster.previous[pod] = [("2026-01-01T00:00:00.0", lost)]
    assert last_lines(target.api, pod, "user-container", previous=True) == "hello from hello-00001"
