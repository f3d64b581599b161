from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.builder.cache import Cache, CorruptEntry, digest_of_bytes


def put(cache: Cache, content: bytes) -> str:
    digest = digest_of_bytes(content)
    with cache.writing() as file:
        file.write(content)
        cache.add(file, digest)
    return digest


def test_a_blob_is_found_by_its_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = put(cache, b"content")
    assert cache.checked(digest).read_bytes() == b"content"
    assert cache.path(digest) == cache.checked(digest)
    assert cache.path(digest_of_bytes(b"other")) is None


@pytest.mark.parametrize("content", [b"contenu", b"", b"content and more"])
def test_a_corrupted_cache_entry_is_noticed_and_removed(tmp_path: Path, content: bytes) -> None:
    cache = Cache(tmp_path)
    digest = put(cache, b"content")
    cache.checked(digest).write_bytes(content)
    with pytest.raises(CorruptEntry) as caught:
        cache.checked(digest)
    found = digest_of_bytes(content)
    assert str(caught.value) == f"the cache entry {digest} in {tmp_path} holds {found}: it was removed, build again"
    assert cache.path(digest) is None


def test_a_record_that_is_broken_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.keep("key", [1, 2])
    assert cache.record("key", list[int]) == [1, 2]
    assert cache.record("other", list[int]) is None
    for path in (tmp_path / "records").iterdir():
        path.write_bytes(b"[1, ")
    assert cache.record("key", list[int]) is None


def test_what_is_written_and_not_kept_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(ZeroDivisionError), cache.writing() as file:
        file.write(bytes(1 // len(b"")))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_least_recently_used_goes_first_and_what_was_just_used_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=2000)
    digests = [put(cache, bytes([number]) * 1000) for number in range(4)]
    now = time.time()
    for age, digest in enumerate(digests):
        path = cache.path(digest)
        assert path is not None
        os.utime(path, (now - 10_000 + age, now - 10_000 + age))
    kept = cache.path(digests[0])  # which is a use
    assert kept is not None
    assert cache.trim() == 2000
    assert [cache.path(digest) is not None for digest in digests] == [True, False, False, True]
    assert cache.trim(now=time.time()) == 0


def _write(folder: str) -> None:
    cache = Cache(Path(folder))
    for number in range(50):
        put(cache, str(number).encode() * 1000)


def test_builds_at_once_share_the_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(tmp_path),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    cache = Cache(tmp_path)
    for number in range(50):
        cache.checked(digest_of_bytes(str(number).encode() * 1000))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_killed_build_leaves_no_entry_that_is_not_whole(tmp_path: Path) -> None:
    program = (
        "import sys, os\nfrom pathlib import Path\nfrom trimtab.builder.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "with cache.writing() as file:\n"
        "    file.write(b'half'); file.flush(); print('there', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent.name for path in left] == ["scratch"]
    assert Cache(tmp_path, limit=1).trim(now=time.time() + 10_000) == 4
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
