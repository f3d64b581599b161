"""A deployment waits for the consumers of its streams, and says what keeps them from running."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.deploy.knative.fake.knative import Knative, consuming
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key, Object
from tests.deploy.knative.test_target import function
from tests.deploy.knative.test_waiting import Virtual

from trimtab.deploy.knative.consumers import consumers_of, wait_for
from trimtab.deploy.knative.manifests import Rendering, render
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.stages import Stages
from trimtab.errors import DeployFailed

IMAGE = "registry.example.com/shop/hello@sha256:" + "ab" * 32
NAME = "hello-s"


def stream(more: str = "") -> str:
    return f"triggers: [{{kind: stream, name: s, url: 'redis://redis?stream=o'{more}}}]"


def state(status: Object, *, restarts: int = 0) -> Callable[[FakeCluster, str], Object]:
    """Give pods whose container is in a state."""
    container = {"name": "consume", "ready": False, "restartCount": restarts, **status}
    return lambda *_: {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [container]}


CRASHED = state({"state": {"terminated": {"exitCode": 1, "message": "no module named redis"}}}, restarts=1)
RUNNING = state({"state": {"running": {}}})
WAITING = state({"state": {"waiting": {"reason": "ContainerCreating"}}})


@pytest.mark.parametrize("count", [1, 3])
def test_a_deployment_ends_when_its_consumers_run(target: KnativeTarget, count: int) -> None:
    stages = target.deploy(function(stream(f", consumers: {{min: {count}, max: {count}}}"))).stages
    assert [(stage.name, stage.detail) for stage in stages][-2:] == [
        ("route", "http://hello.default.example.com"),
        ("consumers", f"{count} ready"),
    ]


def test_a_consumer_that_crashes_ends_it_with_its_last_words_and_the_function_serves(
    target: KnativeTarget, knative: Knative
) -> None:
    knative.consuming = CRASHED
    with pytest.raises(DeployFailed) as caught:
        target.deploy(function(stream()))
    assert str(caught.value) == (
        "hello-s: the container crashes at start (exit code 1); correct the code and deploy again. "
        "Its last lines:\n  no module named redis"
    )
    assert target.get("hello").revisions[0].state == "ready"
    knative.consuming = consuming
    assert target.deploy(function(stream(", batch: 2"))).stages[-1].name == "consumers"


class Waited(Virtual):
    """For the consumers of a function."""

    watches = 1

    def run(self, more: str = "", *, keda: bool = False) -> tuple[float, str]:
        """Apply, and wait; give when it ended, and the stage's detail or the sentence."""
        rendering = Rendering(function=function(stream(more)), image=IMAGE, namespace="default", keda=keda)
        stages = Stages(None)
        consumers = consumers_of(render(rendering).objects)
        for each in consumers:
            self.api.apply(each.item)
        try:
            wait_for(self.api, stages, consumers, self.evidence(recent=True))
        except DeployFailed as exc:
            return self.now, str(exc)
        return self.now, stages.done[-1].detail


@pytest.fixture
def waited(cluster: FakeCluster, kubeconfig: object) -> Waited:
    return Waited(cluster, kubeconfig)


