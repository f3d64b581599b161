"""Whole builds: the same digest every time, one layer for one edit, and every place that an image can go to."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.builder.image.conftest import HELLO, PYTHON, Make
from tests.builder.image.servers import Registry, needs

from trimtab.builder.abc import Built, Layer, Step
from trimtab.errors import BuildError, SpecError, StoreFull
from trimtab.spec import EnvVar


def sources(folder: Path, umask: int) -> Path:
    """Write a function as somebody with this umask would."""
    before = os.umask(umask)
    try:
        (folder / "lib").mkdir(parents=True)
        (folder / "handler.py").write_text("from lib.words import WORD\n\n\n" + HELLO)
        (folder / "lib" / "words.py").write_text("WORD = 'wörld'\n")
        (folder / "run.sh").write_text("#!/bin/sh\n")
        (folder / "run.sh").chmod(0o777 & ~umask)
    finally:
        os.umask(before)
    return folder


def layers(built: Built) -> dict[str, Layer]:
    return {layer.name: layer for layer in built.platforms[0].layers}


def blob(folder: Path, digest: str) -> Any:
    return json.loads((folder / "blobs" / digest.replace(":", "/")).read_bytes())


def config(folder: Path, built: Built) -> Any:
    return blob(folder, blob(folder, built.platforms[0].digest)["config"]["digest"])


def names(folder: Path, layer: Layer) -> list[str]:
    with tarfile.open(folder / "blobs" / layer.digest.replace(":", "/")) as tar:
        return tar.getnames()


def test_two_copies_in_two_folders_at_two_times_give_the_same_manifest(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, built from nothing each time: other umask, other folder, other times, other cache."""
    for name, umask in (("one", 0o022), ("two wörds", 0o077)):
        code = sources(tmp_path / name / "code", umask)
        moment = time.time() - 10_000 * umask
        for path in code.rglob("*"):
            os.utime(path, (moment, moment))
        monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / f"home {name}"))
        make("hello:1", code, handler="handler", requirements=["iniconfig==2.1.0"], layout=tmp_path / f"layout {name}")
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / f"layout {name}").rglob("*") if path.is_file()}
        for name in ("one", "two wörds")
    )
    assert one.keys() == two.keys()
    assert one == two


def test_an_edit_changes_one_layer_and_sends_little(server: Registry, make: Make, tmp_path: Path) -> None:
    code = sources(tmp_path / "code", 0o022)
    first = make(f"{server.host}/edit/hello:1", code, handler="handler", requirements=["iniconfig==2.1.0"])
    (code / "handler.py").write_text("from lib.words import WORD\n\n\n" + HELLO.replace("world", "there"))
    second = make(f"{server.host}/edit/hello:1", code, handler="handler", requirements=["iniconfig==2.1.0"])
    before, after = layers(first), layers(second)
    assert list(before) == ["base", "runtime", "dependencies", "code"]
    assert [name for name in before if before[name].digest != after[name].digest] == ["code"]
    assert 0 < second.uploaded < 100_000
    assert server.manifest("edit/hello", "1")["layers"][3]["digest"] == after["code"].digest


def test_the_image_runs_the_runtime_as_nobody(make: Make, tmp_path: Path) -> None:
    built = make("hello:1", layout=tmp_path / "layout", env=[EnvVar(name="API_KEY", value="s3cret")])
    document = config(tmp_path / "layout", built)
    assert document["created"] == "1970-01-01T00:00:00Z"
    found = document["config"]
    assert found["User"] == "65532:65532"
    assert found["WorkingDir"] == "/function"
    assert found["Entrypoint"] == ["/opt/trimtab/bin/trimtab", "serve", "--host", "0.0.0.0"]
    assert found["Cmd"] == ["handler"]
    assert found["ExposedPorts"] == {"8080/tcp": {}}
    assert [entry.partition("=")[0] for entry in found["Env"]] == ["PATH"]
    assert found["Env"][0].startswith("PATH=/opt/trimtab/bin:")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "layout").rglob("*") if path.is_file())
    assert b"s3cret" not in everything
    assert b"API_KEY" not in everything


