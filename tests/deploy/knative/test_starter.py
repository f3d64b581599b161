"""Jobs for events on a cluster without JobSink: our own Service, asked over HTTP, creates them over https."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.knative.fake.server import FakeCluster, Fault
from tests.deploy.knative.fake.server import Running as Serving
from tests.deploy.knative.fake.store import Object, Refusal
from tests.deploy.knative.specs import function
from tests.deploy.knative.test_target import function as described
from tests.runtime.conftest import Running

from trimtab.deploy.knative.manifests import Rendering, render
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.errors import SpecError
from trimtab.handlers import starter
from trimtab.spec import Function

IMAGE = "registry.example.com/shop/hello@sha256:" + "ab" * 32
SINKS = "sinks.knative.dev/v1alpha1"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pod's folder of its service account."""
    folder = tmp_path_factory.mktemp("account")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", "key.pem", "-out", "ca.crt", "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "token").write_text("s3cret\n")
    return folder


@pytest.fixture
def api(account: Path) -> Iterator[FakeCluster]:
    cluster = FakeCluster()
    cluster.token = "s3cret"
    with Serving(cluster, str(account / "ca.crt"), str(account / "key.pem")) as running:
        yield running


def job_of(function: Function) -> str:
    """Give the variable as Kubernetes hands it to the container."""
    whole = render(Rendering(function=function, image=IMAGE, namespace="default", job_sink=False)).objects
    service = next(item for item in whole if item["kind"] == "Service")
    environ = {each["name"]: each["value"] for each in service["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environ["TRIMTAB_HANDLER"] == "trimtab.handlers.starter:handler"
    return str(environ["TRIMTAB_JOB"]).replace("$$", "$")


Start = Callable[[Function], Running]


@pytest.fixture
def start(api: FakeCluster, account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Give what runs the starter of a function as its pod would."""
    made: list[Running] = []

    def running(function: Function) -> Running:
        monkeypatch.setenv("TRIMTAB_JOB", job_of(function))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.url.rpartition(":")[2])
        monkeypatch.setattr(starter, "_ACCOUNT", account)
        made.append(Running(tmp_path, "from trimtab.handlers.starter import handler", "handler"))
        return made[-1]

    yield running
    for each in made:
        each.stop()


def jobs(api: FakeCluster) -> list[Object]:
    return [api.object("batch/v1", "jobs", name) for name in api.names("batch/v1", "jobs")]


@needs_openssl
def test_an_event_that_is_delivered_twice_starts_one_job(start: Start, api: FakeCluster) -> None:
    replica = start(function("job"))
    answers = [replica.event('{"a": 1}', id="7", source="/shop") for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(202, b"")] * 2
    (job,) = jobs(api)
    assert replica.event('{"a": 1}', id="8", source="/shop").status == 202
    assert replica.event('{"a": 1}', id="7", source="/other").status == 202
    assert len(jobs(api)) == 3
    assert job["metadata"]["name"].startswith("train-")
    assert job["metadata"]["labels"]["trimtab.dev/function"] == "train"


@needs_openssl
def test_the_jobs_container_finds_the_event_as_a_file(start: Start, api: FakeCluster) -> None:
    start(function("job")).event(b"\x00\xff", "application/octet-stream", id="7", source="/shop", kind="x")
    (job,) = jobs(api)
    template = job["spec"]["template"]
    event = json.loads(template["metadata"]["annotations"]["trimtab.dev/event"])
    assert (event["id"], event["source"], event["kind"], event["data_base64"]) == ("7", "/shop", "x", "AP8=")
    (container,) = template["spec"]["containers"]
    assert {"name": "K_EVENT_PATH", "value": "/etc/jobsink-event"} in container["env"]
    assert container["volumeMounts"][-1]["mountPath"] == "/etc/jobsink-event"
    assert template["spec"]["volumes"][-1]["downwardAPI"] == {
        "items": [{"path": "event", "fieldRef": {"fieldPath": "metadata.annotations['trimtab.dev/event']"}}]
    }


@needs_openssl
def test_what_starts_no_job_says_why(start: Start, api: FakeCluster) -> None:
    replica = start(function("job"))
    assert replica.ask("{}", "application/json").status == 400
    assert replica.event(b"x" * (starter.LONGEST + 1), "text/plain").status == 413
    assert jobs(api) == []


@needs_openssl
@pytest.mark.parametrize(
    ("status", "reason", "answer"),
    [
        (422, "Invalid", 422),
        (403, "Forbidden", 503),
        (409, "Conflict", 503),
        (401, "Unauthorized", 503),
        (500, "InternalError", 503),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    start: Start, api: FakeCluster, status: int, reason: str, answer: int
) -> None:
    def refuse(_: Object) -> Refusal:
        return Refusal(status, reason, "no")

    replica = start(function("job"))
    api.refuse.append(refuse)
    reply = replica.event(id="7")
    assert reply.status == answer
    assert ("retry-after" in reply) == (answer == 503)
    api.refuse.clear()
    assert replica.event(id="7").status == 202


@needs_openssl
def test_an_api_that_is_away_is_waited_for(start: Start, api: FakeCluster) -> None:
    replica = start(function("job"))
    api.faults.append(Fault("POST", "/jobs$"))
    assert replica.event(id="7").status == 503
    assert replica.event(id="7").status == 202


@needs_openssl
def test_a_token_that_was_rotated_is_used(start: Start, api: FakeCluster, account: Path) -> None:
    replica = start(function("job"))
    api.token = "new"
    assert replica.event(id="7").status == 503
    (account / "token").write_text("new")
    try:
        assert replica.event(id="7").status == 202
    finally:
        (account / "token").write_text("s3cret")


def test_names_of_variables_in_the_job_reach_the_job() -> None:
    wanted = described("kind: job, env: [{name: A, value: '$(HOME) $$(B)'}], triggers: [{kind: event, name: t}]")
    container = json.loads(job_of(wanted))["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "A", "value": "$(HOME) $$(B)"} in container["env"]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_job_that_cannot_be_read_fails_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_JOB", text)
    with pytest.raises(
        SpecError, match=r"environment variable TRIMTAB_JOB: found .*, allowed: a Kubernetes Job as JSON"
    ):
        starter.Starter().load()


def test_outside_of_a_cluster_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"KUBERNETES_SERVICE_HOST: found '10\.0\.0\.1', allowed: what a pod with a service"
    ):
        starter.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    (tmp_path / "token").write_text("x")
    assert starter.in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1"}, tmp_path).url == "https://[fd00::1]:443"


JOB = "kind: job, triggers: [{kind: event, name: a}]"


def ours(cluster: FakeCluster) -> set[tuple[str, str]]:
    labelled = [key for key, item in cluster.store.objects.items() if "trimtab.dev/project" in _labels(item)]
    return {(key.plural, key.name) for key in labelled if key.plural not in ("revisions", "pods")}


def _labels(item: Object) -> dict[str, Any]:
    return item["metadata"].get("labels") or {}


def test_a_job_is_deployed_described_and_deleted_with_its_starter(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.groups.remove(SINKS)
    done = target.deploy(described(JOB, name="train"))
    assert (done.url, done.changed) == ("", True)
    assert [stage.name for stage in done.stages] == ["preflight", "apply", "revision", "pods", "route", "triggers"]
    assert not target.deploy(described(JOB, name="train")).changed
    assert ours(cluster) == {
        ("configmaps", "train-trimtab"),
        ("services", "train-starter"),
        ("serviceaccounts", "train-starter"),
        ("roles", "train-starter"),
        ("rolebindings", "train-starter"),
        ("triggers", "train-a"),
    }
    info = target.get("train")
    assert (info.kind, info.url, info.revisions, [each.name for each in target.functions()]) == (
        "job",
        "http://train-starter.default.example.com/",
        [],
        ["train"],
    )
    assert target.diff(described(JOB, name="train")) == []
    target.delete("train")
    assert ours(cluster) == set()


def test_the_first_dry_run_of_a_starter_does_not_ask_for_its_account(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    """Knative answers a dry run by one of a pod, for which the service account must be there."""
    tried: list[str] = []

    def rule(item: Object) -> Refusal | None:
        if item.get("kind") != "Service":
            return None
        account = item["spec"]["template"]["spec"].get("serviceAccountName", "")
        tried.append(account)
        if not account or account in cluster.names("v1", "serviceaccounts"):
            return None
        said = (
            f'dry run failed with pods "x" is forbidden: error looking up service account default/{account}: not found'
        )
        return Refusal(400, "BadRequest", said)

    cluster.refuse.append(rule)
    cluster.groups.remove(SINKS)
    target.deploy(described(JOB, name="train"))
    assert tried[0] == ""
    assert tried[-1] == "train-starter"
    own = described(JOB + ", scheduling: {serviceAccount: mine}", name="other")
    assert own.spec.scheduling.service_account == "mine"


def test_the_starter_goes_when_the_cluster_has_jobsink(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.groups.remove(SINKS)
    target.deploy(described(JOB, name="train"))
    cluster.groups.append(SINKS)
    target.deploy(described(JOB, name="train"))
    assert ours(cluster) == {("configmaps", "train-trimtab"), ("jobsinks", "train"), ("triggers", "train-a")}
