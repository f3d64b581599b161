"""What Knative's and Kubernetes' controllers do with what is applied, so far as a deployer sees it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key, Object

READY = {"type": "Ready", "status": "True"}
Outcome = Callable[[FakeCluster, Object, str], None]
Status = Callable[[FakeCluster, str], Object]


class Knative:
    """Makes a revision and pods of each new template. `outcome` decides what becomes of it; healthy unless told."""

    def __init__(self) -> None:
        self.outcome: Outcome = healthy
        self.consuming: Status = consuming
        """Gives the status of a pod that consumes a stream."""
        self.calling: Object = READY
        """The condition of what calls functions."""
        self.lag = 0.0
        """Seconds until a new template becomes a revision; until then the one before is the latest that was created."""

    def __call__(self, cluster: FakeCluster, change: str, item: Object) -> None:
        if item.get("kind") in ("Deployment", "ContainerSource"):
            self._consumers(cluster, change, item)
        if item.get("kind") in ("Trigger", "PingSource", "JobSink") and change != "DELETED":
            self._caller(cluster, item)
        if item.get("kind") != "Service" or not str(item.get("apiVersion", "")).startswith("serving"):
            return
        name = item["metadata"]["name"]
        if change == "DELETED":
            for api, plural in (("serving.knative.dev/v1", "revisions"), ("v1", "pods")):
                for each in cluster.store.all(api, plural, ""):
                    if (each["metadata"].get("labels") or {}).get("serving.knative.dev/service") == name:
                        cluster.store.delete(Key(api, plural, each["metadata"]["namespace"], each["metadata"]["name"]))
            return
        generation = item["metadata"]["generation"]
        known = revisions(cluster, name, item["metadata"]["namespace"])
        latest = known[-1] if known else None
        if latest is None or latest["metadata"]["annotations"].get("test/template") != repr(item["spec"]["template"]):
            if self.lag:
                update(cluster, "services", name, item["metadata"]["namespace"], observedGeneration=generation)
                threading.Timer(self.lag, self._revision, (cluster, item, generation, len(known) + 1)).start()
                return
            self._revision(cluster, item, generation, len(known) + 1)
        else:
            route(cluster, name, item["metadata"]["namespace"])

    def _caller(self, cluster: FakeCluster, item: Object) -> None:
        """Say of what calls a function whether it is ready."""
        metadata = item["metadata"]
        if (item.get("status") or {}).get("observedGeneration") == metadata["generation"]:
            return
        key = Key(item["apiVersion"], f"{item['kind'].lower()}s", metadata["namespace"], metadata["name"])
        with cluster.store.lock:
            found = cluster.store.get(key)
            conditions = {"conditions": [self.calling], "observedGeneration": metadata["generation"]}
            found["status"] = {**(found.get("status") or {}), **conditions}
            cluster.store.put(key, found)

    def _consumers(self, cluster: FakeCluster, change: str, item: Object) -> None:
        """Replace the pods of what consumes a stream. A ContainerSource's stay when they have all that is asked for."""
        metadata, template = item["metadata"], item["spec"]["template"]
        before = [
            each
            for each in cluster.store.all("v1", "pods", metadata["namespace"])
            if each["metadata"]["name"].startswith(f"{metadata['name']}-pod-")
        ]
        has_it = before and all(_derives(template["spec"], each["spec"]) for each in before)
        if change != "DELETED" and item["kind"] == "ContainerSource" and has_it:
            return
        for each in before:
            cluster.store.delete(Key("v1", "pods", metadata["namespace"], each["metadata"]["name"]))
        for number in range(0 if change == "DELETED" else item["spec"].get("replicas", 1)):
            name = f"{metadata['name']}-pod-{metadata['generation']}-{number}"
            spec = copy.deepcopy(template["spec"])
            spec["containers"][0]["env"].append({"name": "K_SINK", "value": "http://the-sink"})
            kind: Object = {"apiVersion": "v1", "kind": "Pod", "spec": spec, "status": self.consuming(cluster, name)}
            labels = dict(template["metadata"]["labels"])
            cluster.add("v1", "pods", name, metadata["namespace"], metadata={"labels": labels}, **kind)

    def _revision(self, cluster: FakeCluster, item: Object, generation: int, number: int) -> None:
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        revision = f"{name}-{number:05d}"
        labels = {
            "serving.knative.dev/service": name,
            "serving.knative.dev/configurationGeneration": str(generation),
        }
        template = copy.deepcopy(item["spec"]["template"])
        metadata = {"labels": {**template["metadata"]["labels"], **labels}}
        metadata["annotations"] = {
            **template["metadata"]["annotations"],
            "test/template": repr(item["spec"]["template"]),
        }
        kind = {"apiVersion": "serving.knative.dev/v1", "kind": "Revision"}
        cluster.add(
            "serving.knative.dev/v1", "revisions", revision, namespace, **kind, metadata=metadata, spec=template["spec"]
        )
        update(cluster, "services", name, namespace, latestCreatedRevisionName=revision, observedGeneration=generation)
        self.outcome(cluster, item, revision)


