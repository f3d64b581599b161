"""The Knative target against an API over HTTP: deploy, describe, change, prune, delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.knative import READY, Knative, healthy, update
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key

from trimtab.deploy.abc import Stage
from trimtab.deploy.knative.canary import Guard
from trimtab.deploy.knative.client.failures import FieldConflict
from trimtab.deploy.knative.client.kinds import SERVICE
from trimtab.deploy.knative.routing import _followed
from trimtab.deploy.knative.target import KnativeTarget, Options
from trimtab.errors import Conflict, NotFound, PreflightFailed, SpecError
from trimtab.spec import Function, TrafficTarget, loads

SERVING = "serving.knative.dev/v1"


def function(text: str = "", name: str = "hello", image: str = IMAGE) -> Function:
    head = f"apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {{name: {name}}}\n"
    return loads(f"{head}spec: {{handler: hello, build: {{image: '{image}'}}, {text}}}")


def edited(number: int) -> Function:
    return function(image=IMAGE[:-1] + str(number))


def test_a_deployment_ends_with_the_url_and_says_each_stage(target: KnativeTarget) -> None:
    stages: list[Stage] = []
    done = target.deploy(function(), progress=stages.append)
    assert done.url == "http://hello.default.example.com/"
    assert (done.revision, done.changed) == ("hello-00001", True)
    assert [stage.name for stage in stages] == ["preflight", "apply", "revision", "pods", "route"]


def test_the_same_function_again_changes_nothing(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function())
    before = cluster.object(SERVING, "services", "hello")
    done = target.deploy(function())
    assert not done.changed
    assert cluster.object(SERVING, "services", "hello") == before


def test_force_makes_a_revision_of_the_same_function(target: KnativeTarget) -> None:
    target.deploy(function())
    assert target.deploy(function(), force=True).revision == "hello-00002"
    assert not target.deploy(function()).changed


def test_a_function_is_described_as_on_every_target(target: KnativeTarget) -> None:
    target.deploy(
        function("scale: {max: 3}, triggers: [{kind: cron, name: tick, schedule: '* * * * *', catchUp: none}]")
    )
    info = target.get("hello")
    assert (info.name, info.kind, info.target, info.revision) == ("hello", "http", "knative", "hello-00001")
    assert (info.replicas, info.scale.max, info.last_error) == (1, 3, None)
    assert [(r.name, r.state, r.percent, r.replicas) for r in info.revisions] == [("hello-00001", "ready", 100, 1)]
    assert [(t.name, t.kind, t.state) for t in info.triggers] == [("tick", "cron", "active")]
    assert [each.name for each in target.functions()] == ["hello"]


def test_what_the_spec_no_longer_names_is_pruned_and_what_others_own_stays(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    cluster.add("eventing.knative.dev/v1", "triggers", "others", metadata={"labels": {"trimtab.dev/function": "hello"}})
    both = "triggers: [{kind: event, name: a}, {kind: event, name: b}]"
    target.deploy(function(both))
    assert cluster.names("eventing.knative.dev/v1", "triggers") == ["hello-a", "hello-b", "others"]
    target.deploy(function("triggers: [{kind: event, name: b}]"))
    assert cluster.names("eventing.knative.dev/v1", "triggers") == ["hello-b", "others"]


def test_an_edited_trigger_reaches_the_cluster(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function("triggers: [{kind: event, name: a, filters: [{exact: {type: x}}]}]"))
    target.deploy(function("triggers: [{kind: event, name: a, filters: [{exact: {type: y}}]}]"))
    assert cluster.object("eventing.knative.dev/v1", "triggers", "hello-a")["spec"]["filters"] == [
        {"exact": {"type": "y"}}
    ]


def test_delete_leaves_nothing_of_ours(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function("triggers: [{kind: event, name: a}], sink: {broker: default}"))
    target.delete("hello")
    left = {key.plural for key in cluster.store.objects if key.namespace == "default" and key.name}
    assert left == {"brokers"}
    with pytest.raises(NotFound, match="no function 'hello'"):
        target.delete("hello")
    with pytest.raises(NotFound, match="no function 'hello'"):
        target.get("hello")


def test_traffic_is_split_and_survives_a_deployment_of_the_same(target: KnativeTarget) -> None:
    target.deploy(edited(1))
    target.deploy(edited(2))
    info = target.traffic(
        "hello",
        [TrafficTarget(revision="hello-00001", percent=90), TrafficTarget(percent=10, tag="canary")],
    )
    assert {r.name: r.percent for r in info.revisions} == {"hello-00001": 90, "hello-00002": 10}
    assert info.revisions[1].urls == {"canary": "http://canary-hello.default.example.com/"}
    assert not target.deploy(edited(2)).changed
    assert {r.name: r.percent for r in target.get("hello").revisions} == {"hello-00001": 90, "hello-00002": 10}


def test_a_new_revision_takes_the_traffic_whatever_was_split_before(target: KnativeTarget) -> None:
    target.deploy(edited(1))
    target.deploy(edited(2))
    target.rollback("hello")
    target.deploy(edited(3))
    assert {r.name: r.percent for r in target.get("hello").revisions}["hello-00003"] == 100


def test_a_revision_that_is_still_starting_has_not_failed_and_is_nothing_to_roll_back_to(
    target: KnativeTarget, knative: Knative
) -> None:
    def starting(cluster: FakeCluster, _: object, revision: str) -> None:
        update(cluster, "revisions", revision, conditions=[{"type": "Ready", "status": "Unknown"}])

    knative.outcome = starting
    target.options = Options(wait=False)
    target.deploy(edited(1))
    assert [(r.name, r.state) for r in target.get("hello").revisions] == [("hello-00001", "starting")]
    knative.outcome = healthy
    target.deploy(edited(2))
    assert [(r.name, r.state) for r in target.get("hello").revisions][1] == ("hello-00002", "ready")
    with pytest.raises(Conflict, match="'hello' has no ready revision before 'hello-00002' to roll back to"):
        target.rollback("hello")


def test_rollback_goes_to_the_ready_revision_before(target: KnativeTarget) -> None:
    target.deploy(edited(1))
    with pytest.raises(Conflict, match="'hello' has no ready revision before 'hello-00001' to roll back to"):
        target.rollback("hello")
    target.deploy(edited(2))
    assert {r.name: r.percent for r in target.rollback("hello").revisions} == {"hello-00001": 100, "hello-00002": 0}
    assert target.rollback("hello", "hello-00002").revisions[1].percent == 100


def test_a_revision_that_failed_gets_no_traffic(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(edited(1))
    target.deploy(edited(2))
    update(cluster, "revisions", "hello-00001", conditions=[{"type": "Ready", "status": "False"}])
    failed = "revision 'hello-00001' never became ready; deploy a corrected one"
    with pytest.raises(Conflict, match=failed):
        target.rollback("hello", "hello-00001")
    with pytest.raises(Conflict, match=failed):
        target.traffic("hello", [TrafficTarget(revision="hello-00001", percent=1), TrafficTarget(percent=99)])
    assert {r.name: r.percent for r in target.get("hello").revisions} == {"hello-00001": 0, "hello-00002": 100}


def test_a_route_that_cannot_be_ends_the_wait(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(edited(1))

    def refused(_: float) -> None:
        service = cluster.object(SERVING, "services", "hello")
        why = {"type": "RoutesReady", "status": "False", "reason": "RevisionMissing", "message": "hello-00009 is gone"}
        seen = service["metadata"]["generation"]
        update(cluster, "services", "hello", conditions=[why], observedGeneration=seen)

    refused(0.0)
    live = target.api.get(SERVICE, "hello")
    with pytest.raises(Conflict, match=r"the traffic cannot flow as told \(RevisionMissing: hello-00009 is gone\)"):
        _followed(target.api, "hello", live, refused)


def test_a_job_has_nothing_to_go_back_to_and_no_address(target: KnativeTarget) -> None:
    deployed = target.deploy(function("kind: job"))
    assert target.get("hello").revision == deployed.revision
    with pytest.raises(Conflict, match="'hello' is of kind job: it has no revisions to go back to"):
        target.rollback("hello")
    with pytest.raises(Conflict, match="it has no address: `trimtab run` starts a job"):
        target.reach(target.get("hello").url)


def test_tags_stay_where_they_are_when_a_revision_is_held_and_in_a_canary(target: KnativeTarget) -> None:
    target.deploy(edited(1))
    stable = TrafficTarget(revision="hello-00001", percent=100, tag="stable")
    target.traffic("hello", [stable])
    target.options = Options(hold=True)
    target.deploy(edited(2))
    assert [list(revision.urls) for revision in target.get("hello").revisions] == [["stable"], ["canary"]]
    target.canary("hello", [100], 0.0, Guard())
    assert [(list(each.urls), each.percent) for each in target.get("hello").revisions] == [(["stable"], 0), ([], 100)]


def test_a_model_that_is_a_file_here_is_refused(target: KnativeTarget) -> None:
    target.settings = replace(target.settings, registry="127.0.0.1:1/team")
    model = "kind: serving, models: [{key: rf, path: /tmp/model.pkl}]"
    made = function(model)
    built = replace(made, spec=replace(made.spec, build=replace(made.spec.build, image=None)))
    with pytest.raises(SpecError, match=r"spec.models\[0\].path: found '/tmp/model.pkl', allowed: an address"):
        target.deploy(built)


def test_another_namespace_than_the_targets_is_refused(target: KnativeTarget) -> None:
    made = function()
    target.settings = replace(target.settings, namespace="")
    with pytest.raises(SpecError, match=r"metadata.namespace: found 'shop', allowed: 'default', the namespace of the"):
        target.deploy(replace(made, metadata=replace(made.metadata, namespace="shop")))


def test_traffic_that_cannot_be_is_refused(target: KnativeTarget) -> None:
    target.deploy(function())
    with pytest.raises(SpecError, match="traffic: found 50, allowed: percents that sum to 100"):
        target.traffic("hello", [TrafficTarget(percent=50)])
    with pytest.raises(NotFound, match="'hello' has no revision 'hello-00009'; there are hello-00001"):
        target.traffic("hello", [TrafficTarget(revision="hello-00009", percent=100)])


def test_fields_of_other_managers_are_named_and_taken_only_when_told(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(edited(1))
    store = cluster.store
    key = next(key for key in store.objects if key.plural == "services" and key.name == "hello")
    store.merge(key, {"spec": {"template": {"spec": {"containerConcurrency": 7}}}}, "kubectl-edit")
    with pytest.raises(
        PreflightFailed, match=r"Service hello: .spec.template.spec.containerConcurrency is owned by 'kubectl-edit'"
    ):
        target.deploy(edited(2))
    assert target.get("hello").revision == "hello-00001"
    target.options = Options(force_conflicts=True)
    target.deploy(edited(2))
    assert cluster.object(SERVING, "services", "hello")["spec"]["template"]["spec"]["containerConcurrency"] == 0


def test_a_conflict_that_comes_between_check_and_apply_is_told_field_by_field(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(function("triggers: [{kind: event, name: a}]"))
    api, kind = "eventing.knative.dev/v1", "Trigger"
    trigger = cluster.object(api, "triggers", "hello-a")
    key = next(key for key in cluster.store.objects if key.plural == "triggers")
    cluster.store.merge(key, {"spec": {"broker": "other"}}, "argocd")
    with pytest.raises(FieldConflict) as caught:
        target.api.apply(
            {"apiVersion": api, "kind": kind, "metadata": trigger["metadata"], "spec": {"broker": "default"}}
        )
    assert caught.value.fields == [(".spec.broker", "argocd")]
    assert "  .spec.broker is owned by 'argocd'\n--force-conflicts takes them over" in str(caught.value)


def test_a_trigger_whose_events_may_be_lost_is_told_until_something_keeps_them(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    event = function("triggers: [{kind: event, name: a}]")
    lost = (
        "trigger 'a': an event that no try delivers is gone on Knative, unless retry.deadLetter, or the broker 'default' "
        "by its own delivery.deadLetterSink, says where it goes"
    )
    assert target.deploy(event).warnings == [lost]
    cluster.forbidden.add(("get", "brokers"))
    assert target.deploy(event).warnings == [lost]
    cluster.forbidden.clear()
    kept = "triggers: [{kind: event, name: a, retry: {deadLetter: 'http://dead.example.com/'}}]"
    assert target.deploy(function(kept)).warnings == []
    key = Key("eventing.knative.dev/v1", "brokers", "default", "default")
    broker = cluster.store.get(key)
    broker["spec"] = {"delivery": {"deadLetterSink": {"uri": "http://dead.example.com/"}}}
    cluster.store.put(key, broker)
    assert target.deploy(event).warnings == []


CALLED = "triggers: [{kind: event, name: a, retry: {deadLetter: 'http://dead/'}}, {kind: cron, name: c, schedule: '@daily', catchUp: none, overlap: allow}]"


def test_a_deployment_ends_when_what_calls_the_function_is_ready(target: KnativeTarget, cluster: FakeCluster) -> None:
    done = target.deploy(function(CALLED))
    assert [(stage.name, stage.detail) for stage in done.stages][-1] == ("triggers", "2 ready")
    assert done.warnings == []


def test_what_calls_the_function_and_is_late_is_told_and_fails_nothing(
    target: KnativeTarget, knative: Knative, cluster: FakeCluster
) -> None:
    said: list[str] = []
    knative.calling = {
        "type": "Ready",
        "status": "False",
        "reason": "BrokerNotReady",
        "message": "the broker is away",
    }
    target.options = Options(say=said.append)
    done = target.deploy(function(CALLED))
    late = "Trigger hello-a is not ready (BrokerNotReady: the broker is away)"
    assert said == [f"waiting: {late}"]
    assert done.warnings[0] == f"{late}; what happens before it is ready calls nobody"
    assert done.warnings[1].startswith("PingSource hello-c is not ready (BrokerNotReady")
    target.options = Options(wait=False, say=said.append)
    assert target.deploy(function(CALLED)).warnings == []


def test_what_calls_a_job_is_waited_for_as_well(target: KnativeTarget, cluster: FakeCluster) -> None:
    looks: list[float] = []

    def ready(_: float) -> None:
        looks.append(0.0)
        for kind, name in (("triggers", "hello-a"), ("jobsinks", "hello")):
            api = "eventing.knative.dev/v1" if kind == "triggers" else "sinks.knative.dev/v1alpha1"
            key = Key(api, kind, "default", name)
            item = cluster.store.get(key)
            item["status"] = {"conditions": [READY], "observedGeneration": item["metadata"]["generation"]}
            cluster.store.put(key, item)

    cluster.controllers.clear()
    place = KnativeTarget(target.settings, sleep=ready)
    done = place.deploy(function("kind: job, triggers: [{kind: event, name: a}]"))
    assert (done.stages[-1].name, len(looks)) == ("triggers", 1)


def test_consumers_are_scaled_by_keda_from_when_the_cluster_has_it(target: KnativeTarget, cluster: FakeCluster) -> None:
    stream = "triggers: [{kind: stream, name: s, url: 'redis://redis?stream=o', consumers: {max: 3}}]"
    assert target.deploy(function(stream)).warnings == [
        "trigger 's': 3 processes consume all the time, not scaled by lag: the cluster has no KEDA"
    ]
    assert cluster.object("apps/v1", "deployments", "hello-s")["spec"]["replicas"] == 3
    cluster.groups.append("keda.sh/v1alpha1")
    assert target.deploy(function(stream)).warnings == []
    assert "replicas" not in cluster.object("apps/v1", "deployments", "hello-s")["spec"]
    assert cluster.names("keda.sh/v1alpha1", "scaledobjects") == ["hello-s"]
    assert [(t.name, t.state) for t in target.get("hello").triggers] == [("s", "active")]
    target.deploy(function())
    assert cluster.names("keda.sh/v1alpha1", "scaledobjects") == []


def test_diff_names_what_differs_field_by_field(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function("triggers: [{kind: event, name: a}]"))
    assert target.diff(function("triggers: [{kind: event, name: a}]")) == []
    found = target.diff(function("scale: {max: 4}, triggers: [{kind: event, name: b}]"))
    rows = {(each.object, each.field): (each.live, each.desired) for each in found}
    field = 'spec.template.metadata.annotations["autoscaling.knative.dev/max-scale"]'
    assert rows["Service/hello", field] == (None, "4")
    assert rows["Trigger/hello-b", ""] == (None, "made")
    assert rows["Trigger/hello-a", ""] == ("removed", None)
    assert cluster.names("eventing.knative.dev/v1", "triggers") == ["hello-a"]


def test_diff_shows_what_was_taken_away(target: KnativeTarget) -> None:
    memory = "resources: {limits: {memory: 1Gi}}"
    target.deploy(function(f"scale: {{max: 4}}, rolloutDuration: 2m, {memory}"))
    assert target.diff(function(f"scale: {{max: 4}}, rolloutDuration: 2m, {memory}")) == []
    rows = {(each.object, each.field): (each.live, each.desired) for each in target.diff(function())}
    scale = 'spec.template.metadata.annotations["autoscaling.knative.dev/max-scale"]'
    rollout = 'metadata.annotations["serving.knative.dev/rollout-duration"]'
    assert (rows["Service/hello", scale], rows["Service/hello", rollout]) == (("4", None), ("120s", None))
    described = {field: row for (kind, field), row in rows.items() if kind == "ConfigMap/hello-trimtab"}
    assert described['data["function.json"].spec.resources'] == ({"limits": {"memory": "1Gi"}}, None)


def test_what_was_deployed_by_a_tag_is_promoted_by_the_digest_that_runs(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(function(image="registry.example.com/hello:latest"))
    digest = f"registry.example.com/hello@sha256:{'cd' * 32}"
    update(cluster, "revisions", "hello-00001", containerStatuses=[{"name": "user-container", "imageDigest": digest}])
    assert target.deployed("hello").spec.build.image == digest


def test_without_an_image_or_a_registry_it_says_what_to_give(target: KnativeTarget, tmp_path: Path) -> None:
    bare = function()
    bare = replace(bare, spec=replace(bare.spec, build=replace(bare.spec.build, image=None)))
    with pytest.raises(SpecError, match=r"TRIMTAB_REGISTRY or `registry` in targets\.yaml"):
        target.deploy(bare)


def test_no_wait_returns_before_it_is_ready(target: KnativeTarget, knative: Knative) -> None:
    knative.outcome = lambda *_: None
    target.options = Options(wait=False)
    done = target.deploy(function())
    assert (done.url, [stage.name for stage in done.stages]) == ("", ["preflight", "apply"])


def test_a_target_of_another_namespace_puts_objects_there(kubeconfig: Path, cluster: FakeCluster) -> None:
    from trimtab.deploy.named import ClusterSettings

    cluster.add("v1", "namespaces", "shop", "")
    shop = KnativeTarget(
        ClusterSettings(name="shop", kubeconfig=str(kubeconfig), context="other"), sleep=lambda _: None
    )
    assert shop.deploy(function()).url == "http://hello.shop.example.com/"
    assert shop.get("hello").target == "shop"


def environ(cluster: FakeCluster, name: str = "hello") -> dict[str, str]:
    template = cluster.object(SERVING, "services", name)["spec"]["template"]
    return {each["name"]: each.get("value", "") for each in template["spec"]["containers"][0]["env"]}


def test_the_first_revision_has_the_sinks_address_before_any_binding_acts(
    target: KnativeTarget, cluster: FakeCluster
) -> None:
    target.deploy(function("sink: {broker: default, extensions: {b: x, a: y}}"))
    revision = cluster.object(SERVING, "revisions", "hello-00001")
    assert revision["spec"]["containers"][0]["env"][-2:] == [
        {"name": "K_SINK", "value": "http://broker.example.com/default"},
        {"name": "K_CE_OVERRIDES", "value": '{"extensions":{"a":"y","b":"x"}}'},
    ]
    assert cluster.names("sources.knative.dev/v1", "sinkbindings") == ["hello-sink"]


def test_another_sink_reaches_the_first_pod_of_the_next_revision(target: KnativeTarget, cluster: FakeCluster) -> None:
    target.deploy(function("sink: {broker: default}"))
    target.deploy(function("sink: {uri: 'http://events.example.com/in'}"))
    assert environ(cluster)["K_SINK"] == "http://events.example.com/in"
    target.deploy(function())
    assert "K_SINK" not in environ(cluster)


def test_what_a_sink_binding_put_in_stays_and_is_no_conflict(target: KnativeTarget, cluster: FakeCluster) -> None:
    sink = "sink: {broker: default}"
    target.deploy(function(sink))
    key = next(key for key in cluster.store.objects if key.plural == "services")
    containers = cluster.store.get(key)["spec"]["template"]["spec"]["containers"]
    containers[0]["env"].insert(-1, {"name": "K_CA_CERTS", "value": "a certificate"})
    bound = cluster.store.merge(key, {"spec": {"template": {"spec": {"containers": containers}}}}, "webhook")
    target.deploy(function(sink))
    assert cluster.object(SERVING, "services", "hello")["spec"] == bound["spec"]
    assert target.diff(function(sink)) == []
    target.deploy(function(f"{sink}, env: [{{name: A, value: b}}]"))
    assert (environ(cluster)["K_CA_CERTS"], environ(cluster)["A"]) == ("a certificate", "b")
