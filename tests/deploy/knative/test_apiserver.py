"""The target against a real Kubernetes API server: what it does with what we send, and the fake does as it does.

Knative is stood in for (`real.serving`), and there are no nodes: images, pods and logs are not what is tested here.
"""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.store import Key, Refusal, Store
from tests.deploy.knative.real.server import APPLY, MERGE, USER, ApiServer, Object
from tests.deploy.knative.real.serving import SERVING, Serving, define, install, serves, wait
from tests.deploy.knative.specs import SPECS
from tests.deploy.knative.specs import function as golden
from tests.deploy.knative.test_client import until
from tests.deploy.knative.test_target import edited, function

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.connect import connect
from trimtab.deploy.knative.client.failures import FieldConflict
from trimtab.deploy.knative.client.kinds import CONFIG_MAP
from trimtab.deploy.knative.manifests.cron import wants_cron_job
from trimtab.deploy.knative.mirror import Mirror
from trimtab.deploy.knative.target import KnativeTarget, Options
from trimtab.deploy.named import ClusterSettings
from trimtab.errors import NotFound, PreflightFailed
from trimtab.spec import CronTrigger, TrafficTarget

EVENTING = "/apis/eventing.knative.dev/v1"
NAMES = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    try:
        install(server)
        yield server
    finally:
        server.close()


