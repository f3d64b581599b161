"""Before anything changes: every reason is told with what to do, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.server import FakeCluster, Fault
from tests.deploy.knative.fake.store import Object, Refusal
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative.manifests import Rendering, render
from trimtab.deploy.knative.preflight.checks import check, version
from trimtab.deploy.knative.preflight.facts import Check, Facts
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.named import ClusterSettings
from trimtab.errors import PreflightFailed
from trimtab.spec import Function


def failed(target: KnativeTarget, function: Function) -> dict[str, Check]:
    with pytest.raises(PreflightFailed, match="nothing was changed") as caught:
        target.deploy(function)
    return {row.name: row for row in caught.value.checks}


@pytest.fixture(autouse=True)
def _nothing_is_changed(cluster: FakeCluster, request: pytest.FixtureRequest) -> object:
    yield
    if "deploys" not in request.node.name:
        assert cluster.writes == []


def test_a_cluster_that_has_all_is_a_table_without_a_fix(target: KnativeTarget) -> None:
    rows = target.preflight(function("triggers: [{kind: event, name: a}]"))
    assert all(row.ok for row in rows)
    assert {row.name: row.found for row in rows} == {
        "api": target.api.host,
        "kubernetes": "v1.32.1",
        "knative": "1.19.0",
        "namespace": "default: there",
        "permissions": "22 of 22 granted",
        "broker": "default: there",
        "dry run": "3 objects accepted",
    }


def test_an_api_that_does_not_answer(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "x", "user": {}}],
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    row = failed(KnativeTarget(ClusterSettings(kubeconfig=str(path)), sleep=lambda _: None), function())["api"]
    assert row.found.startswith("http://127.0.0.1:9 does not answer")
    assert "start the cluster, the VPN or the tunnel" in row.fix


def test_a_server_that_is_no_kubernetes(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.faults.append(Fault("GET", "^/version$", 404, times=9))
    assert failed(target, function())["api"].found == f"{cluster.url} answers, and is no Kubernetes API"


def test_credentials_that_have_expired(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.token = "another"
    row = failed(target, function())["credentials"]
    assert "does not accept the credentials (401)" in row.found
    assert "log in to the cluster again" in row.fix


def test_no_knative(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.groups.remove("serving.knative.dev/v1")
    row = failed(target, function())["knative"]
    assert (row.found, row.fix) == ("not there", "install Knative Serving: https://knative.dev/docs/install/")


def test_no_eventing_where_a_trigger_needs_it(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.groups.remove("eventing.knative.dev/v1")
    row = failed(target, function("triggers: [{kind: event, name: a}]"))["eventing"]
    assert (row.found, row.needed) == ("not there", "eventing.knative.dev/v1")


def test_no_jobsink_where_an_event_starts_a_job(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.groups.remove("sinks.knative.dev/v1alpha1")
    rows = {row.name: row for row in target.preflight(function("kind: job, triggers: [{kind: event, name: a}]"))}
    assert all(row.ok for row in rows.values())
    assert rows["jobsink"].found == "not there; a Service of ours, which may create jobs, starts them"
    cluster.forbidden.add(("create", "rolebindings"))
    found = failed(target, function("kind: job, triggers: [{kind: event, name: a}]"))["permission"]
    assert found.found == "no create on rolebindings.rbac.authorization.k8s.io"


def test_whoever_may_not_see_roles_needs_none_where_none_is_made(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.forbidden |= {(verb, kind) for verb in ("list", "delete") for kind in ("roles", "rolebindings")}
    assert all(row.ok for row in target.preflight(function("kind: job, triggers: [{kind: event, name: a}]")))
    target.diff(function())


def test_a_knative_that_is_too_old(target: KnativeTarget, cluster: FakeCluster) -> None:
    labels = {"app.kubernetes.io/version": "1.8.0"}
    cluster.add("apps/v1", "deployments", "controller", "knative-serving", metadata={"labels": labels})
    row = failed(target, function())["knative"]
    assert (row.found, row.needed) == ("1.8.0", "serving.knative.dev/v1, 1.15 or newer")


def test_a_kubernetes_that_is_too_old(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.kubernetes = "v1.22.3"
    assert failed(target, function())["kubernetes"].needed == "1.28 or newer"


def test_a_kubernetes_that_is_too_old_for_a_job_that_is_tried_again(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    cluster.kubernetes = "v1.28.9"
    tried = function("kind: job, job: {backoffLimit: 1}")
    assert failed(target, tried)["kubernetes"].needed == "1.29 or newer, for spec.job.backoffLimit"
    assert all(check.ok for check in target.preflight(function("kind: job")))


@pytest.mark.parametrize(
    ("verb", "resource", "found", "fix"),
    [
        (
            "get",
            "services",
            "no get on services.serving.knative.dev",
            "--verb=get --resource=services.serving.knative.dev",
        ),
        ("create", "services", "no create on services.serving.knative.dev", "--resource=services.serving.knative.dev"),
        ("delete", "configmaps", "no delete on configmaps", "--verb=delete --resource=configmaps "),
    ],
)
def test_a_permission_that_is_missing_is_named_by_verb_and_resource(
    target: KnativeTarget, cluster: FakeCluster, verb: str, resource: str, found: str, fix: str
) -> None:
    cluster.forbidden.add((verb, resource))
    row = failed(target, function())["permission"]
    assert row.found == found
    assert fix in row.fix


def test_what_only_helps_to_tell_a_reason_is_said_and_deploys(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.forbidden |= {("get", "pods/log"), ("list", "events")}
    rows = {row.found: row for row in target.preflight(function()) if row.name == "permission"}
    assert set(rows) == {"no get on pods/log", "no list on events"}
    assert all(row.ok and row.needed.endswith(", to tell the reason of a failure in full") for row in rows.values())
    assert target.deploy(function()).url


def test_a_role_for_what_the_function_consists_of_is_enough_and_deploys(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    rare = (
        "jobsinks",
        "containersources",
        "sinkbindings",
        "cronjobs",
        "deployments",
        "pingsources",
        "triggers",
        "jobs",
    )
    cluster.forbidden |= {(verb, kind) for kind in rare for verb in ("get", "list", "create", "patch", "delete")}
    assert target.deploy(function()).url
    assert target.get("hello").triggers == []
    assert target.diff(function()) == []
    assert [info.name for info in target.functions()] == ["hello"]
    target.delete("hello")
    assert target.functions() == []


FLAGS = {
    "kubernetes.podspec-nodeselector": "scheduling: {nodeSelector: {disk: ssd}}",
    "kubernetes.podspec-affinity": "scheduling: {affinity: {nodeAffinity: {}}}",
    "kubernetes.podspec-tolerations": "scheduling: {tolerations: [{key: gpu, operator: Exists}]}",
    "kubernetes.podspec-priorityclassname": "scheduling: {priorityClass: high}",
    "kubernetes.podspec-persistent-volume-claim": "volumes: [{name: a, mountPath: /a, readOnly: true, source: {persistentVolumeClaim: a}}]",
    "kubernetes.podspec-persistent-volume-write": "volumes: [{name: a, mountPath: /a, source: {persistentVolumeClaim: a}}]",
    "kubernetes.podspec-volumes-hostpath": "volumes: [{name: a, mountPath: /a, source: {hostPath: /a}}]",
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_feature_flag_that_is_off_comes_with_its_patch(
    target: KnativeTarget, cluster: FakeCluster, flag: str
) -> None:
    on = {"kubernetes.podspec-persistent-volume-claim": "enabled"} if flag.endswith("write") else {}
    cluster.add("v1", "configmaps", "config-features", "knative-serving", data=on)
    row = failed(target, function(FLAGS[flag]))["feature"]
    assert row.found == f"{flag}: disabled"
    patch = f"""kubectl patch configmap config-features -n knative-serving --type merge -p '{{"data":{{"{flag}":"enabled"}}}}'"""
    assert row.fix == patch


def test_flags_that_are_allowed_do_but_not_for_volumes(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.add("v1", "configmaps", "config-features", "knative-serving", data=dict.fromkeys(FLAGS, "allowed"))
    rows = target.preflight(function(FLAGS["kubernetes.podspec-tolerations"]))
    assert [row.ok for row in rows if row.name == "feature"] == [True]
    claim = target.preflight(function(FLAGS["kubernetes.podspec-persistent-volume-claim"]))
    assert [(row.found, row.ok) for row in claim if row.name == "feature"] == [
        ("kubernetes.podspec-persistent-volume-claim: allowed", False)
    ]


def test_an_emptydir_that_was_turned_off(target: KnativeTarget, cluster: FakeCluster) -> None:
    off = {"kubernetes.podspec-volumes-emptydir": "disabled"}
    cluster.add("v1", "configmaps", "config-features", "knative-serving", data=off)
    wanted = function("volumes: [{name: a, mountPath: /a, source: {emptyDir: true}}]")
    assert failed(target, wanted)["feature"].found == "kubernetes.podspec-volumes-emptydir: disabled"


def test_a_namespace_that_is_not_there(kubeconfig: Path) -> None:
    target = KnativeTarget(ClusterSettings(kubeconfig=str(kubeconfig), namespace="nowhere"), sleep=lambda _: None)
    row = failed(target, function())["namespace"]
    assert (row.found, row.fix) == ("nowhere: not there", "kubectl create namespace nowhere")


def test_a_quota_that_has_no_room(target: KnativeTarget, cluster: FakeCluster) -> None:
    status = {"hard": {"requests.memory": "1Gi", "pods": "10"}, "used": {"requests.memory": "600Mi", "pods": "2"}}
    cluster.add("v1", "resourcequotas", "small", status=status)
    row = failed(target, function("resources: {requests: {memory: 512Mi}}"))["quota"]
    assert row.found == "small: requests.memory used 600Mi of 1Gi"
    assert "raise the quota" in row.fix


@pytest.mark.parametrize("spec", [{"scopes": ["BestEffort"]}, {"scopeSelector": {"matchExpressions": []}}])
def test_a_quota_for_some_pods_only_is_left_to_the_cluster(
    target: KnativeTarget, cluster: FakeCluster, spec: Object
) -> None:
    cluster.add("v1", "resourcequotas", "critical", spec=spec, status={"hard": {"pods": "0"}, "used": {"pods": "0"}})
    assert all(row.ok for row in target.preflight(function()))


def test_a_full_quota_keeps_no_unchanged_function_from_being_seen_to_and_deploys(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(function())
    cluster.add("v1", "resourcequotas", "small", status={"hard": {"pods": "1"}, "used": {"pods": "1"}})

    def full(item: Object) -> Refusal | None:
        said = 'dry run failed with pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1'
        return Refusal(403, "Forbidden", said) if item.get("kind") == "Service" else None

    assert not target.deploy(function()).changed
    cluster.faults.append(Fault("PATCH", "/services/hello$", 403, body=full({"kind": "Service"}).body))  # type: ignore[union-attr]
    assert not target.deploy(function()).changed
    rows = failed(target, function("scale: {max: 3}"))
    assert rows["quota"].found == "small: pods used 1 of 1"
    with pytest.raises(PreflightFailed):
        target.deploy(function(), force=True)


def test_a_policys_word_on_the_bare_pod_of_a_dry_run_is_no_refusal_and_deploys(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    inner = 'admission webhook "validate.kyverno.svc-fail" denied the request: label team is required'
    said = f'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: dry run failed with {inner}: spec.template'
    body = Refusal(400, "BadRequest", said).body
    cluster.faults.append(Fault("PATCH", "/services/hello$", 400, body=body))
    (row,) = (row for row in target.preflight(function()) if row.name == "policy")
    assert row.ok
    assert "label team is required" in row.found
    assert "which the dry run's pod does not have yet" in row.fix
    cluster.faults.append(Fault("PATCH", "/services/hello$", 400, body=body))
    assert target.deploy(function()).url


def test_pod_security_is_no_matter_of_labels(target: KnativeTarget, cluster: FakeCluster) -> None:
    said = 'dry run failed with pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPort'
    cluster.faults.append(Fault("PATCH", "/services/hello$", 400, body=Refusal(400, "BadRequest", said).body))
    assert "violates PodSecurity" in failed(target, function())["dry run"].found


def test_a_webhook_that_refuses_the_dry_run(target: KnativeTarget, cluster: FakeCluster) -> None:
    def rule(item: Object) -> Refusal | None:
        if item.get("kind") != "Service":
            return None
        said = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: expected 0 <= 5000 <= 1000: spec.template.spec.containerConcurrency'
        return Refusal(400, "BadRequest", said)

    cluster.refuse.append(rule)
    row = failed(target, function())["dry run"]
    assert row.found.startswith(
        "Service hello: webhook validation.webhook.serving.knative.dev: validation failed: expected"
    )


def test_a_webhook_that_cannot_be_asked_beforehand_is_no_refusal(target: KnativeTarget, cluster: FakeCluster) -> None:
    said = 'admission webhook "audit.example.com" does not support dry run'
    body = Refusal(400, "BadRequest", said).body
    cluster.faults.append(Fault("PATCH", "/services/", 400, body=body))
    assert all(row.ok for row in target.preflight(function()))


def test_a_name_that_somebody_else_has(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.add(
        "serving.knative.dev/v1", "services", "hello", metadata={"labels": {"app.kubernetes.io/managed-by": "Helm"}}
    )
    row = failed(target, function())["name"]
    assert row.found == "Service hello is there already, managed by Helm"
    assert row.fix == "rename the function, or delete the other"


def test_a_name_of_another_project(target: KnativeTarget, cluster: FakeCluster) -> None:
    ours = {"app.kubernetes.io/managed-by": "trimtab", "trimtab.dev/function": "hello", "trimtab.dev/project": "shop"}
    cluster.add("serving.knative.dev/v1", "services", "hello", metadata={"labels": ours})
    assert (
        failed(target, function())["name"].found == "Service hello is there already, function 'hello' of project 'shop'"
    )


def test_a_broker_that_is_not_there(target: KnativeTarget) -> None:
    row = failed(target, function("triggers: [{kind: event, name: a, broker: other}]"))["broker"]
    assert (row.found, row.fix) == ("other: not there", "kn broker create other -n default")


def test_a_sink_whose_broker_has_no_address_yet(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.add("eventing.knative.dev/v1", "brokers", "new")
    row = failed(target, function("sink: {broker: new}"))["broker"]
    assert (row.found, row.fix) == (
        "new: there, without an address",
        "kubectl describe broker new -n default (says why)",
    )


def test_a_sinks_broker_must_be_readable(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.forbidden.add(("get", "brokers"))
    assert failed(target, function("sink: {broker: default}"))["permission"].found == (
        "no get on brokers.eventing.knative.dev"
    )


@pytest.mark.parametrize("verb", ["create", "get", "list", "watch", "patch", "delete"])
def test_what_a_run_of_a_job_asks_for_is_needed(target: KnativeTarget, cluster: FakeCluster, verb: str) -> None:
    cluster.forbidden.add((verb, "jobs"))
    assert failed(target, function("kind: job"))["permission"].found == f"no {verb} on jobs.batch"


def test_letting_go_of_a_binding_is_needed(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.forbidden.add(("patch", "sinkbindings"))
    job = function("kind: job, sink: {broker: default}")
    assert failed(target, job)["permission"].found == "no patch on sinkbindings.sources.knative.dev"


def test_what_may_not_be_read_does_not_fail_and_deploys(target: KnativeTarget, cluster: FakeCluster) -> None:
    cluster.faults += [
        Fault("GET", "/namespaces/knative-serving/", 403, times=100),
        Fault("GET", "/resourcequotas", 403, times=9),
    ]
    cluster.faults += [Fault("GET", "/api/v1/namespaces/default$", 403, times=9)]
    assert target.deploy(function()).url


def test_the_checks_are_pure() -> None:
    objects = render(Rendering(function=function(), image=IMAGE, namespace="default")).objects
    rows = check(Facts(host="h", namespace="default", error="no route to host"), objects)
    assert [(row.name, row.ok) for row in rows] == [("api", False)]


@pytest.mark.parametrize(("text", "found"), [("v1.32.1-eks-1", (1, 32)), ("1.8", (1, 8)), ("devel", None)])
def test_versions_are_read(text: str, found: tuple[int, int] | None) -> None:
    assert version(text) == found
