"""Registries, base images, and builds in a home of their own."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builder.image import debian
from tests.builder.image.servers import Registry, needs, registry

from trimtab.builder.abc import Built, Step
from trimtab.builder.build import build
from trimtab.builder.image.base import running
from trimtab.builder.request import BuildRequest
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source

PYTHON = running()
HELLO = 'def handler(context, event):\n    return {"hello": "world"}\n'


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry without logins, for all tests: each uses repositories of its own."""
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose cache has the runtime layer after the first test."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(warm: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The shared home, and no login of whoever runs the tests."""
    monkeypatch.setenv("TRIMTAB_HOME", str(warm))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in (
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "SOURCE_DATE_EPOCH",
        "TRIMTAB_REGISTRY",
        "TRIMTAB_BASE_IMAGE",
    ):
        monkeypatch.delenv(name, raising=False)
    return warm


@pytest.fixture
def cold(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of this test's own."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "cold"))
    return tmp_path / "cold"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base image that holds no more than the names that are looked for, for two platforms."""
    folder = tmp_path_factory.mktemp("tiny")
    plain = folder / "layer.tar"
    with tarfile.open(plain, "w") as tar:
        tar.addfile(tarfile.TarInfo(f"usr/bin/python{PYTHON}"))
    manifests = []
    for machine in ("amd64", "arm64"):
        digest = debian.write(folder, [plain], machine, {"Env": [f"PATH={debian.PATH}"]})
        size = (folder / "blobs" / digest.replace(":", "/")).stat().st_size
        platform = {"os": "linux", "architecture": machine}
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifests.append({"mediaType": media_type, "digest": digest, "size": size, "platform": platform})
    content = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    root = debian.blob(folder, content, "application/vnd.oci.image.index.v1+json")
    debian.index(folder, [root])
    return f"oci:{folder}"


@pytest.fixture(scope="session")
def real(server: Registry) -> str:
    """Debian with its Python, in the registry."""
    needs("debootstrap", "skopeo")
    if os.geteuid() != 0:
        pytest.skip("debootstrap and podman are run as root here")
    name = f"{server.host}/debian/python:{debian.PYTHON}"
    command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{debian.layout()}", f"docker://{name}"]
    subprocess.run(command, check=True)
    return name


Make = Callable[..., Built]


@pytest.fixture
def make(home: Path, tiny: str) -> Make:
    """Build a source: `path` or `code`, on the tiny base unless told otherwise; `steps` takes what was shown."""

    def made(image: str, path: Path | None = None, *, steps: list[Step] | None = None, **options: Any) -> Built:
        ours = {
            name: options.pop(name) for name in ("requirements", "platforms", "python", "commands") if name in options
        }
        source = Source(path=str(path)) if path else Source(code=options.pop("code", HELLO))
        handler = options.pop("handler", path.stem if path and path.suffix else "handler")
        spec = FunctionSpec(
            handler=handler,
            source=source,
            build=Build(base_image=options.pop("base", tiny), **ours),
            env=options.pop("env", []),
        )
        function = Function(metadata=Metadata(name="hello"), spec=spec)
        shown = steps if steps is not None else []
        return build(BuildRequest(function=function, image=image, **options), shown.append)

    return made
