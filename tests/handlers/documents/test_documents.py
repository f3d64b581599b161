"""The contract of documents, over every backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.servers import redis_server

from trimtab.errors import SpecError, StoreError
from trimtab.handlers.documents import Documents, open_documents

_COUNT_UP = """
import sys
from trimtab.handlers.documents import open_documents
documents = open_documents(sys.argv[1])
print("ready", flush=True)
while True:
    documents.change("count", lambda text: str(int(text or b"0") + 1).encode())
    print("one", flush=True)
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/späße und mehr/documents.db"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def documents(url: str) -> Iterator[Documents]:
    opened = open_documents(url)
    for name in opened.names():
        opened.delete(name)
    yield opened
    opened.close()


def test_what_is_not_there_is_empty_and_of_version_zero(documents: Documents) -> None:
    found = documents.get("a")
    assert (found.text, found.version) == (b"", 0)


def test_what_was_put_is_got_with_the_next_version(documents: Documents) -> None:
    assert documents.put("a", b"one", 0)
    assert documents.put("a", b"two", 1)
    found = documents.get("a")
    assert (found.text, found.version) == (b"two", 2)


def test_a_put_over_another_version_changes_nothing(documents: Documents) -> None:
    assert documents.put("a", b"one", 0)
    assert not documents.put("a", b"new", 0)
    assert not documents.put("a", b"new", 7)
    assert documents.get("a").text == b"one"


def test_names_are_listed_by_their_beginning_whatever_it_looks_like(documents: Documents) -> None:
    for name in ("loop/b", "loop/a", "loop*", "other", "loop/ü [x]"):
        documents.put(name, b"x", 0)
    assert documents.names("loop/") == ["loop/a", "loop/b", "loop/ü [x]"]
    assert documents.names("loop*") == ["loop*"]


def test_what_is_deleted_begins_anew(documents: Documents) -> None:
    documents.put("a", b"one", 0)
    documents.delete("a")
    documents.delete("never there")
    assert documents.get("a").version == 0
    assert documents.put("a", b"two", 0)


def test_writers_side_by_side_lose_nothing(documents: Documents, url: str) -> None:
    def count(_: int) -> None:
        mine = open_documents(url)
        for _ in range(25):
            mine.change("count", lambda text: str(int(text or b"0") + 1).encode())
        mine.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert documents.get("count").text == b"100"


def test_a_writer_killed_at_any_moment_loses_nothing_it_had_written(documents: Documents, url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", _COUNT_UP, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 30
    while int(documents.get("count").text or b"0") < 20:
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    said = process.stdout.read().count("one")
    process.wait()
    process.stdout.close()
    counted = int(documents.get("count").text)
    assert said <= counted <= said + 1
    assert documents.get("count").version == counted


def test_a_change_that_raises_changes_nothing(documents: Documents) -> None:
    documents.put("a", b"one", 0)
    with pytest.raises(ZeroDivisionError):
        documents.change("a", lambda _: b"%d" % (1 // 0))
    assert documents.get("a").version == 1


def test_another_kind_of_url_is_refused_without_showing_what_may_be_a_password() -> None:
    with pytest.raises(SpecError, match=r"found 'postgres://\.\.\.', allowed: sqlite:///path or redis://") as caught:
        open_documents("postgres://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    path.write_bytes(b"no database at all, but a text of some length" * 100)
    with pytest.raises(
        StoreError,
        match=r"documents\.db' is damaged \(file is not a database\)\. Move it away together with 'documents\.db-wal'",
    ):
        open_documents(f"sqlite://{path}")


def test_a_server_that_is_away_is_a_store_error() -> None:
    documents = open_documents("redis://127.0.0.1:1/0")
    with pytest.raises(StoreError, match="Redis does not do as it should"):
        documents.get("a")
    documents.close()
