"""The Dockerfile at the root, built by buildah on Debian with wheels from a folder, and run by podman."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from tests.builder.image import debian
from tests.builder.image.conftest import HELLO, Make
from tests.builder.image.servers import Registry, needs
from tests.builder.image.test_podman import Podman, ask, podman, pulled

__all__ = ["podman"]

WHERE = "import trimtab\n\n\ndef handler(context, event):\n    return trimtab.__file__\n"
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build installs, so that pip needs no index inside of the container."""
    folder = tmp_path_factory.mktemp("wheels")
    needed = [line for line in requires("trimtab") or [] if "extra ==" not in line]
    target = ["--dest", str(folder), "--only-binary=:all:", "--python-version", debian.PYTHON, "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "uv", "tool", "run", "pip", "download", *target, "hatchling>=1.27", *needed], check=True
    )
    return folder


def test_the_base_image_serves_a_mounted_function_and_carries_built_ones(
    real: str, server: Registry, make: Make, podman: Podman, wheelhouse: Path, tmp_path: Path
) -> None:
    needs("buildah")
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    podman("pull", "--quiet", "--tls-verify=false", real)
    volumes = [f"--volume={wheelhouse}:/wheels:ro", f"--volume={conf}:/etc/pip.conf:ro"]
    options = ["--isolation=chroot", "--format=docker", "--quiet", "--pull-never", f"--build-arg=BASE_IMAGE={real}"]
    command = ["buildah", "bud", *options, *volumes, "--tag", "localhost/trimtab-base", str(ROOT)]
    run = subprocess.run(command, env=podman.environ(), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    function = tmp_path / "hello.py"
    function.write_text(HELLO)
    function.chmod(0o644)
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    mount = f"--volume={function}:/function/hello.py:ro"
    with podman.running("localhost/trimtab-base", mount, "--env=TRIMTAB_HANDLER=hello") as port:
        assert ask(port) == (200, b'{"hello":"world"}')
        container = podman("ps", "--quiet", "--filter=ancestor=localhost/trimtab-base")
        assert podman("exec", container, "id", "-u") == "65532"
        podman("healthcheck", "run", container)
    base = f"{server.host}/trimtab-base:1"
    podman("push", "--quiet", "--tls-verify=false", "localhost/trimtab-base", base)
    built = make(f"{server.host}/on/base:1", code=WHERE, base=base)
    twice = make(f"{server.host}/on/built:1", code=WHERE, base=built.reference)
    for image in (built, twice):
        with podman.running(pulled(podman, image)) as port:
            assert ask(port) == (200, b"/opt/trimtab/runtime/trimtab/__init__.py")
