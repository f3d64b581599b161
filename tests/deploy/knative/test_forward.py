"""Functions are called where neither their domain nor a load balancer is reached: through the API, to a pod of the ingress."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key
from tests.deploy.knative.test_commands import Ingress, Trimtab, trimtab  # noqa: F401  a fixture
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative import forward
from trimtab.deploy.knative.client.failures import Forbidden
from trimtab.deploy.knative.ingress import Inside, inside
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.errors import Conflict, TargetUnreachable

URL = "http://hello.default.example.invalid/"
GATEWAY = {"app": "3scale-kourier-gateway"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture
def ingress() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ingress)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Sink(BaseHTTPRequestHandler):
    """Takes events, as the JobSink's pod does."""

    got: ClassVar[list[tuple[str | None, str, str | None, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.headers["host"], self.path, self.headers["ce-type"], body))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[int]:
    Sink.got.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def inner(cluster: FakeCluster, name: str, namespace: str, port: int) -> None:
    """Have a Service with one pod in the cluster, which only other pods reach."""
    labels = {"app": name}
    ports = [{"port": 80, "targetPort": 8081}]
    cluster.add("v1", "services", name, namespace, spec={"selector": labels, "ports": ports})
    cluster.add("v1", "pods", f"{name}-0", namespace, metadata={"labels": labels}, status=READY)
    cluster.listening[f"{name}-0", 8081] = port


def job(trimtab: Trimtab, more: str = "") -> None:  # noqa: F811
    spec = f"kind: job, handler: a, build: {{image: '{IMAGE}'}}, triggers: [{{kind: event, name: e}}], {more}"
    head = "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: train}\n"
    Path("job.yaml").write_text(f"{head}spec: {{{spec}}}\n")
    result = trimtab("deploy", "job.yaml", "--target", "knative")
    assert result.exit_code == 0, result.output


def kourier(cluster: FakeCluster, port: int, target: int | str = 8080) -> None:
    """Have Kourier in the cluster, without a load balancer, as on kind."""
    ports = [{"port": 443, "targetPort": 8443}, {"name": "http2", "port": 80, "targetPort": target}]
    cluster.add("v1", "services", "kourier", "kourier-system", spec={"selector": GATEWAY, "ports": ports})
    spec = {"containers": [{"name": "gateway", "ports": [{"name": "http", "containerPort": 8080}]}]}
    for name, status in (("gateway-0", {}), ("gateway-1", READY)):
        cluster.add("v1", "pods", name, "kourier-system", metadata={"labels": GATEWAY}, spec=spec, status=status)
    cluster.listening["gateway-1", 8080] = port


@pytest.fixture(autouse=True)
def _forwards_end() -> Iterator[None]:
    yield
    while forward._forwards:
        forward._forwards.popitem()[1].close()


def asked(target: KnativeTarget, path: str = "/x") -> dict[str, object]:
    url, headers = target.reach(URL)
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


@pytest.mark.parametrize("port", [8080, "http"])
def test_a_pod_of_the_ingress_is_called_with_the_functions_host(
    target: KnativeTarget, cluster: FakeCluster, ingress: int, port: int | str
) -> None:
    cluster.token = "s3cret"
    kourier(cluster, ingress, port)
    assert asked(target) == {"host": ["hello.default.example.invalid"], "path": "/x"}
    again = KnativeTarget(target.settings)
    assert target.reach(URL)[0] == again.reach(URL)[0]  # one port for all calls of a process
    with_long_path = "/" + "y" * 20_000
    assert asked(target, with_long_path)["path"] == with_long_path


def test_invoke_goes_through_the_api_by_itself(trimtab: Trimtab, cluster: FakeCluster, ingress: int) -> None:  # noqa: F811
    trimtab("deploy", "function.yaml", "--target", "knative")
    kourier(cluster, ingress)
    service = next(key for key in cluster.store.objects if key.plural == "services" and key.name == "hello")
    item = cluster.store.get(service)
    item["status"]["url"] = URL
    cluster.store.put(service, item)
    result = trimtab("invoke", "hello", "--target", "knative", "--path", "/x?a=1")
    assert json.loads(result.stdout) == {"host": ["hello.default.example.invalid"], "path": "/x?a=1"}


def test_an_event_starts_a_job_through_its_jobsink(trimtab: Trimtab, cluster: FakeCluster, sink: int) -> None:  # noqa: F811
    job(trimtab)
    inner(cluster, "job-sink", "knative-eventing", sink)
    key = Key("sinks.knative.dev/v1alpha1", "jobsinks", "default", "train")
    item = cluster.store.get(key)
    url = "http://job-sink.knative-eventing.svc.cluster.local/default/train"
    item["status"] = {"address": {"url": url}}
    cluster.store.put(key, item)
    here = ("--target", "knative")
    assert json.loads(trimtab("get", "train", *here, "-o", "json").stdout)["url"] == url + "/"
    result = trimtab("invoke", "train", *here, "--event", "com.example.drift", "-d", '{"x": 1}')
    assert (result.exit_code, result.output) == (0, "")
    host = "job-sink.knative-eventing.svc.cluster.local"
    assert Sink.got == [(host, "/default/train/", "com.example.drift", b'{"x": 1}')]


def test_an_event_starts_a_job_through_a_service_of_ours(trimtab: Trimtab, cluster: FakeCluster, sink: int) -> None:  # noqa: F811
    job(trimtab, "job: {backoffLimit: 2}")
    host = "train-starter.default.svc.cluster.local"
    key = Key("serving.knative.dev/v1", "services", "default", "train-starter")
    item = cluster.store.get(key)
    item["status"]["url"] = f"http://{host}"
    cluster.store.put(key, item)
    # What Knative makes of a route that only the cluster reaches: a name for its inner gateway.
    alias = {"type": "ExternalName", "externalName": "kourier-internal.kourier-system.svc.cluster.local"}
    cluster.add("v1", "services", "train-starter", "default", spec=alias)
    inner(cluster, "kourier-internal", "kourier-system", sink)
    result = trimtab("invoke", "train", "--target", "knative", "--event", "com.example.drift", "-d", "{}")
    assert (result.exit_code, result.output) == (0, "")
    assert Sink.got == [(host, "/", "com.example.drift", b"{}")]


def test_a_job_that_takes_no_events_says_what_starts_it(trimtab: Trimtab) -> None:  # noqa: F811
    text = f"spec: {{kind: job, handler: a, build: {{image: '{IMAGE}'}}}}"
    Path("job.yaml").write_text(f"apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {{name: train}}\n{text}\n")
    trimtab("deploy", "job.yaml", "--target", "knative")
    result = trimtab("invoke", "train", "--target", "knative", "--event", "com.example.drift")
    assert result.exit_code == 7
    assert "it has no address: `trimtab run` starts a job" in result.stderr


def test_a_function_of_the_cluster_alone_is_not_asked_of_the_ingress_for_the_world(
    target: KnativeTarget, cluster: FakeCluster, ingress: int
) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}
    cluster.add("v1", "services", "kourier", "kourier-system", status=status)
    elsewhere = KnativeTarget(replace(target.settings, ingress="10.9.9.9"))
    url = "http://hello.default.svc.cluster.local/"
    with pytest.raises(
        Conflict,
        match="no pod behind the Service hello in namespace default was found that is ready: `kubectl describe",
    ):
        elsewhere.reach(url)
    inner(cluster, "hello", "default", ingress)
    assert elsewhere.reach(url)[1] == {"host": "hello.default.svc.cluster.local"}
    assert elsewhere.reach(url, "10.7.7.7")[0] == "http://10.7.7.7/"
    cluster.forbidden.add(("get", "services"))
    with pytest.raises(Forbidden, match="get Service hello: no permission to get services"):
        elsewhere.reach(url)


