"""The whole path on a real cluster: whatever KUBECONFIG points to, in a namespace of its own that is deleted at the end.

It needs Knative Serving, Eventing and an ingress there, a registry that the tests can push to and the cluster can pull
from under the same name (TRIMTAB_TEST_REGISTRY), and a base image with Python (TRIMTAB_TEST_BASE_IMAGE). Without these
nothing is collected. TRIMTAB_TEST_INGRESS is the ingress' address, where it is not found by itself.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import pytest

from trimtab.deploy.abc import Target
from trimtab.deploy.knative.target import KnativeTarget, Options
from trimtab.deploy.named import ClusterSettings
from trimtab.project.call import Reply, request, send
from trimtab.spec import Function, check, from_dict

NEEDED = ("KUBECONFIG", "TRIMTAB_TEST_REGISTRY", "TRIMTAB_TEST_BASE_IMAGE")
MISSING = [name for name in NEEDED if not os.environ.get(name)]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str:
    return f"tests/cluster: not run, {', '.join(MISSING)} not set" if MISSING else "tests/cluster: run on a cluster"


def until(condition: Callable[[], Any], within: float, what: str) -> Any:
    """Give the condition's first true answer."""
    deadline = time.monotonic() + within
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    """A namespace with a broker, deleted with all that is in it whatever happens."""
    from kubernetes import client, config

    config.load_kube_config(os.environ["KUBECONFIG"])
    core, custom = client.CoreV1Api(), client.CustomObjectsApi()
    name = f"trimtab-test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        broker = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default"}}
        where = ("eventing.knative.dev", "v1", name, "brokers")
        custom.create_namespaced_custom_object(*where, broker)
        until(lambda: _address(custom.get_namespaced_custom_object(*where, "default")), 60, "the broker has an address")
        yield name
    finally:
        core.delete_namespace(name)


def _address(broker: dict[str, Any]) -> Any:
    return ((broker.get("status") or {}).get("address") or {}).get("url")


Where = TypeVar("Where", bound=Target)


class Place(Generic[Where]):
    """A target, and how its functions are called from here. `build` is what each of them has in `spec.build`."""

    def __init__(self, target: Where, build: dict[str, Any]) -> None:
        self.target, self.build = target, build

    def function(self, name: str, code: str, **spec: Any) -> Function:
        """Make a function of one module's text; its handler is `handler`."""
        build = {**self.build, **spec.pop("build", {})}
        document = {"handler": "main:handler", "source": {"code": code}, "build": build, **spec}
        head = {"apiVersion": "trimtab.dev/v1", "kind": "Function", "metadata": {"name": name}}
        return check(from_dict({**head, "spec": document}))

    def deploy(self, name: str, code: str, **spec: Any) -> str:
        """Deploy; give the URL, and print how long each stage took."""
        return self.target.deploy(self.function(name, code, **spec), progress=print).url

    def call(self, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Call through the ingress, where there is one."""
        address, more = self.target.reach(url)
        return send(address, request("/", body, None, {**more, **(headers or {})}), 60.0)

    def lines(self, name: str) -> str:
        """Give all that a function has said."""
        return "\n".join(self.target.logs(name))


Cluster = Place[KnativeTarget]


@pytest.fixture(scope="session")
def cluster(namespace: str) -> Cluster:
    settings = ClusterSettings(
        name="cluster",
        kubeconfig=os.environ["KUBECONFIG"],
        namespace=namespace,
        registry=os.environ["TRIMTAB_TEST_REGISTRY"],
        ingress=os.environ.get("TRIMTAB_TEST_INGRESS", ""),
    )
    target = KnativeTarget(settings, Options(timeout=180.0, say=print))
    return Place(target, {"baseImage": os.environ["TRIMTAB_TEST_BASE_IMAGE"]})
