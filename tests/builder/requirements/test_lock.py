from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from trimtab.builder.abc import Declared
from trimtab.builder.requirements import indexes, install, resolve
from trimtab.errors import BuildError, SpecError


def wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", *, script: bool = False) -> Path:
    """Make a wheel of one module, perhaps with a command."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n\ndef main(): print('ran')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name}-cli = {name}:main\n"
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(zipfile.ZipInfo(each), text)
    return path


class Index(BaseHTTPRequestHandler):
    """A private index: of files in a folder, for those who know the password."""

    folder: ClassVar[Path]
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        wanted = "Basic " + base64.b64encode(b"me:geheim").decode()
        parts = self.path.strip("/").split("/")
        if self.headers.get("Authorization") != wanted:
            self.reply(401, b"", WWW_Authenticate='Basic realm="index"')
        elif parts[0] == "simple" and len(parts) == 2:
            found = sorted(self.folder.glob(f"{parts[1].replace('-', '_')}-*"))
            links = "".join(
                f'<a href="/files/{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">{path.name}</a>'
                for path in found
            )
            self.reply(200 if found else 404, f"<html><body>{links}</body></html>".encode(), Content_Type="text/html")
        elif parts[0] == "files":
            self.reply(200, (self.folder / parts[1]).read_bytes(), Content_Type="application/octet-stream")
        else:
            self.reply(404, b"")

    do_HEAD = do_GET

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Index.folder = tmp_path / "index"
    Index.asked = []
    wheel(Index.folder, "privat", "1.0")
    wheel(Index.folder, "privat", "2.0", script=True)
    wheel(Index.folder, "native", "1.0", "cp312-cp312-manylinux_2_17_aarch64")
    wheel(Index.folder, "native", "1.1", "cp312-cp312-manylinux_2_17_x86_64")
    (Index.folder / "sdistonly-1.0.tar.gz").write_bytes(b"x")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}/simple/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def private(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", f"http://me:geheim@{index}")


AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.mark.parametrize("way", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "pip.conf", "netrc"])
def test_private_indexes_work_and_nothing_of_them_is_kept(
    way: str, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://me:geheim@{index}"
    if way == "pip.conf":
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {url}\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    elif way == "netrc":
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password geheim\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("UV_INDEX_URL", f"http://{index}")
    else:
        monkeypatch.setenv(way, url)
    lock = resolve(Declared(lines=["privat"]), "3.12", ARM, cache=tmp_path / "cache")
    assert [(package.name, package.version) for package in lock.packages] == [("privat", "2.0")]
    digest = hashlib.sha256((Index.folder / "privat-2.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert lock.text == f"privat==2.0 \\\n    --hash=sha256:{digest}\n"
    install(lock, "3.12", ARM, tmp_path / "target")
    kept = [path for path in [*(tmp_path / "target").rglob("*"), *(tmp_path / "cache").rglob("*")] if path.is_file()]
    assert len(kept) > 5
    for path in kept:
        assert b"geheim" not in path.read_bytes()
        assert b"127.0.0.1" not in path.read_bytes()


def test_an_index_without_a_password_says_what_is_missing_and_no_secret(
    index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_URL", f"http://me:geheim-falsch@{index}")
    with pytest.raises(BuildError) as caught:
        resolve(Declared(lines=["privat"]), "3.12", AMD)
    assert "privat" in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.usefixtures("private")
def test_each_platform_gets_the_wheels_that_run_on_it(tmp_path: Path) -> None:
    versions = {}
    for platform in (AMD, ARM):
        lock = resolve(Declared(lines=["native"]), "3.12", platform)
        versions[platform] = lock.packages[0].version
        assert len(lock.packages[0].hashes) == 1
        install(lock, "3.12", platform, tmp_path / platform)
        assert (tmp_path / platform / "native.py").is_file()
    assert versions == {AMD: "1.1", ARM: "1.0"}
    with pytest.raises(BuildError, match=r"native.*no wheels with a matching Python"):
        resolve(Declared(lines=["native"]), "3.13", ARM)


@pytest.mark.usefixtures("private")
def test_what_is_only_there_as_source_is_refused_with_what_to_do() -> None:
    with pytest.raises(BuildError) as caught:
        resolve(Declared(lines=["sdistonly"]), "3.12", ARM)
    assert str(caught.value).startswith(
        "sdistonly has no wheel: there is none for Python 3.12 on linux/arm64, and nothing is built from source. Take a "
        "version that has one, or make it (`pip wheel sdistonly --no-deps -w wheels`) and require the file: ./wheels/"
    )
    with pytest.raises(BuildError, match=r"^x has no wheel: it is named by its source"):
        resolve(Declared(lines=["x @ git+https://h/x"]), "3.12", ARM)


@pytest.mark.usefixtures("private")
def test_a_wheel_beside_the_code_can_be_required(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "mine", "3.0")
    declared = Declared(lines=["./wheels/mine-3.0-py3-none-any.whl", "privat==1.0"], folder=tmp_path)
    lock = resolve(declared, "3.12", ARM, cache=tmp_path / "cache")
    assert [line.split()[0] for line in lock.text.splitlines()[::2]] == ["mine==3.0", "privat==1.0"]
    assert str(tmp_path) not in lock.text
    install(lock, "3.12", ARM, tmp_path / "target")
    assert (tmp_path / "target" / "mine.py").is_file()
    assert str(tmp_path).encode() not in b"".join(
        path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file()
    )
    with pytest.raises(SpecError, match=r"allowed: the path of a wheel that is there$"):
        resolve(Declared(lines=["./wheels/gone-1-py3-none-any.whl"], folder=tmp_path), "3.12", ARM)


@pytest.mark.usefixtures("private")
def test_constraints_and_hashes_of_the_declaration_are_kept_to(tmp_path: Path) -> None:
    assert resolve(Declared(lines=["privat"], constraints=["privat<2"]), "3.12", AMD).packages[0].version == "1.0"
    right = hashlib.sha256((Index.folder / "privat-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    declared = Declared(
        lines=["privat==1.0"], lock=f"Privat==1.0 \\\n --hash=sha256:{right}\n".encode(), where="uv.lock"
    )
    assert resolve(declared, "3.12", AMD).packages[0].hashes == (f"sha256:{right}",)
    with pytest.raises(BuildError, match=r"^privat 1\.0: none of its wheels has a hash that uv\.lock holds$"):
        resolve(
            Declared(lines=["privat==1.0"], lock=b"privat==1.0 --hash=sha256:" + b"0" * 64, where="uv.lock"),
            "3.12",
            AMD,
        )


@pytest.mark.usefixtures("private")
def test_a_lock_is_found_again_until_it_is_to_be_renewed(tmp_path: Path) -> None:
    declared, cache = Declared(lines=["privat"]), tmp_path / "cache"
    first = resolve(declared, "3.12", AMD, cache=cache)
    Index.asked.clear()
    assert resolve(declared, "3.12", AMD, cache=cache) == first
    assert Index.asked == []
    wheel(Index.folder, "privat", "3.0")
    assert resolve(declared, "3.12", AMD, cache=cache, upgrade=True).packages[0].version in {"2.0", "3.0"}
    for kept in cache.iterdir():
        kept.write_bytes(kept.read_bytes().replace(b"privat==", b"pirate=="))
    assert resolve(declared, "3.12", AMD, cache=cache).packages[0].name == "privat"


@pytest.mark.usefixtures("private")
def test_what_is_installed_is_the_same_wherever_it_is_done(tmp_path: Path) -> None:
    lock = resolve(Declared(lines=["privat"]), "3.12", AMD)
    trees = []
    for name in ("one", "other place"):
        install(lock, "3.12", AMD, tmp_path / name)
        root = tmp_path / name
        trees.append({str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()})
    assert trees[0] == trees[1]
    script = trees[0]["bin/privat-cli"]
    assert script.startswith(b"#!/usr/bin/env python3\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(script).digest()).rstrip(b"=").decode()
    assert f"bin/privat-cli,sha256={digest},{len(script)}" in trees[0]["privat-2.0.dist-info/RECORD"].decode()
    assert ".lock" not in trees[0]


@pytest.mark.usefixtures("private")
def test_a_wheel_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    lock = resolve(Declared(lines=["privat"]), "3.12", AMD)
    wheel(Index.folder, "privat", "2.0", script=False)
    with pytest.raises(
        BuildError, match=r"^the locked requirements cannot be installed for Python 3\.12 on linux/amd64"
    ):
        install(lock, "3.12", AMD, tmp_path / "target")


def test_nothing_required_is_an_empty_lock(tmp_path: Path) -> None:
    lock = resolve(Declared(), "3.12", AMD)
    assert (lock.text, lock.packages) == ("", ())
    install(lock, "3.12", AMD, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_credentials_in_a_requirement_are_refused_and_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        resolve(Declared(lines=["x @ https://me:geheim@h/x-1-py3-none-any.whl"]), "3.12", AMD)
    assert "geheim" not in str(caught.value)
    with pytest.raises(SpecError, match=r"found 'windows/amd64', allowed: linux/amd64 or linux/arm64"):
        resolve(Declared(lines=["x"]), "3.12", "windows/amd64")


def test_pips_settings_are_told_to_uv_as_pip_means_them(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url =\n  https://b/simple\n  https://c/simple\n"
    )
    given = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path)}
    assert indexes.environ(given) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://b/simple https://c/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert indexes.environ({**given, "PIP_INDEX_URL": "https://d/simple"})["UV_DEFAULT_INDEX"] == "https://d/simple"
    assert "UV_DEFAULT_INDEX" not in indexes.environ({**given, "UV_INDEX_URL": "https://d/simple"})
    assert indexes.environ({**given, "PIP_CONFIG_FILE": "/dev/null"}) == {}
    config.write_text("no section\n")
    assert "UV_DEFAULT_INDEX" not in indexes.environ(given)
