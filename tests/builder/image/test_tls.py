"""A real registry over HTTPS: an authority of one's own, one that nobody knows, and a client's certificate."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.image.conftest import Make
from tests.builder.image.servers import Registry, needs, registry

from trimtab.errors import RegistryError


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority (ca), and what it signed: a server of this machine, and a client."""
    needs("openssl")
    folder = tmp_path_factory.mktemp("certificates")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "stranger"):
        openssl(folder, "req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    for name in ("server", "client"):
        openssl(folder, "req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signing)
    return folder


@pytest.fixture
def secure(certificates: Path, tmp_path: Path, own: Path) -> Iterator[Registry]:
    """A registry over HTTPS. It has a folder in `own`, which is empty."""
    files: dict[str, object] = {
        "certificate": str(certificates / "server.crt"),
        "key": str(certificates / "server.key"),
    }
    with registry(tmp_path / "registry", tls=files) as server:
        (own / server.host).mkdir(parents=True)
        yield server


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certs.d of somebody's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    return tmp_path / "somebody" / ".docker" / "certs.d"


def test_an_authority_in_the_registrys_folder_is_believed(
    secure: Registry, own: Path, certificates: Path, make: Make
) -> None:
    os.link(certificates / "ca.crt", own / secure.host / "ca.crt")
    built = make(f"{secure.host}/tls/hello:1")
    assert (built.uploaded > 0, make(f"{secure.host}/tls/hello:1").uploaded) == (True, 0)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_that_a_variable_names_is_believed(
    variable: str, secure: Registry, certificates: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(certificates / "ca.crt"))
    assert make(f"{secure.host}/tls/hello:1").uploaded > 0


def test_an_unknown_authority_is_refused_with_what_to_do(secure: Registry, make: Make) -> None:
    with pytest.raises(RegistryError, match=rf"^no TLS with {secure.host}: .*certificate verify failed.*") as caught:
        make(f"{secure.host}/tls/hello:1")
    assert f"/etc/docker/certs.d/{secure.host}/ca.crt" in str(caught.value)


def test_a_file_that_holds_no_authority_is_named(secure: Registry, own: Path, make: Make) -> None:
    (own / secure.host / "ca.crt").write_text("hello")
    with pytest.raises(RegistryError, match=r"certs\.d/.*/ca\.crt holds no certificates of an authority: "):
        make(f"{secure.host}/tls/hello:1")


def test_a_clients_certificate_is_shown(certificates: Path, own: Path, tmp_path: Path, make: Make) -> None:
    files: dict[str, object] = {
        "certificate": str(certificates / "server.crt"),
        "key": str(certificates / "server.key"),
        "clientcas": [str(certificates / "ca.crt")],
    }
    with registry(tmp_path / "registry", tls=files) as server:
        folder = own / server.host
        folder.mkdir(parents=True)
        os.link(certificates / "ca.crt", folder / "ca.crt")
        with pytest.raises(RegistryError):
            make(f"{server.host}/tls/hello:1")
        os.link(certificates / "client.crt", folder / "client.cert")
        with pytest.raises(RegistryError, match=r"client\.cert and the \.key beside it are no certificate of a client"):
            make(f"{server.host}/tls/hello:1")
        os.link(certificates / "client.key", folder / "client.key")
        assert make(f"{server.host}/tls/hello:1").uploaded > 0
