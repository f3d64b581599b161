"""Objects that are still being deleted when they are wanted again: they are waited for, and made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key
from tests.deploy.knative.test_target import SERVING, edited, function

from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.named import ClusterSettings
from trimtab.errors import Conflict
from trimtab.spec import TrafficTarget

BINDING = Key("sources.knative.dev/v1", "sinkbindings", "default", "hello-sink")
SERVICE = Key(SERVING, "services", "default", "hello")
FINALIZER = "sinkbindings.sources.knative.dev"
SINK = "sink: {broker: default}"

Slow = Callable[[Key, int], KnativeTarget]


def held(cluster: FakeCluster, key: Key) -> None:
    """Have a controller's finalizer on an object."""
    item = cluster.store.get(key)
    item["metadata"]["finalizers"] = [FINALIZER]
    cluster.store.put(key, item)


@pytest.fixture
def slow(kubeconfig: Path, cluster: FakeCluster) -> Slow:
    """Give a target during whose so-manyeth pause a controller takes its finalizer off."""

    def made(key: Key, pauses: int) -> KnativeTarget:
        left = [pauses]

        def sleep(_: float) -> None:
            left[0] -= 1
            if left[0] == 0:
                gone = cluster.store.merge(key, {"metadata": {"finalizers": None}}, "controller")
                for controller in cluster.controllers:
                    controller(cluster, "DELETED", gone)

        return KnativeTarget(ClusterSettings(kubeconfig=str(kubeconfig)), sleep=sleep)

    return made


def test_a_sink_that_is_put_back_while_its_binding_is_going_is_there_in_the_end(
    target: KnativeTarget, cluster: FakeCluster, slow: Slow
) -> None:
    target.deploy(function(SINK))
    held(cluster, BINDING)
    target.deploy(function())
    before = cluster.store.get(BINDING)["metadata"]
    assert "deletionTimestamp" in before
    slow(BINDING, 3).deploy(function(SINK))
    after = cluster.store.get(BINDING)["metadata"]
    assert "deletionTimestamp" not in after
    assert after["uid"] != before["uid"]


def test_a_function_without_its_sink_is_waited_for_until_knative_has_taken_it_out(
    target: KnativeTarget, cluster: FakeCluster, kubeconfig: Path
) -> None:
    """While the binding goes, its variable is put into what is applied; at the end it is taken out: a revision more."""
    target.deploy(function(SINK))
    held(cluster, BINDING)

    def undone(_: float) -> None:
        there = cluster.names(BINDING.api, BINDING.plural)
        if not there or "deletionTimestamp" not in cluster.store.get(BINDING)["metadata"]:
            return
        template = {"metadata": {"annotations": {"test/undone": "yes"}}}
        service = cluster.store.merge(SERVICE, {"spec": {"template": template}}, "eventing-webhook")
        gone = cluster.store.merge(BINDING, {"metadata": {"finalizers": None}}, "controller")
        for controller in cluster.controllers:
            controller(cluster, "MODIFIED", service)
            controller(cluster, "DELETED", gone)

    place = KnativeTarget(ClusterSettings(kubeconfig=str(kubeconfig)), sleep=undone)
    assert place.deploy(function()).revision == "hello-00003"


def test_what_does_not_go_is_named_with_what_holds_it(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function(SINK))
    held(cluster, BINDING)
    target.deploy(function())
    with pytest.raises(Conflict) as caught:
        target.deploy(function(SINK))
    assert "SinkBinding hello-sink has been going since 2" in str(caught.value)
    assert f"and does not go, held by {FINALIZER}; see `kubectl describe sinkbinding hello-sink`" in str(caught.value)


def test_a_binding_of_jobs_is_let_go_of(target: KnativeTarget, cluster: FakeCluster) -> None:
    job = function(f"kind: job, {SINK}")
    target.deploy(job)
    held(cluster, BINDING)
    cluster.store.delete(BINDING)
    target.deploy(job)
    assert "deletionTimestamp" not in cluster.store.get(BINDING)["metadata"]


def test_a_function_that_is_going_says_nothing_about_the_one_that_comes(
    target: KnativeTarget, cluster: FakeCluster, slow: Slow
) -> None:
    target.deploy(edited(1))
    target.deploy(edited(2))
    split = [TrafficTarget(revision="hello-00001", percent=90), TrafficTarget(percent=10)]
    target.traffic("hello", split)
    held(cluster, SERVICE)
    cluster.store.delete(SERVICE)
    done = slow(SERVICE, 2).deploy(edited(2))
    assert done.changed
    assert cluster.store.get(SERVICE)["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
