"""`--load` into real engines: what they hold afterwards is the image, and it runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.image import engines
from tests.builder.image.conftest import Make
from tests.builder.image.servers import free_port
from tests.builder.image.test_podman import ask

from trimtab.builder.abc import Built
from trimtab.errors import BuildError

pytestmark = pytest.mark.slow


@pytest.fixture
def docker(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with engines.docker(tmp_path_factory.mktemp("d")) as host:  # a socket's path is short
        monkeypatch.setenv("DOCKER_HOST", host)
        yield host


@pytest.fixture
def containerd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with engines.containerd(tmp_path_factory.mktemp("c")) as socket:
        monkeypatch.setenv("CONTAINERD_ADDRESS", socket)
        yield socket


def said(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{command}: {run.stderr}"
    return run.stdout.strip()


def config_of(built: Built, folder: Path) -> str:
    manifest = json.loads((folder / "blobs" / built.platforms[0].digest.replace(":", "/")).read_text())
    digest: str = manifest["config"]["digest"]
    return digest


@pytest.mark.usefixtures("docker")
def test_docker_runs_what_it_was_given(make: Make, real: str, tmp_path: Path) -> None:
    built = make("hello:1", base=real, load="docker")
    same = make("hello:1", base=real, layout=tmp_path / "layout")
    assert said("docker", "image", "inspect", "--format", "{{.Id}}", "hello:1") == config_of(same, tmp_path / "layout")
    assert same.digest == built.digest
    port = free_port()
    limits = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"]
    container = said("docker", "run", "--detach", *limits, "--env", f"PORT={port}", "hello:1")
    try:
        wait(port, container)
        status, body = ask(port, body={})
    finally:
        said("docker", "rm", "--force", container)
    assert (status, json.loads(body)) == (200, {"hello": "world"})


@pytest.mark.usefixtures("containerd")
def test_containerd_holds_the_image_where_kubernetes_looks_for_it(make: Make, real: str) -> None:
    built = make("hello:1", base=real, load="containerd")
    images = said("ctr", "--namespace", "k8s.io", "images", "ls").splitlines()
    (line,) = [line for line in images if line.startswith("docker.io/library/hello:1 ")]
    assert built.platforms[0].digest in line
    checked = said("ctr", "--namespace", "k8s.io", "images", "check")
    assert "complete" in checked
    assert "incomplete" not in checked


def test_an_engine_without_its_daemon_is_quoted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(BuildError, match=r"^docker did not take the image: .*nonexistent/docker.sock"):
        make("hello:1", load="docker")


def wait(port: int, container: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if ask(port, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            running = said("docker", "inspect", "--format", "{{.State.Running}}", container)
            assert running == "true", said("docker", "logs", container)
        time.sleep(0.05)
    raise AssertionError(said("docker", "logs", container))
