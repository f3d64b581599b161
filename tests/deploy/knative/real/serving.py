"""What stands in for Knative where there is a real API server: its kinds, and a controller that makes revisions of Services."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from tests.deploy.knative.fake.store import Refusal
from tests.deploy.knative.real.server import ApiServer, Object

SERVING = "/apis/serving.knative.dev/v1"
KINDS = {
    "serving.knative.dev/v1": {"Service": "services", "Revision": "revisions"},
    "eventing.knative.dev/v1": {"Broker": "brokers", "Trigger": "triggers"},
    "sources.knative.dev/v1": {
        "PingSource": "pingsources",
        "SinkBinding": "sinkbindings",
        "ContainerSource": "containersources",
    },
    "sinks.knative.dev/v1alpha1": {"JobSink": "jobsinks"},
    "keda.sh/v1alpha1": {"ScaledObject": "scaledobjects", "TriggerAuthentication": "triggerauthentications"},
}
CALLERS = (
    ("eventing.knative.dev/v1", "triggers"),
    ("sources.knative.dev/v1", "pingsources"),
    ("sinks.knative.dev/v1alpha1", "jobsinks"),
)
FEATURES = ("nodeselector", "affinity", "tolerations", "priorityclassname")
VOLUMES = ("persistent-volume-claim", "persistent-volume-write")


def install(server: ApiServer) -> None:
    """Make the kinds, and what tells of Knative's version and features."""
    for api, kinds in KINDS.items():
        for kind, plural in kinds.items():
            define(server, api, kind, plural, {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    wait(server)
    namespace = "knative-serving"
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    data = {f"kubernetes.podspec-{name}": "enabled" for name in (*FEATURES, *VOLUMES)}
    server.ask(
        "POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "config-features"}, "data": data}
    )
    container = {"name": "controller", "image": "controller"}
    template = {"metadata": {"labels": {"app": "controller"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": "controller"}}, "template": template}
    metadata = {"name": "controller", "labels": {"app.kubernetes.io/version": "1.19.0"}}
    server.ask("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", {"metadata": metadata, "spec": spec})


def wait(server: ApiServer) -> None:
    """Block until the kinds are served: that comes a moment after they are made, and after the server says that it is ready."""
    deadline = time.monotonic() + 30
    while not all(serves(server, api, plural) for api, kinds in KINDS.items() for plural in kinds.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def serves(server: ApiServer, api: str, plural: str) -> bool:
    groups = server.ask("GET", "/apis")["groups"]
    if api not in {each["groupVersion"] for group in groups for each in group["versions"]}:
        return False
    try:
        return bool(server.ask("GET", f"/apis/{api}/{plural}"))
    except Refusal:
        return False


def define(server: ApiServer, api: str, kind: str, plural: str, schema: Object) -> None:
    """Make a kind."""
    group, _, version = api.partition("/")
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"plural": plural, "kind": kind}
    definition: Object = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
    server.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)


class Serving:
    """Makes a ready revision of each new template in one namespace, and says so in the Service's status."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server, self._namespace, self._stop = server, namespace, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            with contextlib.suppress(Refusal, OSError):  # somebody wrote in between, or the server is away
                for service in self._server.ask("GET", self._path("services"))["items"]:
                    if (service.get("status") or {}).get("observedGeneration") != service["metadata"]["generation"]:
                        self._reconcile(service)
                for api, plural in CALLERS:
                    self._call(f"/apis/{api}/namespaces/{self._namespace}/{plural}")

    def _call(self, path: str) -> None:
        """Says of what calls functions that it is ready."""
        for item in self._server.ask("GET", path)["items"]:
            metadata = item["metadata"]
            if (item.get("status") or {}).get("observedGeneration") != metadata["generation"]:
                ready = [{"type": "Ready", "status": "True"}]
                item["status"] = {"observedGeneration": metadata["generation"], "conditions": ready}
                self._server.ask("PUT", f"{path}/{metadata['name']}/status", item)

    def _reconcile(self, service: Object) -> None:
        """Looks at what there is, so that it ends also when an earlier call was refused after it had made the revision."""
        metadata, template = service["metadata"], service["spec"]["template"]
        revision = self._revision(metadata["name"], template)
        latest = revision["metadata"]["name"]
        revision["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        self._server.ask("PUT", self._path("revisions", latest, "status"), revision)
        shares = service["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
        traffic = [{**share, "revisionName": share.get("revisionName") or latest} for share in shares]
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "RoutesReady", "ConfigurationsReady")]
        service["status"] = {
            "observedGeneration": metadata["generation"],
            "latestCreatedRevisionName": latest,
            "latestReadyRevisionName": latest,
            "url": f"http://{metadata['name']}.{self._namespace}.example.com",
            "traffic": traffic,
            "conditions": ready,
        }
        self._server.ask("PUT", self._path("services", metadata["name"], "status"), service)

    def _revision(self, service: str, template: dict[str, Any]) -> Object:
        """The newest revision, when it is of this template; else a new one."""
        label = {"serving.knative.dev/service": service}
        query = "?labelSelector=" + ",".join("=".join(pair) for pair in label.items())
        made: list[Object] = self._server.ask("GET", self._path("revisions") + query)["items"]
        newest = max(made, key=lambda each: str(each["metadata"]["name"]), default=None)
        if newest is not None and newest["metadata"]["annotations"]["test/template"] == repr(template):
            return newest
        number = int(newest["metadata"]["name"].rpartition("-")[2]) + 1 if newest is not None else 1
        metadata = {
            "name": f"{service}-{number:05d}",
            "labels": {**template["metadata"]["labels"], **label},
            "annotations": {**template["metadata"]["annotations"], "test/template": repr(template)},
        }
        kind = {"apiVersion": "serving.knative.dev/v1", "kind": "Revision"}
        return self._server.ask(
            "POST", self._path("revisions"), {**kind, "metadata": metadata, "spec": template["spec"]}
        )

    def _path(self, plural: str, *more: str) -> str:
        return "/".join((f"{SERVING}/namespaces/{self._namespace}/{plural}", *more))
