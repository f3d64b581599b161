"""What consumes streams on a cluster, with KEDA and without."""

from __future__ import annotations

import pytest
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.test_manifests import rendered

from trimtab.deploy.knative.manifests import Rendered, Rendering, render
from trimtab.errors import SpecError
from trimtab.spec import loads


def test_a_stream_of_this_machine_is_refused() -> None:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        "spec: {handler: a, triggers: [{kind: stream, name: s, url: 'local:orders'}]}"
    )
    with pytest.raises(
        SpecError, match=r"spec.triggers\[0\].url: found 'local:orders', allowed: a stream that the cluster reaches"
    ):
        render(Rendering(function=wanted, image=IMAGE, namespace="shop"))


def test_a_consumer_puts_into_the_function_and_not_into_its_sink() -> None:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        "spec: {handler: a, sink: {uri: 'http://x/'}, triggers: [{kind: stream, name: s, url: 'nats://n?stream=S'}]}"
    )
    found = render(Rendering(function=wanted, image=IMAGE, namespace="shop")).objects
    (consumer,) = [item for item in found if item["kind"] == "ContainerSource"]
    assert consumer["spec"]["template"]["spec"]["containers"][0]["env"][1:] == []


def test_a_streams_password_stays_a_name_that_the_consumer_reads() -> None:
    (consumer,) = [item for item in rendered("streamed").objects if item["kind"] == "ContainerSource"]
    container = consumer["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][0] == "redis://:$$(PASSWORD)@redis:6379/0?stream=orders"
    assert container["env"][1]["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "password"}}


@pytest.mark.parametrize(
    "place",
    ["url: 'rediss://r?stream=o&tls_ca=/etc/ca/ca.pem'", "url: 'redis://r?stream=o', retry: {deadLetter: DEAD}"],
)
def test_a_consumer_has_the_volumes_of_its_certificates_and_no_other(place: str) -> None:
    dead = "'nats+tls://n?stream=d&tls_ca=%2Fetc%2Fca%2Fca.pem'"
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\nspec: {handler: a, volumes: ["
        "{name: ca, mountPath: /etc/ca, source: {secret: ca}}, {name: data, mountPath: /data, source: {persistentVolumeClaim: d}}],"
        f" triggers: [{{kind: stream, name: s, {place.replace('DEAD', dead)}}}]}}"
    )
    found = render(Rendering(function=wanted, image=IMAGE, namespace="shop")).objects
    (consumer,) = [item for item in found if item["kind"] == "ContainerSource"]
    spec = consumer["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "ca", "secret": {"secretName": "ca"}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}]


def test_what_a_stream_is_otherwise_on_a_cluster_is_said() -> None:
    assert rendered("streamed").notes == [
        "trigger 'orders': 1 process consumes all the time, not scaled by lag: the cluster has no KEDA",
        "trigger 'many': 3 processes consume all the time, not scaled by lag: the cluster has no KEDA",
    ]
    assert rendered("streamed", keda=True).notes == []


def consumed(text: str, *, keda: bool) -> Rendered:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        "spec: {handler: a, env: [{name: P, valueFrom: {secretKeyRef: {name: redis, key: p}}}],"
        f" triggers: [{{kind: stream, name: s, {text}}}]}}"
    )
    return render(Rendering(function=wanted, image=IMAGE, namespace="shop", keda=keda))


@pytest.mark.parametrize(
    ("consumers", "keda", "kinds"),
    [
        ("{min: 0, max: 4}", True, ["Deployment", "TriggerAuthentication", "ScaledObject"]),
        ("{min: 0, max: 4}", False, ["Deployment"]),
        ("{min: 4, max: 4}", True, ["Deployment"]),
        ("{min: 1, max: 1}", True, ["ContainerSource"]),
    ],
)
def test_consumers_are_scaled_where_their_number_may_vary_and_there_is_keda(
    consumers: str, keda: bool, kinds: list[str]
) -> None:
    found = consumed(f"url: 'redis://:$(P)@redis?stream=o', consumers: {consumers}", keda=keda)
    made = {item["kind"]: item for item in found.objects if item["kind"] != "Service"}
    assert list(made) == kinds
    if "ScaledObject" not in kinds:
        assert made[kinds[0]]["spec"].get("replicas", 1) == int(consumers[-2])
        return
    deployment, login, scaled = (made[kind]["spec"] for kind in kinds)
    assert "replicas" not in deployment  # they are KEDA's
    assert deployment["template"]["spec"]["containers"][0]["env"][2:] == [{"name": "KEDA_PASSWORD", "value": "$(P)"}]
    assert login["env"] == [{"parameter": "password", "name": "KEDA_PASSWORD", "containerName": "consume"}]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 4)
    assert scaled["scaleTargetRef"] == {"name": made["Deployment"]["metadata"]["name"]}


def test_a_stream_whose_lag_keda_cannot_know_keeps_its_number_and_says_why() -> None:
    found = consumed("url: 'mqtt://m?stream=t', consumers: {max: 2}", keda=True)
    assert found.notes == [
        "trigger 's': 2 processes consume all the time, not scaled by lag: an MQTT broker tells no lag"
    ]
    assert found.objects[-1]["spec"]["replicas"] == 2
