from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from trimtab.cli.watch import Followed, Watched
from trimtab.errors import NotFound


def touch(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, (at, at))


def test_a_saved_file_is_reported_once_it_rests(hello: Path) -> None:
    watched = Watched(hello)
    assert not watched.changed()
    touch(hello, "one", 1)
    assert not watched.changed(), "it may still be written"
    touch(hello, "two", 2)
    assert not watched.changed()
    assert watched.changed()
    assert not watched.changed()


def test_a_file_that_is_replaced_is_waited_for(hello: Path) -> None:
    watched = Watched(hello)
    hello.unlink()
    assert [watched.changed() for _ in range(3)] == [False] * 3
    touch(hello, "new", 3)
    assert [watched.changed() for _ in range(2)] == [False, True]


def test_a_folder_is_watched_without_what_tools_leave_in_it(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "__pycache__").mkdir()
    touch(tmp_path / "pkg" / "a.py", "", 1)
    watched = Watched(tmp_path)
    for name in ("__pycache__/a.pyc", ".a.py.swp", "b.pyc"):
        touch(tmp_path / name, "x", 2)
    assert [watched.changed() for _ in range(2)] == [False, False]
    touch(tmp_path / "pkg" / "data.json", "{}", 2)
    assert [watched.changed() for _ in range(2)] == [False, True]


def test_beside_a_document_its_folder_is_watched(tmp_path: Path, hello: Path) -> None:
    (tmp_path / "function.yaml").touch()
    watched = Watched(tmp_path / "function.yaml")
    touch(hello, "saved", 5)
    assert [watched.changed() for _ in range(2)] == [False, True]


def test_a_followed_log_is_given_by_the_line_and_survives_what_ends_it() -> None:
    opened = 0
    done = threading.Event()

    def log() -> Iterator[str]:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise NotFound("not deployed yet")
        yield f"line {opened}"
        done.wait(60)

    followed = Followed(log)
    seen: list[str] = []
    while not seen:
        followed.start_if_ended()
        seen += followed.lines(within=0.01)
    assert seen == ["line 2"]
    done.set()
