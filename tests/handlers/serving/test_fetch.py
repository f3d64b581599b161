"""Where models come from: files, folders and URLs, and what is said when there is none."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.errors import ImportFailed
from trimtab.handlers.serving.fetch import digest, fetch


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve a folder by HTTP."""
    (tmp_path / "m.pkl").write_bytes(b"model")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_used_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a b ü.pkl"
    path.write_bytes(b"x")
    assert fetch(str(path)).path == path
    assert fetch(f"file://{path}", ".pkl", digest(path)).path == path


def test_the_files_beside_the_model_are_its_extra_files(tmp_path: Path) -> None:
    for name in ("model.pkl", "words.txt"):
        (tmp_path / name).write_text("x")
    found = fetch(str(tmp_path), ".pkl")
    assert (found.path, found.extra) == (tmp_path / "model.pkl", {"words.txt": str(tmp_path / "words.txt")})
    assert fetch(str(tmp_path), ".txt").path == tmp_path / "words.txt"
    with pytest.raises(
        ImportFailed, match=r"found model\.pkl, words\.txt, allowed: exactly one file that ends in \.h5"
    ):
        fetch(str(tmp_path), ".h5")


def test_a_model_is_fetched_from_the_web(web: str) -> None:
    assert fetch(f"{web}/m.pkl").path.read_bytes() == b"model"
    with pytest.raises(ImportFailed, match=r"none\.pkl cannot be fetched: HTTP 404"):
        fetch(f"{web}/none.pkl")
    with pytest.raises(ImportFailed, match=r"its SHA-256 is .*, expected 00; it is not loaded"):
        fetch(f"{web}/m.pkl", sha256="00")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "the model has no path: give add_model a model_path"),
        ("/nowhere", "there is no model at '/nowhere': no such file or folder"),
        ("ftp://x/m", "found the scheme 'ftp', allowed: store, https, or a path"),
        ("http://example.com/m", "allowed: an https URL: a model is code"),
        ("http://127.0.0.1:1/m", "http://127.0.0.1:1/m cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_says_why(place: str, message: str) -> None:
    with pytest.raises(ImportFailed) as caught:
        fetch(place)
    assert message in str(caught.value)