def test_names_of_a_cluster_are_told_from_those_of_the_world() -> None:
    assert inside("http://hello.shop.svc.cluster.local/x") == Inside("hello", "shop")
    assert inside("http://hello.shop.svc:8080") == Inside("hello", "shop", 8080)
    assert inside("http://hello.shop.svc.intern.example/") == Inside("hello", "shop")
    assert inside("http://hello.shop.example.com/") is None
    assert inside("http://canary-hello.shop.svcs.example.com/") is None


def test_a_load_balancer_is_taken_first(target: KnativeTarget, cluster: FakeCluster, ingress: int) -> None:
    kourier(cluster, ingress)
    status = {"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}
    cluster.add("v1", "services", "kourier", "kourier-system", status=status)
    assert target.reach(URL)[0] == "http://10.1.2.3/"


def test_whoever_may_not_forward_is_told(target: KnativeTarget, cluster: FakeCluster, ingress: int) -> None:
    kourier(cluster, ingress)
    cluster.forbidden.add(("create", "pods/portforward"))
    expected = "port-forward to pod gateway-1 in namespace kourier-system: no permission to get and create pods/portforward there"
    with pytest.raises(Forbidden, match=expected):
        target.reach(URL)


def test_a_cluster_without_an_ingress_that_is_known_says_what_to_give(target: KnativeTarget) -> None:
    with pytest.raises(
        Conflict, match="neither a load balancer nor a pod of an ingress was found: give --ingress ADDR"
    ):
        target.reach(URL)


def test_an_api_that_is_away_is_told(target: KnativeTarget, cluster: FakeCluster, ingress: int) -> None:
    from trimtab.deploy.knative.client import tunnel

    target.api.http.host = "http://127.0.0.1:9"
    with pytest.raises(TargetUnreachable, match="port-forward to pod gateway-1 in namespace kourier-system: "):
        tunnel.connect(target.api, "kourier-system", "gateway-1", 8080)


def test_a_port_on_which_nothing_listens_ends_the_connection(
    target: KnativeTarget, cluster: FakeCluster, ingress: int
) -> None:
    kourier(cluster, ingress)
    cluster.listening.clear()
    with pytest.raises(http.client.RemoteDisconnected):
        asked(target)


def test_it_ends_when_nobody_calls_and_begins_anew(target: KnativeTarget, cluster: FakeCluster, ingress: int) -> None:
    kourier(cluster, ingress)
    asked(target)
    (first,) = forward._forwards.values()
    first.close()
    assert not first.is_open
    assert asked(target)["path"] == "/x"
    (second,) = forward._forwards.values()
    assert second is not first


def test_a_function_is_deployed_and_called_by_its_own_domain_where_it_resolves(target: KnativeTarget) -> None:
    target.deploy(function())
    assert target.reach("http://localhost/") == ("http://localhost/", {})
