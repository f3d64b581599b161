"""A deployment that is cut off at any request leaves what the same command, run again, completes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.test_target import function

from trimtab.deploy.knative.client.http import Http
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.errors import NotFound

FIRST = "triggers: [{kind: event, name: a}, {kind: cron, name: c, schedule: '@daily'}], sink: {broker: default}"
SECOND = "triggers: [{kind: event, name: b}], scale: {max: 3}"


class Cut(BaseException):
    """Ctrl-C, or worse."""


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """Cut the client off when it is about to write for the so-manyeth time."""
    left: dict[str, int | None] = {"writes": None}
    original = Http.json

    def asked(self: Http, method: str, path: str, body: Any = None, **more: Any) -> Any:
        dry = (more.get("query") or {}).get("dryRun")
        if left["writes"] is not None and method in ("PATCH", "DELETE") and not dry:
            if left["writes"] == 0:
                raise Cut
            left["writes"] -= 1
        return original(self, method, path, body, **more)

    monkeypatch.setattr(Http, "json", asked)
    return left


def state(cluster: FakeCluster) -> dict[str, list[str]]:
    kinds = {(key.api, key.plural) for key in cluster.store.objects if key.namespace == "default"}
    return {plural: cluster.names(api, plural) for api, plural in sorted(kinds) if plural not in ("pods", "revisions")}


@pytest.mark.parametrize("writes", range(8))
def test_a_deployment_is_completed_by_the_next(
    target: KnativeTarget, cluster: FakeCluster, cutting: dict[str, int | None], writes: int
) -> None:
    target.deploy(function(FIRST))
    cutting["writes"] = writes
    try:
        target.deploy(function(SECOND))
    except Cut:
        cutting["writes"] = None
    cutting["writes"] = None
    assert target.deploy(function(SECOND)).revision == "hello-00002"
    assert state(cluster) == {
        "brokers": ["default"],
        "configmaps": ["hello-trimtab"],
        "services": ["hello"],
        "triggers": ["hello-b"],
    }


def delete_in_two(target: KnativeTarget, cutting: dict[str, int | None], writes: int) -> None:
    """Delete `hello`, cut off after so many writes, and once more."""
    cutting["writes"] = writes
    try:
        target.delete("hello")
    except Cut:
        cutting["writes"] = None
        target.delete("hello")
    cutting["writes"] = None


@pytest.mark.parametrize("writes", range(4))
def test_a_removal_of_a_job_takes_its_runs_whenever_it_is_cut_off(
    target: KnativeTarget, cluster: FakeCluster, cutting: dict[str, int | None], writes: int
) -> None:
    job = function("kind: job, triggers: [{kind: cron, name: c, schedule: '@daily'}]")
    target.deploy(job)
    target.run(job, {}, wait=False)
    assert cluster.names("batch/v1", "jobs")
    delete_in_two(target, cutting, writes)
    assert cluster.names("batch/v1", "jobs") == cluster.names("batch/v1", "cronjobs") == []
    assert cluster.names("v1", "configmaps") == []


@pytest.mark.parametrize("writes", range(5))
def test_a_removal_is_completed_by_the_next(
    target: KnativeTarget, cluster: FakeCluster, cutting: dict[str, int | None], writes: int
) -> None:
    target.deploy(function(FIRST))
    delete_in_two(target, cutting, writes)
    assert state(cluster) == {"brokers": ["default"]}
    with pytest.raises(NotFound):
        target.get("hello")
