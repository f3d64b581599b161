"""What the manifests start works in the images that are built: run by podman as a cluster would, read-only, as nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.builder.image.conftest import Make, home, make, real, server, tiny, warm
from tests.builder.image.test_podman import Podman, podman

from trimtab.deploy.knative.image import equipped
from trimtab.deploy.knative.manifests import Rendering, render
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.job import job
from trimtab.deploy.named import ClusterSettings
from trimtab.spec import Function, loads

__all__ = ["home", "make", "podman", "real", "server", "tiny", "warm"]
pytestmark = pytest.mark.slow

TRAIN = "def train(context, depth: int = 1):\n    context.log_result('depth', depth)\n"


def function(text: str) -> Function:
    head = "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: train}\n"
    return loads(f"{head}spec: {{handler: 'main:train', source: {{code: x}}, {text}}}")


def options(container: dict[str, Any], **more: str) -> list[str]:
    """Give podman's options for a container's environment and rights."""
    environ = {each["name"]: each.get("value", "") for each in container["env"]} | more
    limits = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=host"]
    return [*limits, *(f"--env={name}={value}" for name, value in environ.items())]


def container_of(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_jobs_container_runs_the_job_once(podman: Podman, make: Make, real: str, tmp_path: Path) -> None:
    built = make(f"{real.rpartition('/debian')[0]}/team/train:1", code=TRAIN, base=real, handler="main:train")
    rendering = Rendering(function=function("kind: job"), image=built.reference, namespace="default")
    container = container_of(job(rendering, "run1", {"depth": 7}))
    message = tmp_path / "message"
    message.touch(0o666)
    message.chmod(0o666)
    given = [*options(container), f"--volume={message}:/dev/termination-log"]
    lines = podman("run", "--rm", "--tls-verify=false", *given, built.reference).splitlines()
    report = json.loads(lines[-1])["trimtab.dev/result"]
    assert report["results"] == {"depth": 7}
    assert json.loads(message.read_text())["trimtab.dev/result"] == report


def test_a_streams_container_consumes(podman: Podman, make: Make, real: str) -> None:
    """The image has the stream's client, the command is there, and it gets as far as a broker that is not there."""
    wanted = function("triggers: [{kind: stream, name: s, url: 'redis://127.0.0.1:1/0?stream=orders'}]")
    requirements = equipped(wanted, ClusterSettings()).spec.build.requirements
    assert requirements == ["trimtab[redis]"]
    name = f"{real.rpartition('/debian')[0]}/team/stream:1"
    built = make(name, code=TRAIN, base=real, handler="main:train", requirements=requirements)
    objects = render(Rendering(function=wanted, image=built.reference, namespace="default")).objects
    container = container_of(next(item for item in objects if item["kind"] == "ContainerSource"))
    entry = f"--entrypoint={json.dumps(container['command'])}"
    given = [*options(container, K_SINK="http://127.0.0.1:1"), entry, "--detach"]
    made = podman("run", "--tls-verify=false", *given, built.reference, *container["args"])
    try:
        deadline = 200
        while "127.0.0.1:1" not in (said := podman("logs", made)) and deadline:
            deadline -= 1
            assert podman("inspect", "--format", "{{.State.Running}}", made) == "true", said
        assert deadline, said
    finally:
        podman("rm", "--force", "--time", "1", made)
