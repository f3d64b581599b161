"""Writers that are killed, that run at once, and that find no room."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.artifacts import FileSpec, open_store
from trimtab.errors import NotFound, StoreError, StoreFull

WRITER = """\
import sys
from trimtab.artifacts import FileSpec, open_store
store = open_store()
print("ready", flush=True)
for number in range(int(sys.argv[1])):
    files = {"a.bin": b"a" * 200_000, "b.bin": str(number).encode()}
    print(store.put("models", "p", "key", files, FileSpec(file="b.bin"), tag="mine").version, flush=True)
"""


def writer(count: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(count)], stdout=subprocess.PIPE, text=True)


@pytest.mark.chaos
@pytest.mark.parametrize(("where", "rounds"), [("file", 8), ("s3", 3)])
def test_a_writer_that_is_killed_leaves_only_whole_versions(
    home: Path, where: str, rounds: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "s3":
        monkeypatch.setenv("TRIMTAB_ARTIFACTS", request.getfixturevalue("s3"))
    randomness = random.Random(7)
    told: list[str] = []
    for number in range(rounds):
        process = writer(100_000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        told += [process.stdout.readline().strip() for _ in range(1 if number == 0 else randomness.randint(0, 3))]
        pause = time.monotonic() + randomness.uniform(0.0, 0.02)
        while time.monotonic() < pause:  # the moment of the kill, not a wait for anything
            pass
        process.send_signal(signal.SIGKILL)
        told += process.communicate()[0].split()
    store = open_store()
    versions = store.versions("store://models/p/key")
    assert set(told) <= set(versions), "what a writer was told to be kept is kept"
    for version in versions:
        assert store.get(f"store://models/p/key@{version}").local("a.bin").stat().st_size == 200_000
    assert store.get("store://models/p/key:mine").version in versions
    assert store.get("store://models/p/key:latest").version in versions


def test_processes_that_log_the_same_key_at_once_all_keep_their_versions(home: Path) -> None:
    processes = [writer(10) for _ in range(4)]
    told = [line for process in processes for line in process.communicate()[0].split()[1:]]
    assert all(process.returncode == 0 for process in processes)
    store = open_store()
    assert sorted(told) == store.versions("store://models/p/key")
    assert len(told) == 40
    assert store.get("store://models/p/key").version in told


def test_a_full_disk_is_said_and_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")

    store = open_store()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            StoreFull, match=r"data was not written: No space left on device; free space and try again$"
        ):
            store.put("models", "p", "key", {"data": b"x"}, FileSpec(file="data"))
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert store.projects() == []
    with pytest.raises(NotFound, match=r"there is no project 'p'"):
        store.get("store://models/p/key")


def test_a_folder_that_is_a_file_is_said(home: Path) -> None:
    home.mkdir()
    (home / "artifacts").write_text("in the way")
    with pytest.raises(StoreError, match=r"/files/models/p/key/.* cannot be used: (File exists|Not a directory)$"):
        open_store().put("models", "p", "key", {"data": b"x"}, FileSpec(file="data"))
