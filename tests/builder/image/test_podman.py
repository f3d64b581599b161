"""Images of each kind of source, on Debian, pulled by podman and run as a cluster would: read-only, as nobody."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.builder.image.conftest import HELLO, Make
from tests.builder.image.servers import PASSWORD, USER, Registry, free_port, needs
from tests.builder.image.test_registry import guarded, log_in

import trimtab
from trimtab.builder.abc import Built

__all__ = ["guarded"]

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = pytest.mark.slow


class Podman:
    """podman with a store of its own. No limits are raised and runc is the runtime, which works in a container too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = []\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
            'events_logger = "none"\n'
        )
        store = f'driver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(f"[storage]\n{store}")

    def environ(self) -> dict[str, str]:
        configs = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        kept = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return {**kept, **{name: str(self.folder / file) for name, file in configs.items()}}

    def __call__(self, *arguments: str) -> str:
        run = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, env=self.environ())
        assert run.returncode == 0, f"podman {' '.join(arguments)}: {run.stderr}"
        return (run.stdout + run.stderr).strip() if arguments[0] == "logs" else run.stdout.strip()

    @contextmanager
    def running(self, image: str, *options: str) -> Iterator[int]:
        """Run an image with Knative's restrictions; give the port once it is ready."""
        port = free_port()
        limits = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=host")
        container = self("run", "--detach", *limits, "--env", f"PORT={port}", *options, image)
        try:
            self.wait(container, port)
            yield port
        finally:
            self("rm", "--force", "--time", "2", container)

    def wait(self, container: str, port: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if ask(port, "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                assert self("inspect", "--format", "{{.State.Running}}", container) == "true", self("logs", container)
            time.sleep(0.05)
        raise AssertionError(self("logs", container))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    needs("podman", "runc")
    found = Podman(tmp_path_factory.mktemp("podman"))
    yield found
    found("rm", "--all", "--force", "--time", "0")
    found("rmi", "--all", "--force")
    for mounted in ("graph/overlay", "graph"):  # podman leaves them mounted on themselves
        subprocess.run(["umount", str(found.folder / mounted)], capture_output=True, check=False)


def ask(port: int, method: str = "POST", path: str = "/", body: Any = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = json.dumps(body) if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def pulled(podman: Podman, built: Built) -> str:
    podman("pull", "--quiet", "--tls-verify=false", built.reference)
    return built.reference


def test_a_file(server: Registry, real: str, make: Make, podman: Podman, tmp_path: Path) -> None:
    file = tmp_path / "hello.py"
    file.write_text(
        "import os\n\n\ndef handler(context, event):\n"
        "    return {'hello': event.body['name'], 'user': os.getuid(), 'pyc': __cached__, 'folder': os.getcwd()}\n"
    )
    built = make(f"{server.host}/examples/file:1", file, base=real)
    with podman.running(pulled(podman, built)) as port:
        status, body = ask(port, body={"name": "Ada"})
    assert (status, json.loads(body)) == (
        200,
        {"hello": "Ada", "user": 65532, "pyc": "/function/__pycache__/hello.cpython-311.pyc", "folder": "/function"},
    )
    inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{built.image}"]
    found = json.loads(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
    assert found["Digest"] == built.digest
    assert found["Labels"]["dev.trimtab.function"] == "hello"
    assert found["Layers"] == [layer.digest for layer in built.platforms[0].layers]


def test_a_folder_with_requirements(server: Registry, real: str, make: Make, podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "app" / "lib").mkdir(parents=True)
    (tmp_path / "app" / "handler.py").write_text(
        "import markupsafe\nfrom lib.words import WORD\n\n\ndef handler(context, event):\n"
        "    return {'said': str(markupsafe.escape(WORD)), 'native': markupsafe._speedups.__file__}\n"
    )
    (tmp_path / "app" / "lib" / "words.py").write_text("WORD = '<wörld>'\n")
    (tmp_path / "app" / "requirements.txt").write_text("markupsafe==3.0.2\n")
    built = make(f"{server.host}/examples/folder:1", tmp_path / "app", handler="handler", base=real)
    with podman.running(pulled(podman, built)) as port:
        status, body = ask(port)
    answer = json.loads(body)
    assert (status, answer["said"]) == (200, "&lt;wörld&gt;")
    assert answer["native"].startswith("/opt/trimtab/lib/python3.11/site-packages/markupsafe/_speedups")


@pytest.mark.parametrize(
    ("source", "handler", "sent", "expected"),
    [
        ("hello.py", "hello", {"name": "Ada"}, {"hello": "Ada"}),
        ("shop", "main:handler", {"apple": 3}, {"total": 6}),
        ("churn.ipynb", "churn", {"complaints": 3, "months": 4, "late_payments": 1}, {"leaves": 0.957}),
    ],
)
def test_the_examples(
    source: str, handler: str, sent: Any, expected: Any, server: Registry, real: str, make: Make, podman: Podman
) -> None:
    name = source.partition(".")[0]
    built = make(f"{server.host}/examples/{name}:1", EXAMPLES / source, handler=handler, base=real)
    with podman.running(pulled(podman, built)) as port:
        status, body = ask(port, body=sent)
        failed, _ = ask(port, body={"no": "such"}) if source != "hello.py" else (500, b"")
    assert (status, json.loads(body)) == (200, expected)
    assert failed == 500


def test_a_callable(
    server: Registry, real: str, podman: Podman, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    factor = 3

    def triple(context: Any, event: Any) -> Any:
        return {"triple": factor * event.body["x"]}

    fn = trimtab.code_to_function("triple", handler=triple)
    fn.function.spec.build.base_image = real
    fn.function.spec.build.python = "3.11"
    built = fn.build(f"{server.host}/examples/callable:1")
    (layer,) = [layer for layer in built.platforms[0].layers if layer.name == "dependencies"]
    assert layer.size < 10_000  # the lock alone: the runtime brings what the pickle needs
    assert "send" in capsys.readouterr().err
    with podman.running(pulled(podman, built)) as port:
        status, body = ask(port, body={"x": 14})
    assert (status, json.loads(body)) == (200, {"triple": 42})


def test_an_image_behind_a_login(guarded: Registry, real: str, make: Make, podman: Podman, tmp_path: Path) -> None:
    log_in(tmp_path, guarded.host)
    built = make(f"{guarded.host}/examples/login:1", code=HELLO, base=real)
    podman("pull", "--quiet", "--tls-verify=false", f"--creds={USER}:{PASSWORD}", built.reference)
    with podman.running(built.reference) as port:
        assert ask(port) == (200, b'{"hello":"world"}')


def test_an_image_is_loaded_into_podman(real: str, make: Make, podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in podman.environ().items():
        monkeypatch.setenv(name, value)
    built = make("registry.example.com/team/loaded:1", code=HELLO, base=real, load="podman")
    assert podman("image", "inspect", "--format", "{{.Digest}}", "registry.example.com/team/loaded:1") == built.digest
    with podman.running("registry.example.com/team/loaded:1") as port:
        assert ask(port) == (200, b'{"hello":"world"}')


def test_zstd_layers_run_too(server: Registry, real: str, make: Make, podman: Podman) -> None:
    built = make(f"{server.host}/examples/zstd:1", code=HELLO, base=real, compression="zstd")
    with podman.running(pulled(podman, built)) as port:
        assert ask(port) == (200, b'{"hello":"world"}')


def test_a_base_without_the_right_python_is_refused(real: str, make: Make) -> None:
    from trimtab.errors import BuildError

    with pytest.raises(BuildError) as caught:
        make("127.0.0.1:1/hello", base=real, python="3.13")
    assert str(caught.value) == (
        f"the base image {real} has Python 3.11 (/usr/bin/python3.11), needed is CPython 3.13: take another base image, or"
        " build for 3.11"
    )
