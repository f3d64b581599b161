"""A real registry: with a login, with tokens, dying, failing, and asked for no more than is needed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.image.conftest import HELLO, Make
from tests.builder.image.servers import PASSWORD, USER, Front, Registry, free_port, front, needs, registry

from trimtab.builder.abc import Step
from trimtab.builder.registry import Client, parse
from trimtab.errors import BuildError, RegistryError


def log_in(tmp_path: Path, host: str, password: str = PASSWORD) -> Path:
    """Write what `docker login` writes."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    path = tmp_path / "docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry that wants a login."""
    with registry(tmp_path_factory.mktemp("guarded"), login=True) as running:
        yield running


@pytest.fixture
def proxy(server: Registry) -> Iterator[Front]:
    with front(server) as running:
        yield running


def test_only_missing_blobs_are_sent(server: Registry, make: Make) -> None:
    first = make(f"{server.host}/sent/hello:1")
    again = make(f"{server.host}/sent/hello:1")
    other = make(f"{server.host}/sent/hello:2")
    assert first.uploaded > 0
    assert (again.uploaded, other.uploaded) == (0, 0)
    assert first.digest == again.digest == other.digest
    assert server.manifest("sent/hello", "2")["layers"][0]["digest"] == first.platforms[0].layers[0].digest


def test_an_unchanged_image_costs_one_question(proxy: Front, make: Make) -> None:
    make(f"{proxy.host}/one/question:1")
    proxy.requests.clear()
    make(f"{proxy.host}/one/question:1")
    assert proxy.requests == [("HEAD", "/v2/one/question/manifests/1")]


def test_layers_of_a_base_in_the_same_registry_are_mounted(server: Registry, make: Make, tiny: str) -> None:
    needs("skopeo")
    base = f"{server.host}/mounted/base:1"
    copy = ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false"]
    subprocess.run([*copy, tiny, f"docker://{base}"], check=True)
    steps: list[Step] = []
    built = make(f"{server.host}/mounted/hello:1", base=base, steps=steps)
    said = [step.detail for step in steps if step.name == "push base" and step.ms is not None]
    assert said == [f"mounted from {base}"]
    assert built.base.startswith(f"{server.host}/mounted/base@sha256:")


def test_a_login_is_used(guarded: Registry, make: Make, tmp_path: Path) -> None:
    log_in(tmp_path, guarded.host)
    built = make(f"{guarded.host}/team/hello:1")
    assert built.uploaded > 0
    reader = Client(parse(f"{guarded.host}/team/hello:1"))
    assert reader.manifest()[2] == built.digest


def test_wrong_password(guarded: Registry, make: Make, tmp_path: Path) -> None:
    config = log_in(tmp_path, guarded.host, "guess")
    with pytest.raises(RegistryError) as caught:
        make(f"{guarded.host}/team/wrong:1")
    assert str(caught.value) == (
        f"the registry {guarded.host} refused the login of 'ada' (from {config}): user or password is wrong or has"
        f" expired; `docker login {guarded.host}` replaces it"
    )
    assert caught.value.status == 401
    assert "guess" not in str(caught.value)


def test_no_login(guarded: Registry, make: Make, tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        make(f"{guarded.host}/team/none:1")
    host, places = (
        guarded.host,
        f"{tmp_path / 'docker' / 'config.json'}, {Path.home() / '.config/containers/auth.json'}",
    )
    assert str(caught.value) == (
        f"the registry {host} wants a login and there is none (looked into {places}): `docker login {host}` or"
        f" `podman login {host}` makes one"
    )


def test_tokens(proxy: Front, make: Make, tmp_path: Path, tiny: str) -> None:
    """A token is asked for once for each new scope, with the login, and holds for both repositories of a mount."""
    needs("skopeo")
    base = f"{proxy.host}/tokens/base:1"
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", tiny, f"docker://{base}"], check=True
    )
    log_in(tmp_path, proxy.host)
    proxy.wants_token = True
    steps: list[Step] = []
    make(f"{proxy.host}/tokens/hello:1", base=base, steps=steps)
    assert [step.detail for step in steps if step.name == "push base" and step.ms is not None] == [
        f"mounted from {base}"
    ]
    assert set(proxy.logins) == {f"{USER}:{PASSWORD}"}
    assert len(proxy.logins) <= 8


def test_a_login_of_netrc_and_a_proxy_are_not_for_registries_of_this_machine(
    proxy: Front, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    log_in(tmp_path, proxy.host)
    proxy.wants_token = True
    make(f"{proxy.host}/netrc/hello:1")
    assert set(proxy.logins) == {f"{USER}:{PASSWORD}"}


def test_a_wrong_password_gets_no_token(proxy: Front, make: Make, tmp_path: Path) -> None:
    log_in(tmp_path, proxy.host, "guess")
    proxy.wants_token = True
    with pytest.raises(RegistryError, match=r"refused the login of 'ada' .*: user or password is wrong or has expired"):
        make(f"{proxy.host}/tokens/wrong:1")


def test_a_registry_that_dies_mid_upload(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing refers to what arrived, and with the registry back only the rest is sent."""
    monkeypatch.setattr("trimtab.builder.registry.client._PAUSES", (0.01,))
    code = tmp_path / "code"
    code.mkdir()
    (code / "handler.py").write_text(HELLO)
    (code / "noise").write_bytes(os.urandom(40 * 2**20))
    with registry(tmp_path / "dying") as dying:
        image = f"{dying.host}/dying/hello:1"

        class Dying(list[Step]):
            def append(self, step: Step) -> None:
                if step.name == "push code" and step.done:
                    dying.kill()

        with pytest.raises(RegistryError) as caught:
            make(image, code, handler="handler", steps=Dying())
        dying.start()
        assert dying.tags("dying/hello") == []
        assert str(caught.value).startswith(f"the registry {dying.host} does not answer: ")
        assert str(caught.value).endswith(
            "was sent: nothing refers to what arrived of it, and a new build sends only what is missing"
        )
        built = make(image, code, handler="handler")
        assert dying.tags("dying/hello") == ["1", built.digest.replace(":", "-")]
        layer = built.platforms[0].layers[-1]
        assert len(dying.blob("dying/hello", layer.digest)) == layer.size


