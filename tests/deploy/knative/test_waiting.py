"""How long it takes until a sentence is said: by a clock that goes on only while the waiter pauses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from tests.deploy.knative.fake.knative import Knative, healthy, pod, update
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key, Object
from tests.deploy.knative.test_diagnosis import SITUATIONS, asked, replay
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.connect import connect
from trimtab.deploy.knative.evidence import Evidence
from trimtab.deploy.knative.manifests import Rendering
from trimtab.deploy.knative.place import applied, desired
from trimtab.deploy.knative.wait import Waiter
from trimtab.deploy.stages import Stages
from trimtab.errors import DeployFailed, NotFound

IMAGE = "registry.example.com/shop/hello@sha256:" + "ab" * 32
LONGEST = 10.0
"""Seconds from a fact to its sentence (the project's target)."""
OWN = re.compile(r"hello-00002|sha256:ab|limit 64Mi|after \d+ s")
"""What is otherwise in another function at another time."""


def until(condition: Callable[[], bool]) -> None:
    """Poll in real time, in which servers and threads live."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Virtual:
    """Waits in virtual time, and remembers when what was said."""

    watches = 3

    def __init__(self, cluster: FakeCluster, kubeconfig: object) -> None:
        self.api = Api(connect(kubeconfig=str(kubeconfig)), sleep=lambda _: None)
        self.cluster, self.now = cluster, 0.0
        self.said: list[tuple[float, str]] = []
        self.at: dict[float, Callable[[], None]] = {}
        """What happens on the cluster, and when."""

    def pause(self, seconds: float) -> None:
        """Let virtual time go on, once the watches have told all that there is."""
        until(lambda: self.cluster.watches >= self.watches)
        self.now += seconds
        due = [moment for moment in self.at if moment <= self.now]
        for moment in due:
            self.at.pop(moment)()
        version = self.cluster.store.version
        until(lambda: not due or min(self.cluster.told.values()) >= version)

    def evidence(self, *, timeout: float = 300.0, patience: float = 60.0, recent: bool = False) -> Evidence:
        def say(text: str) -> None:
            self.said.append((self.now, text))

        return Evidence(
            self.api,
            patience=patience,
            timeout=timeout,
            say=say,
            recent=recent,
            clock=lambda: self.now,
            pause=self.pause,
        )


class Waited(Virtual):
    """For a function."""

    def run(self, spec: str = "", *, timeout: float = 300.0, patience: float = 60.0) -> tuple[float, str]:
        """Give when it ended, and the sentence; of one that serves, an empty one."""
        wanted = desired(Rendering(function=function(spec), image=IMAGE, namespace="default"), None).objects
        service = applied(self.api, wanted, force=False)["Service"]
        waiter = Waiter(self.api, Stages(None), self.evidence(timeout=timeout, patience=patience))
        try:
            waiter.wait(service)
        except DeployFailed as exc:
            return self.now, str(exc)
        return self.now, ""


@pytest.fixture
def waited(cluster: FakeCluster, kubeconfig: object) -> Waited:
    return Waited(cluster, kubeconfig)


@pytest.mark.parametrize("name", [name for name, data in SITUATIONS.items() if data["reason"]])
def test_a_sentence_is_said_within_ten_seconds_of_the_fact(name: str, waited: Waited, knative: Knative) -> None:
    data = SITUATIONS[name]
    knative.outcome = replay(data)
    end, sentence = waited.run(asked(data), timeout=LONGEST + 1)
    at, said = waited.said[0] if waited.said else (end, sentence)
    assert at <= LONGEST
    assert said.removeprefix("waiting: ").startswith(("hello-00001", "hello:"))
    if data.get("waited", 0.0) <= LONGEST:  # the others are what it comes to, later
        assert (end <= LONGEST) == data["final"]
        assert all(words in f"{said}\n{sentence}" for words in data["expect"] if not OWN.search(words))


MESSAGE = "0/3 nodes are available: 3 Insufficient memory."


def unplaced(cluster: FakeCluster, service: Object, revision: str) -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": MESSAGE}]
    pod(cluster, revision, 1, phase="Pending", conditions=conditions)
    update(cluster, "revisions", revision, conditions=[{"type": "Ready", "status": "Unknown"}])


def test_a_pod_without_a_node_is_told_at_once_and_given_up_later_with_both_reasons(
    waited: Waited, knative: Knative
) -> None:
    knative.outcome = unplaced
    end, sentence = waited.run()
    at, said = waited.said[0]
    assert at <= LONGEST
    assert said.startswith(f"waiting: hello-00001: no node takes the pod: {MESSAGE.rstrip('.')}; request less")
    assert 60 <= end <= 61
    assert "3 Insufficient memory; request less (spec.resources.requests), or add nodes. Not waiting longer" in sentence
    assert "after 60 s nothing says that a node is being added" in sentence


def test_a_pod_for_which_a_node_is_added_late_is_waited_for(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    from tests.deploy.knative.fake.knative import healthy

    def node_comes() -> None:
        name = "hello-00001-deployment-1"
        cluster.store.delete(Key("v1", "pods", "default", name))
        healthy(cluster, cluster.object("serving.knative.dev/v1", "services", "hello"), "hello-00001")

    def autoscaler() -> None:
        about = {"name": "hello-00001-deployment-1"}
        cluster.add("v1", "events", "e", involvedObject=about, reason="TriggeredScaleUp", message="pod triggered")

    knative.outcome = unplaced
    waited.at = {40.0: autoscaler, 200.0: node_comes}
    end, sentence = waited.run()
    assert sentence == ""
    assert end >= 200
    assert [text.rpartition("; ")[2] for _, text in waited.said] == [
        "request less (spec.resources.requests), or add nodes",
        "the cluster is adding a node",
    ]


@pytest.mark.parametrize("name", ["crash at start", "image not found", "quota exceeded, told by an event"])
def test_what_goes_wrong_later_is_said_within_ten_seconds_too(
    name: str, waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    def goes_wrong() -> None:
        service = cluster.object("serving.knative.dev/v1", "services", "hello")
        replay(SITUATIONS[name])(cluster, service, "hello-00001")

    knative.outcome = replay({})
    waited.at = {90.0: goes_wrong}
    end, sentence = waited.run()
    assert sentence
    assert 90 <= end <= 90 + LONGEST


def starting(cluster: FakeCluster, revision: str, state: dict[str, object]) -> None:
    statuses = [{"name": "user-container", "restartCount": 0, "state": state}]
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]
    pod(cluster, revision, 1, phase="Pending", conditions=conditions, containerStatuses=statuses)


def test_the_time_to_become_ready_begins_when_the_container_does(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    def pulled() -> None:
        starting(cluster, "hello-00001", {"running": {}})

    knative.outcome = lambda cluster, _, revision: starting(
        cluster, revision, {"waiting": {"reason": "ContainerCreating"}}
    )
    waited.at = {100.0: pulled}
    end, sentence = waited.run(patience=30)
    assert 130 <= end <= 131
    assert "it runs, but is not ready after 30 s" in sentence
    assert 108 <= waited.said[0][0] <= 109


def test_a_pod_that_finds_no_node_late_is_waited_for_as_long(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    knative.outcome = replay({})
    service: Object = {"metadata": {"name": "hello", "namespace": "default"}}
    waited.at = {90.0: lambda: unplaced(cluster, service, "hello-00001")}
    end, sentence = waited.run()
    assert 150 <= end <= 151
    assert "after 60 s nothing says that a node is being added" in sentence


def test_a_shorter_timeout_says_both_too(waited: Waited, knative: Knative) -> None:
    knative.outcome = unplaced
    end, sentence = waited.run(timeout=20)
    assert end == 20
    assert f"no node takes the pod: {MESSAGE.rstrip('.')}" in sentence
    assert "It is not ready after 20 s; deploy again to go on waiting (--wait-timeout)" in sentence


def test_a_function_that_is_deleted_while_it_is_waited_for_ends_the_wait(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    def goes() -> None:
        cluster.store.delete(Key("serving.knative.dev/v1", "services", "default", "hello"))

    knative.outcome = unplaced
    waited.at = {20.0: goes}
    with pytest.raises(NotFound, match="'hello' was deleted while it was waited for; deploy it again"):
        waited.run()
    assert 20 <= waited.now <= 21


def test_what_the_service_says_of_the_revision_before_is_not_taken_for_the_new_ones(
    waited: Waited, knative: Knative
) -> None:
    assert waited.run()[1] == ""
    knative.outcome = lambda cluster, _, revision: starting(cluster, revision, {"running": {}})
    assert "it runs, but is not ready after 60 s" in waited.run("env: [{name: A, value: b}]")[1]


def test_how_pods_on_their_way_out_end_is_not_held_against_the_new_ones(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    """A function that was deleted and is deployed again has the same names, and its old pods end while the new ones start."""

    def beside_an_old_one(cluster: FakeCluster, _: Object, revision: str) -> None:
        ended = {"name": "user-container", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}}
        labels = {"serving.knative.dev/service": "hello", "serving.knative.dev/revision": revision}
        metadata = {"labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z"}
        cluster.add("v1", "pods", "old", metadata=metadata, status={"phase": "Running", "containerStatuses": [ended]})
        starting(cluster, revision, {"waiting": {"reason": "ContainerCreating"}})

    def serves() -> None:
        service = cluster.object("serving.knative.dev/v1", "services", "hello")
        healthy(cluster, service, "hello-00001")

    knative.outcome = beside_an_old_one
    waited.at = {30.0: serves}
    assert waited.run()[1] == ""
    assert waited.said == []