def test_labels_name_source_revision_and_base(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    built = make("hello:1", layout=tmp_path / "layout")
    labels = config(tmp_path / "layout", built)["config"]["Labels"]
    assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert labels["org.opencontainers.image.base.digest"] == built.base.partition("@")[2]
    assert labels["org.opencontainers.image.title"] == labels["dev.trimtab.function"] == "hello"
    assert labels["dev.trimtab.python"] == PYTHON
    assert not [value for value in labels.values() if str(tmp_path) in value]
    assert blob(tmp_path / "layout", built.digest)["annotations"] == labels


def test_a_time_that_is_none_is_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(
        SpecError, match=r"^environment variable SOURCE_DATE_EPOCH: found 'yesterday', allowed: seconds"
    ):
        make("hello:1", layout=tmp_path / "layout")


def test_the_bill_of_materials_refers_to_the_image(make: Make, tmp_path: Path) -> None:
    built = make("hello:1", requirements=["iniconfig==2.1.0"], layout=tmp_path / "layout")
    referrer = blob(tmp_path / "layout", built.platforms[0].sbom)
    assert referrer["subject"]["digest"] == built.digest
    assert referrer["artifactType"] == "application/vnd.cyclonedx+json"
    bill = blob(tmp_path / "layout", referrer["layers"][0]["digest"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = [component.get("purl", "") for component in bill["components"]]
    assert "pkg:pypi/iniconfig@2.1.0" in purls
    assert any(purl.startswith("pkg:pypi/msgspec@") for purl in purls)
    assert any(purl.startswith("pkg:pypi/trimtab@") for purl in purls)


def test_the_bill_of_materials_is_found_in_a_registry_without_the_referrers_api(server: Registry, make: Make) -> None:
    built = make(f"{server.host}/bill/hello:1")
    listed = server.manifest("bill/hello", built.digest.replace(":", "-"))
    assert [(each["digest"], each["artifactType"]) for each in listed["manifests"]] == [
        (built.platforms[0].sbom, "application/vnd.cyclonedx+json")
    ]


def locked(layout: Path, built: Built, layer: str, name: str) -> str:
    """Give a lock out of a layer of an image."""
    digest = layers(built)[layer].digest
    with tarfile.open(layout / "blobs" / digest.replace(":", "/")) as tar:
        file = tar.extractfile(f"opt/trimtab/{name}")
        assert file is not None
        return file.read().decode()


def test_the_whole_lock_travels_in_the_image_and_names_no_index(make: Make, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    built = make("hello:1", requirements=["msgspec", "iniconfig==2.1.0"], layout=layout)
    text = locked(layout, built, "dependencies", "requirements.lock")
    assert [line.partition("==")[0] for line in text.splitlines() if "==" in line] == ["iniconfig", "msgspec"]
    assert text.startswith("iniconfig==2.1.0 \\\n    --hash=sha256:")
    own = locked(layout, built, "runtime", "runtime.lock")
    assert {"msgspec", "starlette"} <= {line.partition("==")[0] for line in own.splitlines() if "==" in line}
    assert "://" not in text + own


def test_the_lock_travels_also_where_the_runtime_brings_everything(make: Make, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    built = make("hello:1", requirements=["msgspec"], layout=layout)
    assert locked(layout, built, "dependencies", "requirements.lock").startswith(f"msgspec=={version('msgspec')} ")
    assert not any("msgspec" in name for name in names(layout, layers(built)["dependencies"]))
    bill = blob(layout, blob(layout, built.platforms[0].sbom)["layers"][0]["digest"])
    assert sum(each["name"] == "msgspec" for each in bill["components"]) == 1


def test_what_the_runtime_has_is_not_there_twice(make: Make, tmp_path: Path) -> None:
    built = make("hello:1", requirements=["msgspec", "iniconfig==2.1.0"], layout=tmp_path / "layout")
    found = names(tmp_path / "layout", layers(built)["dependencies"])
    assert any("/iniconfig/" in name for name in found)
    assert not any("msgspec" in name for name in found)


def test_requirements_that_trimtab_cannot_run_with_are_refused(make: Make) -> None:
    with pytest.raises(BuildError, match=r"^the requirements do not go with what trimtab itself requires: ") as caught:
        make("127.0.0.1:1/hello", requirements=["click==7.1.2"], load=None, layout=Path("/nonexistent"))
    assert "click" in str(caught.value)


def test_another_version_than_the_runtimes_wins(make: Make, tmp_path: Path) -> None:
    built = make("hello:1", requirements=["starlette==0.46.2"], layout=tmp_path / "layout")
    found = names(tmp_path / "layout", layers(built)["dependencies"])
    assert any(name.endswith("site-packages/starlette-0.46.2.dist-info/METADATA") for name in found)


def test_an_arm64_image_holds_aarch64_wheels(make: Make, tmp_path: Path) -> None:
    needs("file")
    built = make(
        "hello:1",
        requirements=["markupsafe==3.0.2"],
        platforms=["linux/amd64", "linux/arm64"],
        layout=tmp_path / "layout",
    )
    assert [image.platform for image in built.platforms] == ["linux/amd64", "linux/arm64"]
    index = blob(tmp_path / "layout", built.digest)
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]
    for image, machine in zip(built.platforms, ("x86-64", "ARM aarch64"), strict=True):
        (layer,) = [layer for layer in image.layers if layer.name == "dependencies"]
        with tarfile.open(tmp_path / "layout" / "blobs" / layer.digest.replace(":", "/")) as tar:
            (member,) = [each for each in tar if each.name.endswith(".so")]
            tar.extract(member, tmp_path / image.platform, filter="data")
        run = subprocess.run(
            ["file", str(tmp_path / image.platform / member.name)], capture_output=True, text=True, check=True
        )
        assert machine in run.stdout
    code = {layer.digest for image in built.platforms for layer in image.layers if layer.name == "code"}
    assert len(code) == 1


def test_commands_are_refused(make: Make) -> None:
    with pytest.raises(SpecError) as caught:
        make("127.0.0.1:1/hello", commands=["apt-get install -y cowsay"])
    assert str(caught.value) == (
        "spec.build.commands: found ['apt-get install -y cowsay'], allowed: nothing: an image is built without running"
        " anything of it. Put what they install into a base image (spec.build.baseImage), or make them requirements"
    )


def test_a_corrupted_cache_entry_is_made_again(make: Make, cold: Path, tmp_path: Path) -> None:
    first = make("hello:1", layout=tmp_path / "one")
    damaged = cold / "cache" / "blobs" / "sha256" / layers(first)["code"].digest.removeprefix("sha256:")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    second = make("hello:1", layout=tmp_path / "two")
    assert second.digest == first.digest
    (note,) = second.notes
    assert note.startswith(f"the cache entry {layers(first)['code'].digest} in {cold / 'cache'} holds sha256:")
    assert note.endswith(": it was removed, and made again")
    made = (tmp_path / "two" / "blobs" / layers(first)["code"].digest.replace(":", "/")).read_bytes()
    assert made == damaged.read_bytes()


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(server: Registry, make: Make) -> None:
    image = f"{server.host}/dry/hello:1"
    planned = make(image, dry_run=True)
    assert planned.dry_run
    assert server.tags("dry/hello") == []
    sent = make(image)
    assert planned.digest == sent.digest
    assert planned.uploaded == sent.uploaded > 0
    assert make(image, dry_run=True).uploaded == 0


def test_progress_names_layers_bytes_and_cache_hits(server: Registry, make: Make) -> None:
    make(f"{server.host}/progress/hello:1")
    steps: list[Step] = []
    built = make(f"{server.host}/progress/hello:2", steps=steps)
    ended = {step.name: step for step in steps if step.ms is not None}
    assert (ended["runtime"].detail, ended["code"].detail) == ("cached", "cached")
    assert ended["code"].total == layers(built)["code"].size
    assert ended["push runtime"].detail == "there already"
    assert [step.name for step in built.steps] == ["source", "base", "code", "lock", "runtime", "send"]


def test_a_layout_is_read_by_skopeo_and_keeps_other_images(make: Make, tmp_path: Path) -> None:
    needs("skopeo")
    folder = tmp_path / "layout"
    built = make("hello:1", layout=folder)
    make("hello:2", code=HELLO + "# two\n", layout=folder)
    run = subprocess.run(["skopeo", "inspect", f"oci:{folder}:1"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["Digest"] == built.digest
    subprocess.run(["skopeo", "inspect", f"oci:{folder}:2"], capture_output=True, check=True)


def test_a_folder_that_is_something_else_is_not_a_layout(make: Make, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("<html>")
    with pytest.raises(Exception, match=r"index\.json is not the index of an OCI layout \(.*\): name another folder$"):
        make("hello:1", layout=tmp_path)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_an_archive_is_read_by_skopeo_both_as_dockers_and_as_ocis(make: Make, tmp_path: Path, transport: str) -> None:
    needs("skopeo")
    path = tmp_path / "hello.tar"
    make("registry.example.com/team/hello:1", archive=path)
    first = path.read_bytes()
    run = subprocess.run(["skopeo", "inspect", f"{transport}:{path}"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["Labels"]["dev.trimtab.function"] == "hello"
    make("registry.example.com/team/hello:1", archive=path)
    assert path.read_bytes() == first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hello.tar"]


def test_a_full_disk_leaves_no_archive(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "trimtab-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(StoreFull, match=rf"^the disk that holds {place}.* is full: "):
            make("hello:1", archive=place / "hello.tar")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fake(folder: Path, program: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "bin" / program
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_kind_is_given_the_archive(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian has no package of kind: a program in its place notes what it is told. The others are in test_engines.py."""
    taking = f'echo "$@" > {tmp_path}/said; for last; do :; done; cp "$last" {tmp_path}/taken.tar'
    fake(tmp_path, "kind", taking, monkeypatch)
    make("hello:1", load="kind")
    assert (tmp_path / "said").read_text().startswith("load image-archive ")
    with tarfile.open(tmp_path / "taken.tar") as tar:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())


def test_an_engine_that_is_not_here_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BuildError, match=r"^--load kind needs 'kind', which is not on PATH$"):
        make("hello:1", load="kind")


def test_an_engine_takes_one_platform(make: Make) -> None:
    with pytest.raises(SpecError, match=r"allowed: one platform: archives and engines take an image, not an index$"):
        make("hello:1", archive=Path("x.tar"), platforms=["linux/amd64", "linux/arm64"])


def test_an_image_goes_to_one_place(make: Make) -> None:
    with pytest.raises(SpecError, match=r"allowed: one of a layout, an archive and an engine$"):
        make("hello:1", archive=Path("x.tar"), layout=Path("y"))


def test_an_image_needs_a_name(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^image: found nothing, allowed: an image's name \(-t "):
        make("")
    monkeypatch.setenv("TRIMTAB_REGISTRY", "registry.example.com/team/")
    assert make("", layout=tmp_path / "layout").image == "registry.example.com/team/hello:latest"


def test_a_tag_that_is_a_digest_is_refused(make: Make) -> None:
    with pytest.raises(SpecError, match=r"allowed: a name with a tag: the digest is what a build finds out$"):
        make(f"registry.example.com/hello@sha256:{'a' * 64}")


def test_another_python_than_ours_is_compiled_for_or_left_as_sources(make: Make, tmp_path: Path) -> None:
    from trimtab.builder.layers import interpreter

    other = f"3.{sys.version_info.minor + 1}"
    base = str(tmp_path / "base")
    from tests.builder.image import debian

    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(f"usr/bin/python{other}"))
    Path(base).mkdir()
    debian.write(Path(base), [tmp_path / "base.tar"], "amd64", {})
    built = make("hello:1", base=f"oci:{base}", layout=tmp_path / "layout", platforms=["linux/amd64"])
    found = interpreter.find(other)
    compiled = [name for name in names(tmp_path / "layout", layers(built)["code"]) if name.endswith(".pyc")]
    if found is None:
        assert compiled == []
        assert built.notes[0].startswith(f"There is no CPython {other} on this machine")
    else:
        assert compiled == [f"function/__pycache__/handler.{found.tag}.pyc"]
    assert built.python == other


def test_nothing_is_left_in_the_temporary_folder(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    make("hello:1", code=HELLO + "# fresh\n", layout=tmp_path / "layout")
    assert list(scratch.iterdir()) == []


def test_trimtab_among_the_requirements_is_the_one_that_is_here(make: Make, tmp_path: Path) -> None:
    built = make("hello:1", requirements=["trimtab[redis]>=0.1"], layout=tmp_path / "layout")
    packages = [package.name for package in built.platforms[0].packages]
    assert "redis" in packages
    assert "trimtab" not in packages


def test_a_git_reference_is_named_without_its_credentials(make: Make, tmp_path: Path) -> None:
    from trimtab.builder.image.labels import _public

    assert _public("https://ada:token@example.com/a.git") == "https://example.com/a.git"
    assert _public("/home/ada/secret project") == ""
    assert _public("file:///home/ada/project") == ""


def tinything(folder: Path) -> Path:
    """Write a wheel of one module."""
    path, about = folder / "tinything-1.0-py3-none-any.whl", "tinything-1.0.dist-info"
    files = {
        "tinything.py": "answer = 42\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": f"tinything.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


class Private(BaseHTTPRequestHandler):
    """A package index that wants a login, with one wheel."""

    wheel = b""

    def do_GET(self) -> None:
        login = b64encode(b"ada:s3cretword").decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            return self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="private"'})
        if self.path == "/simple/tinything/":
            digest = hashlib.sha256(self.wheel).hexdigest()
            link = f'<a href="/tinything-1.0-py3-none-any.whl#sha256={digest}">tinything-1.0-py3-none-any.whl</a>'
            return self.answer(200, link.encode(), {"Content-Type": "text/html"})
        return self.answer(200, self.wheel, {}) if self.path.endswith(".whl") else self.answer(404, b"", {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_private_indexes_and_their_credentials_stay_out_of_the_image(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Private.wheel = tinything(tmp_path).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Private) as index:
        Thread(target=index.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("UV_INDEX", f"http://ada:s3cretword@127.0.0.1:{index.server_port}/simple/")
        built = make("hello:1", requirements=["tinything"], layout=tmp_path / "layout")
        index.shutdown()
    assert any(name.endswith("/tinything.py") for name in names(tmp_path / "layout", layers(built)["dependencies"]))
    told = (b"s3cretword", f"127.0.0.1:{index.server_port}".encode())
    for path in (tmp_path / "layout").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content += gzip.decompress(content) if content.startswith(b"\x1f\x8b") else b""
            assert not [each for each in told if each in content], path


def test_a_wheel_beside_the_code_gives_the_same_layer_wherever_and_whenever_it_was_made(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv notes in what it installs from a file where that lay, and of what time it was."""
    digests = set()
    for name, moment in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        code = tmp_path / name
        (code / "wheels").mkdir(parents=True)
        (code / "handler.py").write_text(HELLO)
        (code / "requirements.txt").write_text("./wheels/tinything-1.0-py3-none-any.whl\n")
        wheel = tinything(code / "wheels")
        os.utime(wheel, (moment, moment))
        monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / f"home {name}"))
        built = make("hello:1", code, handler="handler", layout=tmp_path / f"layout {name}")
        digests.add(layers(built)["dependencies"].digest)
        found = names(tmp_path / f"layout {name}", layers(built)["dependencies"])
        assert not [each for each in found if each.endswith((".json", "direct_url"))]
    assert len(digests) == 1