def test_a_consumer_that_is_let_into_no_broker_is_spoken_of_soon_and_given_up_after_its_patience(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    knative.consuming = RUNNING
    cluster.logs["hello-s-pod-1-0"] = [("2026-01-01T00:00:00.000000001", "redis: connection refused")]
    end, sentence = waited.run()
    at, said = waited.said[0]
    assert at <= 10
    assert said.startswith("waiting: hello-s: it runs, but is not ready after 8 s; does the cluster reach the stream's")
    assert 60 <= end <= 62
    assert sentence.endswith("Its last lines:\n  redis: connection refused")


def test_a_consumer_that_comes_late_is_waited_for(waited: Waited, knative: Knative, cluster: FakeCluster) -> None:
    def comes() -> None:
        key = Key("v1", "pods", "default", "hello-s-pod-1-0")
        with cluster.store.lock:
            item = cluster.store.get(key)
            item["status"] = consuming(cluster, key.name)
            cluster.store.put(key, item)

    knative.consuming = WAITING
    waited.at = {40.0: comes}
    end, detail = waited.run()
    assert (40 <= end <= 41, detail) == (True, "1 ready")


def test_pods_of_an_older_template_neither_count_nor_are_blamed(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    knative.consuming = CRASHED
    waited.run(", batch: 7")
    old = cluster.object("v1", "pods", "hello-s-pod-1-0")
    cluster.add("v1", "pods", "old", metadata={"labels": old["metadata"]["labels"]}, **_body(old))
    knative.consuming = consuming
    assert waited.run()[1] == "1 ready"
    knative.consuming = WAITING
    cluster.add(
        "v1", "pods", "old", metadata={"labels": old["metadata"]["labels"]}, **_body(old, consuming(cluster, ""))
    )
    end, sentence = waited.run(", batch: 3")
    assert end >= 300
    assert sentence.startswith("hello-s is not ready after 300 s")


def _body(pod: Object, status: Object | None = None) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "spec": pod["spec"], "status": status or pod["status"]}


def test_a_quota_that_allows_no_pod_is_named_and_an_old_event_is_not_taken_for_it(
    waited: Waited, knative: Knative, cluster: FakeCluster
) -> None:
    def refused(name: str) -> None:
        about = {"kind": "ReplicaSet", "name": "hello-s-6f7"}
        text = (
            'pods "hello-s-6f7-x" is forbidden: exceeded quota: small, requested: cpu=50m, used: cpu=1, limited: cpu=1'
        )
        cluster.add("v1", "events", name, involvedObject=about, reason="FailedCreate", message=text)

    knative.consuming = WAITING
    refused("before")
    waited.at = {20.0: lambda: refused("now")}
    end, sentence = waited.run()
    assert 20 <= end <= 22
    assert sentence.startswith("hello-s: the namespace's quota does not allow the pod: exceeded quota: small")


def test_consumers_that_keda_makes_when_messages_wait_are_not_waited_for(waited: Waited, knative: Knative) -> None:
    knative.consuming = WAITING
    assert waited.run(", consumers: {min: 0, max: 4}", keda=True) == (0.0, "none until messages wait")


def test_an_option_that_is_taken_away_reaches_the_pods(waited: Waited, cluster: FakeCluster) -> None:
    def args() -> list[str]:
        (pod,) = [
            each
            for each in cluster.store.all("v1", "pods", "default")
            if each["metadata"]["name"].startswith("hello-s")
        ]
        return list(pod["spec"]["containers"][0]["args"])

    assert waited.run(", lease: 2m")[1] == "1 ready"
    assert "--lease" in args()
    assert waited.run()[1] == "1 ready"
    assert "--lease" not in args()


def test_an_event_that_passes_ends_nothing(waited: Waited, knative: Knative, cluster: FakeCluster) -> None:
    """Knative's controllers write the first when an object changed under their hands, at ordinary starts."""

    def passing() -> None:
        about = {"kind": "Revision", "name": "hello-s-x"}
        for number, (reason, text) in enumerate(
            [
                ("InternalError", 'failed to update deployment "hello-s-deployment": the object has been modified'),
                ("FailedCreate", 'pods "hello-s-x" is forbidden: serviceaccount "default" not found'),
            ]
        ):
            cluster.add("v1", "events", f"e{number}", involvedObject=about, reason=reason, message=text)

    def comes() -> None:
        key = Key("v1", "pods", "default", "hello-s-pod-1-0")
        cluster.store.put(key, {**cluster.store.get(key), "status": consuming(cluster, key.name)})

    knative.consuming = WAITING
    waited.at = {5.0: passing, 20.0: comes}
    assert waited.run()[1] == "1 ready"
    assert [text for _, text in waited.said] == [
        'waiting: hello-s: the cluster refuses the pod: pods "hello-s-x" is forbidden: serviceaccount "default" not found; change what it names'
    ]