def test_a_connection_that_breaks_is_made_again(proxy: Front, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.builder.registry.client._PAUSES", (0.01, 0.01))
    proxy.break_after = 100_000
    image = f"{proxy.host}/broken/hello:1"
    with pytest.raises(RegistryError, match=r"does not answer: .*; while sha256:"):
        make(image)
    assert proxy.server_port
    proxy.break_after = None
    make(image)


def test_a_registry_that_is_busy_is_asked_again(proxy: Front, make: Make) -> None:
    proxy.failures = 2
    make(f"{proxy.host}/busy/hello:1")
    assert proxy.failures == 0


def test_a_registry_that_takes_no_chunks_is_sent_blobs_whole(
    proxy: Front, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.builder.registry.client.CHUNKED", 100_000)
    proxy.refused_chunks = True
    make(f"{proxy.host}/whole/hello:1", code=HELLO + "# another layer\n")
    assert {method for method, path in proxy.requests if "uploads/" in path} >= {"PATCH", "PUT"}


def test_large_blobs_are_sent_in_chunks(proxy: Front, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.builder.registry.client.CHUNKED", 1_000_000)
    steps: list[Step] = []
    built = make(f"{proxy.host}/chunks/hello:1", steps=steps)
    (runtime,) = [layer for layer in built.platforms[0].layers if layer.name == "runtime"]
    assert sum(method == "PATCH" for method, _ in proxy.requests) == -(-runtime.size // 1_000_000)
    seen = [step.done for step in steps if step.name == "push runtime" and step.ms is None]
    assert seen == sorted(seen)
    assert seen[-1] == runtime.size


def test_no_registry_at_all(make: Make) -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(RegistryError) as caught:
        make(f"{host}/hello")
    assert str(caught.value) == f"the registry {host} does not answer: [Errno 111] Connection refused"


def test_a_base_image_that_is_not_there(server: Registry, make: Make) -> None:
    with pytest.raises(BuildError, match=rf"^there is no base image {server.host}/nothing/here:1 \(") as caught:
        make(f"{server.host}/hello", base=f"{server.host}/nothing/here:1")
    assert "manifest unknown" in str(caught.value)


def test_the_last_known_base_is_used_without_a_network(tmp_path: Path, make: Make, tiny: str, cold: Path) -> None:
    needs("skopeo")
    with registry(tmp_path / "gone") as gone:
        base = f"{gone.host}/base:1"
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", tiny, f"docker://{base}"], check=True
        )
        first = make("hello", base=base, layout=tmp_path / "one")
    second = make("hello", base=base, layout=tmp_path / "one")
    assert second.digest == first.digest
    (note,) = second.notes
    assert note == (
        f"the registry {gone.host} does not answer: [Errno 111] Connection refused: the base image is {base} as it was"
        f" last time, {first.base.partition('@')[2]}"
    )


BUILD = """
import sys
from trimtab.builder.build import build
from trimtab.builder.request import BuildRequest
from trimtab.spec import Build, Function, FunctionSpec, Metadata, Source
spec = FunctionSpec(handler="handler", source=Source(path=sys.argv[2]), build=Build(base_image=sys.argv[3]))
request = BuildRequest(function=Function(metadata=Metadata(name="hello"), spec=spec), image=sys.argv[1])
print("begun", flush=True)
build(request, lambda step: print(step.name, step.done, flush=True))
"""


@pytest.mark.parametrize("at", ["code 0", "runtime 0", "send 0", "push code", "push config"])
def test_a_killed_build_refers_to_nothing_half_written(
    at: str, server: Registry, make: Make, home: Path, tmp_path: Path, tiny: str
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "handler.py").write_text(f"{HELLO}# {at}\n")
    (code / "noise").write_bytes(os.urandom(20 * 2**20))
    repository = f"killed/{at.replace(' ', '-')}"
    command = [sys.executable, "-c", BUILD, f"{server.host}/{repository}:1", str(code), tiny]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(at):
                process.send_signal(signal.SIGKILL)
                break
    assert server.tags(repository) == []
    built = make(f"{server.host}/{repository}:1", code, handler="handler")
    for layer in built.platforms[0].layers:
        assert len(server.blob(repository, layer.digest)) == layer.size


@pytest.mark.parametrize("at", ["code 0", "runtime 0", "push code"])
def test_ctrl_c_leaves_nothing_behind(at: str, server: Registry, cold: Path, tmp_path: Path, tiny: str) -> None:
    code, scratch = tmp_path / "code", tmp_path / "scratch"
    code.mkdir()
    scratch.mkdir()
    (code / "handler.py").write_text(HELLO)
    (code / "noise").write_bytes(os.urandom(40 * 2**20))
    repository = f"interrupted/{at.replace(' ', '-')}"
    command = [sys.executable, "-c", BUILD, f"{server.host}/{repository}:1", str(code), tiny]
    # Not measured: Ctrl-C that comes while coverage holds its lock leaves it locked, and the build waits for it for ever.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environ["TMPDIR"] = str(scratch)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(at):
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert server.tags(repository) == []
    assert list(scratch.iterdir()) == []
    assert list((cold / "cache" / "scratch").glob("*")) == []


def test_two_builds_at_once(server: Registry, cold: Path, tmp_path: Path, tiny: str) -> None:
    """Both begin with an empty cache, and push the same image to the same tag."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "handler.py").write_text(HELLO)
    command = [sys.executable, "-c", BUILD, f"{server.host}/twice/hello:1", str(code), tiny]
    builds = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for build in builds:
        _, errors = build.communicate()
        assert build.returncode == 0, errors
    assert len(server.tags("twice/hello")) == 2  # the tag, and that of the SBOM