@pytest.fixture
def namespace(server: ApiServer) -> str:
    name = f"shop-{next(NAMES)}"
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    for broker in ("default", "other"):
        made = server.ask(
            "POST",
            f"{EVENTING}/namespaces/{name}/brokers",
            {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": broker}},
        )
        made["status"] = {"address": {"url": f"http://broker.example.com/{name}/{broker}"}}
        server.ask("PUT", f"{EVENTING}/namespaces/{name}/brokers/{broker}/status", made)
    return name


@pytest.fixture
def target(
    server: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KnativeTarget]:
    monkeypatch.setattr(Api, "version", lambda _: "v1.29.0")  # this one is older than what we ask for
    with Serving(server, namespace):
        yield aimed(server.kubeconfig(tmp_path / "kubeconfig", namespace))


def aimed(kubeconfig: Path) -> KnativeTarget:
    return KnativeTarget(ClusterSettings(kubeconfig=str(kubeconfig)))


def versions(server: ApiServer, namespace: str, kinds: list[str]) -> dict[str, str]:
    """Give the versions of all our objects."""
    return {
        f"{path}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for path in kinds
        for item in server.ask("GET", path.replace("NAMESPACE", namespace))["items"]
        if (item["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "trimtab"
    }


OURS = [
    "/api/v1/namespaces/NAMESPACE/configmaps",
    "/api/v1/namespaces/NAMESPACE/serviceaccounts",
    "/apis/apps/v1/namespaces/NAMESPACE/deployments",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/NAMESPACE/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/NAMESPACE/rolebindings",
    f"{EVENTING}/namespaces/NAMESPACE/triggers",
    "/apis/sources.knative.dev/v1/namespaces/NAMESPACE/sinkbindings",
    "/apis/sources.knative.dev/v1/namespaces/NAMESPACE/containersources",
    "/apis/sources.knative.dev/v1/namespaces/NAMESPACE/pingsources",
    "/apis/sinks.knative.dev/v1alpha1/namespaces/NAMESPACE/jobsinks",
    "/apis/keda.sh/v1alpha1/namespaces/NAMESPACE/scaledobjects",
    "/apis/keda.sh/v1alpha1/namespaces/NAMESPACE/triggerauthentications",
]


@pytest.mark.parametrize("without", ["", "sinks.knative.dev/v1alpha1", "keda.sh/v1alpha1"])
@pytest.mark.parametrize("name", SPECS)
def test_what_is_applied_is_taken_as_it_is_and_leaves_nothing(
    target: KnativeTarget,
    server: ApiServer,
    namespace: str,
    name: str,
    without: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defaults that the server adds, to a Deployment say, are no difference, and nothing is written twice."""
    groups = Api.groups
    monkeypatch.setattr(Api, "groups", lambda self: groups(self) - {without})
    wanted = golden(name)
    wanted.spec.build.image, wanted.spec.traffic = IMAGE, []
    # This server has no CronJob of batch/v1, which came with Kubernetes 1.21.
    wanted.spec.triggers = [
        each
        for each in wanted.spec.triggers
        if not (isinstance(each, CronTrigger) and (wanted.spec.kind == "job" or wants_cron_job(each)))
    ]
    target.options = Options(wait=False)  # nobody makes pods of Deployments
    target.deploy(wanted)
    assert target.diff(wanted) == []
    before = versions(server, namespace, OURS)
    assert len(before) >= 2 - (wanted.spec.kind == "http")
    assert not target.deploy(wanted).changed
    assert versions(server, namespace, OURS) == before
    target.delete(wanted.metadata.name)
    assert versions(server, namespace, [*OURS, f"{SERVING}/namespaces/NAMESPACE/services"]) == {}
    with pytest.raises(NotFound):
        target.get(wanted.metadata.name)


def test_revisions_come_and_take_traffic_and_give_it_back(target: KnativeTarget) -> None:
    assert [stage.name for stage in target.deploy(edited(1)).stages][-3:] == ["revision", "pods", "route"]
    assert target.deploy(edited(2)).revision == "hello-00002"
    split = [TrafficTarget(revision="hello-00001", percent=90), TrafficTarget(percent=10, tag="canary")]
    assert {r.name: r.percent for r in target.traffic("hello", split).revisions} == {
        "hello-00001": 90,
        "hello-00002": 10,
    }
    assert not target.deploy(edited(2)).changed
    assert {r.name: r.percent for r in target.get("hello").revisions} == {"hello-00001": 90, "hello-00002": 10}
    assert {r.name: r.percent for r in target.rollback("hello", "hello-00001").revisions}["hello-00001"] == 100
    assert target.deploy(edited(3)).revision == "hello-00003"
    assert {r.name: r.percent for r in target.get("hello").revisions}["hello-00003"] == 100
    assert target.deploy(edited(3), force=True).revision == "hello-00004"


def test_what_the_description_no_longer_names_goes_and_what_others_own_stays(
    target: KnativeTarget, server: ApiServer, namespace: str
) -> None:
    triggers = f"{EVENTING}/namespaces/{namespace}/triggers"
    others = {"metadata": {"name": "others", "labels": {"trimtab.dev/function": "hello"}}}
    server.ask("POST", triggers, {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", **others})
    target.deploy(function("env: [{name: A, value: a}], triggers: [{kind: event, name: a}, {kind: event, name: b}]"))
    target.deploy(function("triggers: [{kind: event, name: b, filters: [{exact: {type: x}}]}]"))
    found = {item["metadata"]["name"]: item for item in server.ask("GET", triggers)["items"]}
    assert found.keys() == {"hello-b", "others"}
    assert found["hello-b"]["spec"]["filters"] == [{"exact": {"type": "x"}}]
    service = server.ask("GET", f"{SERVING}/namespaces/{namespace}/services/hello")
    (container,) = service["spec"]["template"]["spec"]["containers"]
    assert "A" not in {each["name"] for each in container["env"]}


@pytest.mark.parametrize("content", [APPLY, MERGE])
def test_fields_of_others_are_named_and_taken_only_when_told(
    target: KnativeTarget, server: ApiServer, namespace: str, content: str
) -> None:
    target.deploy(edited(1))
    path = f"{SERVING}/namespaces/{namespace}/services/hello"
    whole = {"apiVersion": "serving.knative.dev/v1", "kind": "Service"} if content == APPLY else {}
    patch = {**whole, "spec": {"template": {"spec": {"containerConcurrency": 7}}}}
    server.ask("PATCH", f"{path}?fieldManager=argocd&force=true"[: None if content == APPLY else -11], patch, content)
    assert [(each.field, each.live) for each in target.diff(edited(1))] == [
        ("spec.template.spec.containerConcurrency", 7)
    ]
    with pytest.raises(
        PreflightFailed, match=r"Service hello: .spec.template.spec.containerConcurrency is owned by 'argocd'"
    ):
        target.deploy(edited(2))
    target.options = Options(force_conflicts=True)
    target.deploy(edited(2))
    assert server.ask("GET", path)["spec"]["template"]["spec"]["containerConcurrency"] == 0


def test_what_a_sink_binding_puts_in_is_no_conflict_and_stays(
    target: KnativeTarget, server: ApiServer, namespace: str
) -> None:
    sink = "sink: {broker: default}"
    target.deploy(function(sink))
    path = f"{SERVING}/namespaces/{namespace}/services/hello"
    containers = server.ask("GET", path)["spec"]["template"]["spec"]["containers"]
    containers[0]["env"].insert(-1, {"name": "K_CA_CERTS", "value": "a certificate"})
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    server.ask("PATCH", f"{path}?fieldManager=webhook", patch, MERGE)
    assert target.diff(function(sink)) == []
    assert not target.deploy(function(sink)).changed
    target.deploy(function(f"{sink}, env: [{{name: A, value: b}}]"))
    (container,) = server.ask("GET", path)["spec"]["template"]["spec"]["containers"]
    assert {"K_CA_CERTS", "K_SINK", "A"} <= {each["name"] for each in container["env"]}


def test_the_permissions_that_preflight_misses_are_those_that_are_needed(
    target: KnativeTarget, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Whoever gets exactly what is named deploys, describes and deletes."""
    wanted = function("sink: {broker: default}, triggers: [{kind: event, name: a}]")
    hers = aimed(server.kubeconfig(tmp_path / "hers", namespace, USER))
    with pytest.raises(
        PreflightFailed, match=r"no get, create, patch, list, delete, watch on services\.serving\.knative\.dev"
    ):
        hers.deploy(wanted)
    assert versions(server, namespace, OURS) == {}
    rules = [
        rule_of(check.found.removeprefix("no "))
        for check in hers.preflight(wanted)
        if check.name == "permission" and not check.ok
    ]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    server.ask("POST", f"{roles}/roles", {"metadata": {"name": "deployer"}, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}
    server.ask(
        "POST", f"{roles}/rolebindings", {"metadata": {"name": "deployer"}, "roleRef": ref, "subjects": [subject]}
    )
    until(lambda: all(check.ok for check in hers.preflight(wanted)))
    assert hers.deploy(wanted).revision == "hello-00001"
    assert hers.get("hello").revision == "hello-00001"
    hers.delete("hello")


def rule_of(said: str) -> Object:
    verbs, _, resource = said.partition(" on ")
    plural, _, group = resource.partition(".")
    return {"apiGroups": [group], "resources": [plural], "verbs": verbs.split(", ")}


def test_a_quota_that_is_used_up_is_told_before_anything_is_changed(
    target: KnativeTarget, server: ApiServer, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    made = server.ask("POST", path, {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}})
    made["status"] = {"hard": {"pods": "1"}, "used": {"pods": "1"}}
    server.ask("PUT", f"{path}/small/status", made)
    with pytest.raises(PreflightFailed, match="quota: small: pods used 1 of 1; needed: 1 of pods free"):
        target.deploy(function())
    assert versions(server, namespace, OURS) == {}


def test_a_run_is_taken_listed_and_cancelled(target: KnativeTarget, server: ApiServer, namespace: str) -> None:
    wanted = function("kind: job, parameters: {depth: 3}")
    target.deploy(wanted)
    started = target.run(wanted, {"depth": 5}, wait=False)
    assert [(run.id, run.state) for run in target.runs(wanted.metadata.name)] == [(started.id, "pending")]
    (made,) = server.ask("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    assert made["metadata"]["labels"]["trimtab.dev/run"] == started.id
    assert target.cancel(started.id).state == "cancelled"


def test_a_cluster_whose_certificate_is_not_to_be_checked_is_used_without_a_word(
    target: KnativeTarget, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    careless = aimed(server.kubeconfig(tmp_path / "careless", namespace, insecure=True))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        careless.api.all(CONFIG_MAP)
    assert said == []


# Python's ssl does not close a socket whose peer is gone before the handshake (ECONNRESET in SSLSocket._create).
@pytest.mark.filterwarnings("ignore:.*unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_what_happens_while_the_server_is_away_is_noticed_and_a_deployment_goes_on(
    target: KnativeTarget, server: ApiServer, namespace: str
) -> None:
    for name in ("stays", "goes"):
        server.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}})
    with Mirror(target.api, CONFIG_MAP, lambda: None) as mirror:
        until(lambda: names(mirror) >= {"stays", "goes"})
        server.stop()
        server.forget(f"configmaps/{namespace}/goes")
        server.start()
        wait(server)
        server.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "comes"}})
        until(lambda: "comes" in names(mirror) and "goes" not in names(mirror))
    assert target.deploy(function()).revision == "hello-00001"
    gc.collect()


def names(mirror: Mirror) -> set[str]:
    return {item["metadata"]["name"] for item in mirror.items()}


# The fake


def struct(**fields: Object) -> Object:
    return {"type": "object", "properties": fields}


NUMBER, LIST = {"type": "integer"}, {"type": "array", "items": struct(name={"type": "string"})}
FIELDS = {
    "a": NUMBER,
    "b": struct(c=NUMBER, d=LIST),
    "e": struct(f=struct(g=LIST)),
    "h": NUMBER,
    "one": NUMBER,
    "two": NUMBER,
}
KEPT = {"b": {"c": 1}, "e": {"f": {"g": []}}}
PLACES = [("a",), ("b", "c"), ("b", "d"), ("e", "f", "g"), ("h",)]


def some(rng: random.Random) -> Object:
    """Make a small object's `spec`."""
    found: Object = {}
    for *path, last in rng.sample(PLACES, rng.randint(1, 4)):
        inner = found
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = [{"name": rng.choice("xyz")}] if last in "dg" else rng.randint(1, 3)
    return found if "b" not in found else {**found, "b": {"c": 1, **found["b"]}}


@pytest.mark.parametrize("seed", range(12))
def test_the_fake_merges_and_refuses_as_the_real_one(
    server: ApiServer, namespace: str, tmp_path: Path, seed: int
) -> None:
    """Applies of two managers and patches of a third, in any order: the same object, the same conflicts."""
    rng, store = random.Random(seed), Store()
    key = Key(f"t{seed}.example.com/v1", "things", namespace, "t")
    define(server, key.api, "Thing", key.plural, struct(spec=struct(**FIELDS)))
    path = f"/apis/{key.api}/namespaces/{namespace}/things/t"
    head = {"apiVersion": key.api, "kind": "Thing", "metadata": {"name": "t", "namespace": namespace}}
    until(lambda: serves(server, key.api, key.plural))
    for step in range(25):
        wanted, manager = some(rng), rng.choice(["one", "two"])
        how = rng.choice(["apply", "apply", "force", "merge"]) if step else "apply"
        if how == "merge":
            found: Any = server.ask("PATCH", f"{path}?fieldManager=third", {"spec": wanted}, MERGE)
            ours: Any = store.merge(key, {"spec": wanted}, "third")
        else:
            # Two bugs of this old server are kept out: a manager that lost all its fields gets others' back, and a group
            # of fields that are all taken away becomes null, which it refuses itself.
            body = {**head, "spec": {**KEPT, **wanted, manager: 1}}
            found = applied(server, f"{path}?fieldManager={manager}&force={str(how == 'force').lower()}", body)
            try:
                ours = store.apply(key, body, manager, force=how == "force")
            except Refusal as refusal:
                ours = conflicts(refusal.body)
        got = found if isinstance(found, list) else found["spec"]
        expected = ours if isinstance(ours, list) else ours["spec"]
        assert expected == got, (step, how, manager, wanted)


def applied(server: ApiServer, path: str, body: Object) -> Object | list[tuple[str, str]]:
    try:
        return server.ask("PATCH", path, body, APPLY)
    except Refusal as refusal:
        return conflicts(refusal.body)


def conflicts(body: Object) -> list[tuple[str, str]]:
    causes = body["details"]["causes"]
    return sorted((each["field"], each["message"].partition('"')[2].partition('"')[0]) for each in causes)


def test_a_conflict_of_the_real_one_is_told_field_by_field(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    api = Api(connect("", str(server.kubeconfig(tmp_path / "kubeconfig", namespace))))
    manifest = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t", "namespace": namespace},
        "spec": {"broker": "default"},
    }
    api.apply(manifest)
    server.ask(
        "PATCH", f"{EVENTING}/namespaces/{namespace}/triggers/t?fieldManager=argocd", {"spec": {"broker": "b"}}, MERGE
    )
    with pytest.raises(FieldConflict) as caught:
        api.apply(manifest)
    assert caught.value.fields == [(".spec.broker", "argocd")]
