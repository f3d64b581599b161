"""A fake cluster over HTTP, and a target that a kubeconfig points to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.deploy.knative.fake.knative import Knative
from tests.deploy.knative.fake.server import FakeCluster, Running

from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.named import ClusterSettings

IMAGE = "registry.example.com/shop/hello@sha256:" + "ab" * 32


@pytest.fixture
def knative() -> Knative:
    return Knative()


@pytest.fixture
def cluster(knative: Knative) -> Iterator[FakeCluster]:
    cluster = FakeCluster()
    cluster.controllers.append(knative)
    cluster.add("v1", "namespaces", "default", "")
    cluster.add("v1", "configmaps", "config-features", "knative-serving", data={})
    labels = {"app.kubernetes.io/version": "1.19.0"}
    cluster.add("apps/v1", "deployments", "controller", "knative-serving", metadata={"labels": labels})
    cluster.add(
        "eventing.knative.dev/v1",
        "brokers",
        "default",
        status={"address": {"url": "http://broker.example.com/default"}},
    )
    with Running(cluster) as running:
        yield running


@pytest.fixture
def kubeconfig(cluster: FakeCluster, tmp_path: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [
            {"name": "fake", "context": {"cluster": "fake", "user": "ada", "namespace": "default"}},
            {"name": "other", "context": {"cluster": "fake", "user": "ada", "namespace": "shop"}},
        ],
        "clusters": [{"name": "fake", "cluster": {"server": cluster.url}}],
        "users": [{"name": "ada", "user": {"token": "s3cret"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def target(kubeconfig: Path) -> KnativeTarget:
    return KnativeTarget(ClusterSettings(kubeconfig=str(kubeconfig)), sleep=lambda _: None)
