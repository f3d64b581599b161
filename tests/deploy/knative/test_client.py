"""The client against an API that is slow, busy, broken, or has forgotten: what is repeated, and what is told."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import urllib3
import yaml
from tests.deploy.knative.fake.server import FakeCluster, Fault
from tests.deploy.knative.fake.store import Refusal

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.connect import connect
from trimtab.deploy.knative.client.failures import Expired, Forbidden, Refused, translate
from trimtab.deploy.knative.client.http import Http
from trimtab.deploy.knative.client.kinds import CONFIG_MAP, SERVICE
from trimtab.deploy.knative.mirror import Mirror
from trimtab.errors import Conflict, NotFound, SpecError, TargetUnreachable


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def api(kubeconfig: Path, slept: list[float]) -> Api:
    return Api(connect("", str(kubeconfig)), sleep=slept.append)


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"x": "y"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_busy_api_is_asked_again_when_it_says(api: Api, cluster: FakeCluster, slept: list[float]) -> None:
    cluster.faults.append(Fault("PATCH", "configmaps", 429, times=2, headers={"Retry-After": "7"}))
    assert api.apply(config_map())["metadata"]["name"] == "a"
    assert slept == [7.0, 7.0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_api_is_asked_again(api: Api, cluster: FakeCluster, slept: list[float], status: int) -> None:
    cluster.faults.append(Fault("*", "configmaps", status, times=3))
    api.apply(config_map())
    assert len(slept) == 3
    assert slept == sorted(slept)


def test_an_api_that_goes_on_failing_is_unreachable(api: Api, cluster: FakeCluster) -> None:
    cluster.faults.append(Fault("*", "configmaps", 503, times=100, body={"message": "etcd is down"}))
    with pytest.raises(TargetUnreachable, match=r"get ConfigMap a: http://127\.0\.0\.1:\d+ answered 503: etcd is down"):
        api.get(CONFIG_MAP, "a")


def test_a_connection_that_is_cut_is_made_again(api: Api, cluster: FakeCluster, slept: list[float]) -> None:
    cluster.faults.append(Fault("PATCH", "configmaps", 0, times=1))
    api.apply(config_map())
    assert cluster.names("v1", "configmaps") == ["a"]


def test_a_slow_answer_is_given_up_and_asked_for_again(
    api: Api, cluster: FakeCluster, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.deploy.knative.client.http._READ", 0.2)
    cluster.faults.append(Fault("PATCH", "configmaps", 0, times=1, delay=0.6))
    api.apply(config_map())
    assert len(slept) == 1


def test_an_api_that_hangs_or_is_not_there_is_told_of_within_ten_seconds(
    api: Api, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def silent(*_: object, timeout: Any, **__: object) -> None:
        given.append(max(timeout.connect_timeout, timeout.read_timeout))
        raise urllib3.exceptions.ReadTimeoutError(pool, "/version", "read timed out")

    pool = api.http._client.rest_client.pool_manager
    monkeypatch.setattr(pool, "request", silent)
    with pytest.raises(TargetUnreachable, match="does not answer"):
        api.version()
    assert sum(given) + sum(slept) <= 10


def test_a_write_that_lost_a_race_is_repeated(api: Api, cluster: FakeCluster) -> None:
    body = Refusal(409, "Conflict", "Operation cannot be fulfilled: the object has been modified").body
    cluster.faults.append(Fault("PATCH", "configmaps", 409, times=2, body=body))
    assert api.apply(config_map())["data"] == {}


def test_applying_drops_fields_that_are_no_longer_set(api: Api, cluster: FakeCluster) -> None:
    api.apply(config_map(a="1", b="2"))
    api.apply(config_map(b="2"))
    assert cluster.object("v1", "configmaps", "a")["data"] == {"b": "2"}


def test_our_own_changes_are_no_conflict(api: Api, cluster: FakeCluster) -> None:
    api.apply(config_map(a="1"))
    api.change(CONFIG_MAP, "a", {"data": {"a": "2"}})
    assert api.apply(config_map(a="3"))["data"] == {"a": "3"}


def test_long_lists_come_in_pages(api: Api, cluster: FakeCluster) -> None:
    for number in range(3):
        cluster.add("v1", "configmaps", f"c{number}")
    assert [item["metadata"]["name"] for item in api.all(CONFIG_MAP)] == ["c0", "c1", "c2"]
    assert api.all(SERVICE, {"no": "such"}) == []


def test_a_kind_that_the_cluster_does_not_know_has_no_objects(api: Api, cluster: FakeCluster) -> None:
    cluster.groups.remove("serving.knative.dev/v1")
    assert api.all(SERVICE) == []


def test_deleting_names_the_very_object(api: Api, cluster: FakeCluster) -> None:
    api.apply(config_map())
    with pytest.raises(Conflict, match="Precondition failed"):
        api.delete(CONFIG_MAP, "a", uid="another")
    assert api.delete(CONFIG_MAP, "a")
    assert not api.delete(CONFIG_MAP, "a")


@pytest.mark.parametrize(
    ("status", "message", "kind", "words"),
    [
        (401, "Unauthorized", Expired, "does not accept the credentials"),
        (403, 'forbidden: User "system:anonymous" cannot get path "/apis"', Expired, "had no credentials from us"),
        (403, 'services.serving.knative.dev "hello" is forbidden: ValidatingAdmissionPolicy \'p\' with binding \'b\' denied request: no', Refused, "was refused: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', Refused, "violates PodSecurity"),
        (403, 'x "y" is forbidden: User "a" may not', Forbidden, "not allowed"),
        (403, 'User "a" cannot create resource "services" in API group "serving.knative.dev" in', Forbidden, "no permission to create services.serving.knative.dev"),
        (403, "pods is forbidden: exceeded quota: small, requested: pods=1", Refused, "exceeded quota: small, requested: pods=1; free some"),
        (403, 'admission webhook "v.example.com" denied the request: no', Refused, "webhook v.example.com: no"),
        (400, 'admission webhook "v.example.com" denied the request: validation failed: x', Refused, "validation failed: x"),
        (422, "spec.schedule: Invalid value", Refused, "spec.schedule: Invalid value"),
        (404, "not found", NotFound, "apply Service hello: not found"),
        (409, "already exists", Conflict, "already exists"),
    ],
)  # fmt: skip
def test_an_answer_becomes_an_error_that_says_what_to_do(
    status: int, message: str, kind: type[Exception], words: str
) -> None:
    body = json.dumps({"message": message})
    error = translate(status, body.encode(), "apply Service hello", "https://api")
    assert type(error) is kind
    assert words in str(error)


def test_an_answer_that_is_no_json_is_shown() -> None:
    assert "<html>" in str(translate(418, b"<html>teapot", "x", "h"))


def test_a_watch_goes_on_after_410_gone_and_misses_nothing(api: Api, cluster: FakeCluster) -> None:
    cluster.add("v1", "configmaps", "one")
    with Mirror(api, CONFIG_MAP, lambda: None) as mirror:
        until(lambda: _names(mirror) == {"one"})
        with cluster.store.lock:
            cluster.add("v1", "configmaps", "two")
            cluster.store.delete(next(key for key in cluster.store.objects if key.name == "one"))
            cluster.store.forget()
        until(lambda: _names(mirror) == {"two"})


def test_a_watch_goes_on_after_a_broken_connection(api: Api, cluster: FakeCluster) -> None:
    cluster.faults.append(Fault("GET", "configmaps", 503, times=2))
    with Mirror(api, CONFIG_MAP, lambda: None) as mirror:
        cluster.add("v1", "configmaps", "one")
        until(lambda: _names(mirror) == {"one"})
    assert not any(thread.name == "watch-configmaps" for thread in threading.enumerate())


def test_a_watch_waits_for_an_api_that_goes_away(api: Api, cluster: FakeCluster) -> None:
    cluster.add("v1", "configmaps", "one")
    with Mirror(api, CONFIG_MAP, lambda: None) as mirror:
        until(lambda: _names(mirror) == {"one"})
        with cluster.store.lock:
            cluster.faults.append(Fault("GET", "configmaps", 503, times=20))
            cluster.add("v1", "configmaps", "two")
            cluster.store.forget()
        until(lambda: _names(mirror) == {"one", "two"})
    assert cluster.faults[0].times == 0


def test_a_watch_that_may_not_be_says_so(api: Api, cluster: FakeCluster) -> None:
    cluster.forbidden.add(("list", "configmaps"))
    with (
        Mirror(api, CONFIG_MAP, lambda: None) as mirror,
        pytest.raises(Forbidden, match="no permission to list configmaps"),
    ):
        until(lambda: _names(mirror) == {"one"})


def _names(mirror: Mirror) -> set[str]:
    return {item["metadata"]["name"] for item in mirror.items()}


def test_the_context_says_where_we_are(kubeconfig: Path) -> None:
    assert connect("", str(kubeconfig)).namespace == "default"
    assert connect("other", str(kubeconfig)).namespace == "shop"
    with pytest.raises(SpecError, match="context: found 'x', allowed: one of fake, other"):
        connect("x", str(kubeconfig))


def test_no_configuration_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(TargetUnreachable, match=r"no cluster is configured: .*none cannot be used .* set KUBECONFIG"):
        connect("", str(tmp_path / "none"))


def with_plugin(kubeconfig: Path, command: Path, script: str | None) -> None:
    """Have the credentials come from a plugin."""
    if script is not None:
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o700)
    document = yaml.safe_load(kubeconfig.read_text())
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), "interactiveMode": "Never"}
    document["users"] = [{"name": "ada", "user": {"exec": {**run, "args": ["--password", "s3cret"]}}}]
    kubeconfig.write_text(yaml.safe_dump(document))


def test_an_exec_plugin_gives_the_token(kubeconfig: Path, cluster: FakeCluster, tmp_path: Path) -> None:
    credential = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fromplugin"}}'
    )
    with_plugin(kubeconfig, tmp_path / "plugin", f"echo '{credential}'")
    cluster.token = "fromplugin"
    assert Api(connect("", str(kubeconfig))).version() == "v1.32.1"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'the session ended; log in' >&2; exit 3", "process returned 3. the session ended; log in"),
        ("echo nonsense", "failed to decode process output: "),
        (
            'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}\'',
            "missing token",
        ),
        (None, "No such file or directory"),
    ],
)
def test_an_exec_plugin_that_fails_is_named_and_says_why(
    kubeconfig: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str | None, why: str
) -> None:
    plugin = tmp_path / "cloud login"
    with_plugin(kubeconfig, plugin, script)
    before = list(logging.getLogger().handlers)
    with pytest.raises(
        Expired, match=r"context 'fake': the exec plugin '.*cloud login' gave no credentials \("
    ) as caught:
        connect("", str(kubeconfig))
    assert why in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert logging.getLogger().handlers == before


@pytest.fixture
def in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and files of a pod."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("podtoken")
    (account / "namespace").write_text("shop")
    (account / "ca.crt").write_text(certifi.contents())
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    monkeypatch.setattr("trimtab.deploy.knative.client.connect._ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("in_cluster")
def test_in_a_pod_its_service_account_is_used() -> None:
    connection = connect()
    assert (connection.host, connection.namespace) == ("https://10.0.0.1:443", "shop")
    assert Http(connection).credentials() == {"authorization": "bearer podtoken"}