def _derives(wanted: Any, found: Any) -> bool:
    """Compare as the ContainerSource's controller does: what is not wanted may be there, also at the end of a list."""
    if not wanted:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_derives(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) <= len(found or []) and all(map(_derives, wanted, found))
    return bool(wanted == found)


def revisions(cluster: FakeCluster, name: str, namespace: str) -> list[Object]:
    found = cluster.store.all("serving.knative.dev/v1", "revisions", namespace)
    return sorted(
        (each for each in found if each["metadata"]["labels"]["serving.knative.dev/service"] == name),
        key=lambda each: str(each["metadata"]["name"]),
    )


def update(cluster: FakeCluster, plural: str, name: str, namespace: str = "default", **status: Any) -> None:
    """Write a part of an object's status."""
    api = {"services": "serving.knative.dev/v1", "revisions": "serving.knative.dev/v1", "jobs": "batch/v1"}.get(
        plural, "v1"
    )
    with cluster.store.lock:
        key = Key(api, plural, namespace, name)
        item = cluster.store.get(key)
        item["status"] = {**(item.get("status") or {}), **status}
        cluster.store.put(key, item)


def pod(cluster: FakeCluster, revision: str, number: int = 1, namespace: str = "default", **status: Any) -> str:
    """Make a pod of a revision."""
    found = cluster.object("serving.knative.dev/v1", "revisions", revision, namespace)
    name = f"{revision}-deployment-{number}"
    labels = {**found["metadata"]["labels"], "serving.knative.dev/revision": revision}
    cluster.add("v1", "pods", name, namespace, apiVersion="v1", kind="Pod", metadata={"labels": labels}, status=status)
    return name


def consuming(cluster: FakeCluster, name: str) -> Object:
    running = [{"name": "consume", "ready": True, "restartCount": 0, "state": {"running": {}}}]
    return {"conditions": [READY], "containerStatuses": running, "phase": "Running"}


def healthy(cluster: FakeCluster, service: Object, revision: str) -> None:
    namespace = service["metadata"]["namespace"]
    running = [{"name": "user-container", "ready": True, "restartCount": 0, "state": {"running": {}}}]
    name = pod(cluster, revision, 1, namespace, conditions=[READY], containerStatuses=running, phase="Running")
    cluster.logs[name] = [("2026-01-01T00:00:00.000000001", f"hello from {revision}")]
    update(
        cluster, "revisions", revision, namespace, conditions=[READY, {"type": "ContainerHealthy", "status": "True"}]
    )
    update(cluster, "services", service["metadata"]["name"], namespace, latestReadyRevisionName=revision)
    route(cluster, service["metadata"]["name"], namespace)


def route(cluster: FakeCluster, name: str, namespace: str = "default") -> None:
    """Follow `spec.traffic`, as the ingress does."""
    service = cluster.object("serving.knative.dev/v1", "services", name, namespace)
    latest = service["status"].get("latestReadyRevisionName")
    traffic = [
        {
            "revisionName": each.get("revisionName") or latest,
            "latestRevision": bool(each.get("latestRevision")),
            "percent": each.get("percent", 0),
            **(
                {"tag": each["tag"], "url": f"http://{each['tag']}-{name}.{namespace}.example.com"}
                if each.get("tag")
                else {}
            ),
        }
        for each in service["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
    ]
    update(
        cluster,
        "services",
        name,
        namespace,
        conditions=[
            READY,
            {"type": "ConfigurationsReady", "status": "True"},
            {"type": "RoutesReady", "status": "True"},
        ],
        observedGeneration=service["metadata"]["generation"],
        traffic=traffic,
        url=f"http://{name}.{namespace}.example.com",
    )
