"""One store in each place that is tested: a folder, fsspec's memory, S3 and Google's storage by servers on loopback."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.artifacts import ArtifactStore, open_store

PLACES = ("file", "memory", "s3", "gs")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server; its bucket is `bucket`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def gs_endpoint() -> Iterator[str]:
    """A server that speaks as Google's storage; its bucket is `bucket`."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, with what people's folders are called: a space and an umlaut."""
    home = tmp_path / "Ablage für Läufe"
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    monkeypatch.delenv("TRIMTAB_ARTIFACTS", raising=False)
    return home


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh prefix on S3, which the environment leads to."""
    import fsspec

    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    if not fs.exists("bucket"):
        fs.mkdir("bucket")
    return f"s3://bucket/{secrets.token_hex(4)}/store"


@pytest.fixture
def gs(gs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh prefix on Google's storage, which the environment leads to."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs_endpoint)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks an API that the emulator does not have
    return f"gs://bucket/{secrets.token_hex(4)}/store"


@pytest.fixture
def place(request: Any, home: Path) -> str:
    """The URL of an empty place."""
    if request.param in ("s3", "gs"):
        return str(request.getfixturevalue(request.param))
    if request.param == "memory":
        return f"memory://{secrets.token_hex(4)}/store"
    return f"file://{home / 'artifacts'}"


@pytest.fixture
def store(place: str) -> ArtifactStore:
    """An empty store in each place: the contract's fixture."""
    return open_store(place)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `place` or `store` over all places."""
    if {"place", "store"} & set(metafunc.fixturenames) and "place" in metafunc.fixturenames:
        metafunc.parametrize("place", PLACES, indirect=True)
