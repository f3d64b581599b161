"""From source to a revision: the image is built, pushed to a real registry, and deployed by digest."""

from __future__ import annotations

import json
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.builder.image.conftest import HELLO, home, server, tiny, warm
from tests.builder.image.servers import Registry
from tests.builder.source.test_git import Repository
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.test_commands import Ingress

import trimtab
from trimtab.deploy.abc import Stage
from trimtab.deploy.knative.target import KnativeTarget
from trimtab.deploy.named import ClusterSettings
from trimtab.errors import PreflightFailed
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source

__all__ = ["home", "server", "tiny", "warm"]
SERVING = "serving.knative.dev/v1"


@pytest.fixture
def place(kubeconfig: Path, server: Registry) -> KnativeTarget:
    settings = ClusterSettings(kubeconfig=str(kubeconfig), registry=f"{server.host}/team")
    return KnativeTarget(settings, sleep=lambda _: None)


def source(tiny: str, code: str = HELLO, name: str = "built") -> Function:
    spec = FunctionSpec(handler="handler", source=Source(code=code), build=Build(base_image=tiny))
    return Function(metadata=Metadata(name=name), spec=spec)


@pytest.mark.usefixtures("home")
def test_a_source_becomes_an_image_by_digest(
    place: KnativeTarget, cluster: FakeCluster, server: Registry, tiny: str
) -> None:
    stages: list[Stage] = []
    done = place.deploy(source(tiny), progress=stages.append)
    assert done.revision == "built-00001"
    names = [stage.name for stage in stages]
    assert names[-6:] == ["send", "preflight", "apply", "revision", "pods", "route"]
    image = cluster.object(SERVING, "services", "built")["spec"]["template"]["spec"]["containers"][0]["image"]
    repository, _, digest = image.partition("@")
    assert repository.startswith(f"{server.host}/team/built")
    manifest = server.manifest("team/built", digest)
    assert "layers" in manifest or "manifests" in manifest
    assert not place.deploy(source(tiny)).changed
    assert place.deploy(source(tiny, HELLO + "\n")).revision == "built-00002"


@pytest.mark.usefixtures("home")
def test_a_branch_is_written_down_as_the_commit_that_it_was(
    place: KnativeTarget, cluster: FakeCluster, tiny: str, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "répo")
    commit = repository.commit({"fn/main.py": HELLO}, "a handler")
    spec = FunctionSpec(
        handler="main:handler", source=Source(git=f"{repository.url}@main#fn"), build=Build(base_image=tiny)
    )
    function = Function(metadata=Metadata(name="branched"), spec=spec)
    place.deploy(function)
    assert noted(cluster) == commit
    assert place.diff(function) == []
    newer = repository.commit({"fn/main.py": HELLO + "\n"}, "an edit")
    assert place.deploy(function).revision == "branched-00002"
    assert noted(cluster) == newer


def noted(cluster: FakeCluster) -> str:
    """Give the commit on the function's Service, which is also on its template."""
    service = cluster.object(SERVING, "services", "branched")
    found = {
        each["metadata"]["annotations"]["trimtab.dev/git-commit"] for each in (service, service["spec"]["template"])
    }
    assert len(found) == 1
    return str(found.pop())


@pytest.mark.usefixtures("home")
def test_what_the_builder_has_to_say_is_said_by_deploy(place: KnativeTarget, tiny: str) -> None:
    done = place.deploy(source(tiny, "import nowhere_to_be_found\n" + HELLO, "wanting"))
    assert [each for each in done.warnings if "nowhere_to_be_found" in each]


@pytest.mark.usefixtures("home")
def test_nothing_is_pushed_when_preflight_fails(
    place: KnativeTarget, cluster: FakeCluster, server: Registry, tiny: str
) -> None:
    cluster.groups.remove(SERVING)
    with pytest.raises(PreflightFailed, match="nothing was changed"):
        place.deploy(source(tiny, name="unbuilt"))
    assert server.tags("team/unbuilt") == []
    assert "team/unbuilt" not in json.loads(server.get("/v2/_catalog")[1])["repositories"]


@pytest.mark.usefixtures("home")
def test_the_python_front_deploys_to_a_cluster_and_calls_through_its_ingress(
    place: KnativeTarget, kubeconfig: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingress = ThreadingHTTPServer(("127.0.0.1", 0), Ingress)
    threading.Thread(target=ingress.serve_forever, daemon=True).start()
    (tmp_path / "front.py").write_text(HELLO)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("TRIMTAB_REGISTRY", place.settings.registry)
    monkeypatch.setenv("TRIMTAB_INGRESS", f"127.0.0.1:{ingress.server_port}")
    try:
        fn = trimtab.code_to_function("front", filename=str(tmp_path / "front.py"), kind="http")
        fn.spec.build.base_image = tiny
        assert fn.deploy(target="knative", watch=False) == "http://front.default.example.com/"
        assert fn.invoke("/x") == {"host": ["front.default.example.com"], "path": "/x"}
        fn.delete()
    finally:
        ingress.shutdown()
        ingress.server_close()
