"""Every reason for which a revision does not become ready is told in one sentence with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.knative import Knative, healthy, pod, update
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Object
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative.diagnosis import diagnose
from trimtab.deploy.knative.situation import Reason, Situation
from trimtab.deploy.knative.target import KnativeTarget, Options
from trimtab.errors import DeployFailed

SITUATIONS: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "situations.yaml").read_text("utf-8"))
RECORDED: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "recorded.yaml").read_text("utf-8"))
POD = "hello-00002-deployment-abc"


def situation(data: dict[str, Any]) -> Situation:
    container = {"image": "registry.example.com/hello@sha256:ab", "resources": {"limits": {"memory": "64Mi"}}}
    spec = {"containers": [container], "imagePullSecrets": [{"name": each} for each in data.get("pull_secrets", [])]}
    names = {"pod": POD, "replicaset": "hello-00002-deployment-5b"}
    return Situation(
        service={
            "metadata": {"name": "hello"},
            "spec": {"template": {"spec": spec}},
            "status": {"conditions": data.get("service", [])},
        },
        revision={
            "metadata": {"name": "hello-00002"},
            "spec": spec,
            "status": {"conditions": data.get("revision", [])},
        },
        pods=[{"metadata": {"name": POD}, **data["pod"]}] if "pod" in data else [],
        events=[
            {"reason": e["reason"], "message": e["message"], "involvedObject": {"name": names[e["object"]]}}
            for e in data.get("events", [])
        ],
        logs={POD: data["log"]} if "log" in data else {},
        waited=data.get("waited", 2.0),
    )


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_real_node_said_is_understood(name: str) -> None:
    data = RECORDED[name]
    pod = data["pod"]
    revision = {"metadata": {"name": pod["metadata"]["name"].partition("-deployment")[0]}, "spec": pod["spec"]}
    about = {"name": pod["metadata"]["name"]}
    found = diagnose(
        Situation(
            service={"metadata": {"name": "hello"}, "spec": {"template": {"spec": pod["spec"]}}},
            revision=revision,
            pods=[pod],
            events=[{**event, "involvedObject": about} for event in data["events"]],
            waited=9.0,
        )
    )
    assert found is not None
    assert found.reason == data["reason"]
    assert all(words in found.text for words in data["expect"]), found.text


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_wrong_is_said_in_one_sentence_with_what_to_do(name: str) -> None:
    data = SITUATIONS[name]
    found = diagnose(situation(data))
    if data["reason"] is None:
        assert found is None
        return
    assert found is not None
    assert (found.reason, found.final) == (data["reason"], data["final"])
    at = 0
    for words in data["expect"]:
        assert words in found.text[at:], found.text
        at = found.text.index(words, at)
    assert found.text.count("RevisionMissing") == 0


def test_every_reason_has_a_situation() -> None:
    assert {data["reason"] for data in SITUATIONS.values()} - {None} == set(get_args(Reason))


def test_nothing_known_is_nothing_wrong() -> None:
    assert diagnose(Situation(service={"metadata": {"name": "x"}, "spec": {}})) is None


def asked(data: dict[str, Any]) -> str:
    """Give what of a function's description a situation depends on."""
    secrets = ", ".join(data.get("pull_secrets", []))
    return f"scheduling: {{imagePullSecrets: [{secrets}]}}, resources: {{limits: {{memory: 64Mi}}}}"


def replay(data: dict[str, Any]) -> Any:
    """Let the fake cluster's new revisions end as a situation says."""

    def outcome(cluster: FakeCluster, service: Object, revision: str) -> None:
        name = service["metadata"]["name"]
        made = pod(cluster, revision, 1, **data.get("pod", {}).get("status", {}))
        for number, event in enumerate(data.get("events", [])):
            about = {"name": made if event["object"] == "pod" else f"{revision}-deployment-5b"}
            cluster.add(
                "v1", "events", f"e{number}", involvedObject=about, reason=event["reason"], message=event["message"]
            )
        if "log" in data:
            cluster.logs[made] = [("2026-01-01T00:00:00.0", data["log"])]
        update(cluster, "revisions", revision, conditions=data.get("revision", []))
        update(cluster, "services", name, conditions=data.get("service", []))

    return outcome


FAST = [name for name, data in SITUATIONS.items() if data["reason"] and data["final"] and not data.get("waited")]


@pytest.mark.parametrize("name", FAST)
def test_a_deployment_ends_with_the_sentence(name: str, target: KnativeTarget, knative: Knative) -> None:
    data = SITUATIONS[name]
    knative.outcome = replay(data)
    target.options = Options(timeout=20)
    with pytest.raises(DeployFailed) as caught:
        target.deploy(function(asked(data)))
    text = (
        str(caught.value).replace(IMAGE, "registry.example.com/hello@sha256:ab").replace("hello-00001", "hello-00002")
    )
    assert all(words in text for words in data["expect"]), text


def test_the_old_revision_serves_on_when_the_new_one_fails(
    target: KnativeTarget, knative: Knative, cluster: FakeCluster
) -> None:
    target.deploy(function())
    knative.outcome = replay(SITUATIONS["crash at start"])
    with pytest.raises(DeployFailed, match="hello-00002: the container crashes at start"):
        target.deploy(function("scale: {max: 2}"))
    update(cluster, "revisions", "hello-00002", conditions=[{"type": "Ready", "status": "False"}])
    info = target.get("hello")
    assert {r.name: (r.state, r.percent) for r in info.revisions} == {
        "hello-00001": ("ready", 100),
        "hello-00002": ("failed", 0),
    }


def test_what_may_pass_is_said_and_the_deployment_goes_on(target: KnativeTarget, knative: Knative) -> None:
    said: list[str] = []
    knative.outcome = replay(SITUATIONS["crash at start, the first time"])
    target.options = Options(timeout=0.5, say=said.append)
    with pytest.raises(DeployFailed, match="crashes at start"):
        target.deploy(function())
    assert said[0].startswith("waiting: hello-00001: the container crashes at start (exit code 3)")


def test_a_deployment_that_takes_too_long_says_what_to_do(target: KnativeTarget, knative: Knative) -> None:
    knative.outcome = replay(SITUATIONS["still deploying"])
    target.options = Options(timeout=0.3)
    with pytest.raises(DeployFailed, match=r"hello-00001 is not ready after 0.3 s; deploy again to go on waiting"):
        target.deploy(function())


def test_a_fix_is_not_judged_by_the_revision_that_it_replaces(target: KnativeTarget, knative: Knative) -> None:
    knative.outcome = replay(SITUATIONS["crash at start"])
    with pytest.raises(DeployFailed, match="hello-00001: the container crashes at start"):
        target.deploy(function())
    knative.outcome, knative.lag = healthy, 0.5
    assert target.deploy(function("scale: {max: 2}")).revision == "hello-00002"
