from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from tests.handlers.monitor.world import NOON

from trimtab.errors import StoreError, StoreFull
from trimtab.handlers.monitor import log as module
from trimtab.handlers.monitor.log import Log

NAME = "churn/rf:2 ö"


def table(*ids: str, **more: Any) -> pa.Table:
    return pa.table({"_id": list(ids), **more})


def ids(log: Log) -> list[str]:
    found = log.read("inference", NAME)
    return sorted(map(str, found.column("_id").to_pylist())) if found.num_rows else []


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "lög folder")


def filled(log: Log, *names: str) -> Path:
    for name in names:
        path = log.write("inference", NAME, NOON, name, table(f"{name}-a", f"{name}-b"))
    return path.parent


def test_files_are_partitioned_by_endpoint_and_hour_so_that_any_reader_finds_its_way(log: Log) -> None:
    filled(log, "1")
    log.write("inference", NAME, NOON + 3600, "2", table("2-a"))
    log.write("inference", "other", NOON, "3", table("3-a"))
    (path,) = log.files("inference", NAME, until=NOON + 1)
    assert path.relative_to(log.folder).as_posix() == (
        "inference/endpoint=churn%2Frf%3A2%20%C3%B6/date=2026-11-25/hour=12/part-1.parquet"
    )
    found = ds.dataset(log.folder / "inference", partitioning="hive").to_table()
    assert {(row["_id"], row["endpoint"], row["hour"]) for row in found.to_pylist()} == {
        ("1-a", NAME, 12), ("1-b", NAME, 12), ("2-a", NAME, 13), ("3-a", "other", 12),
    }  # fmt: skip
    assert ids(log) == ["1-a", "1-b", "2-a"]
    assert log.read("inference", NAME, since=NOON + 1).column("_id").to_pylist() == ["2-a"]
    assert log.read("inference", "nobody").num_rows == 0


def test_a_file_that_is_written_twice_is_there_once(log: Log) -> None:
    filled(log, "1", "1")
    assert ids(log) == ["1-a", "1-b"]


def test_an_hour_that_is_over_becomes_one_file(log: Log) -> None:
    folder = filled(log, "1", "2", "3")
    assert log.compact(NOON + 3599) == 0
    assert log.compact(NOON + 3600) == 1
    assert [path.name for path in folder.iterdir()] == ["whole-1.parquet"]
    assert len(ids(log)) == 6
    assert log.compact(NOON + 7200) == 0
    filled(log, "4")
    assert log.compact(NOON + 7200) == 1
    assert [path.name for path in folder.iterdir()] == ["whole-1.parquet"]
    assert len(ids(log)) == 8


def test_files_of_different_columns_stay_apart_and_are_read_together(log: Log) -> None:
    for name in ("1", "3"):
        log.write("inference", NAME, NOON, name, table(f"a{name}", x=[1.5]))
        log.write("inference", NAME, NOON, f"{name}x", table(f"b{name}", x=["t"], y=["u"]))
    assert log.compact(NOON + 3600) == 1
    assert len(log.files("inference", NAME)) == 2
    assert sorted(log.read("inference", NAME).to_pylist(), key=str) == [
        {"_id": "a1", "x": "1.5", "y": None},
        {"_id": "a3", "x": "1.5", "y": None},
        {"_id": "b1", "x": "t", "y": "u"},
        {"_id": "b3", "x": "t", "y": "u"},
    ]
    assert log.compact(NOON + 3600) == 0


class Died(BaseException):
    pass


@pytest.mark.parametrize("after", range(12))
def test_a_compaction_that_dies_anywhere_loses_and_doubles_nothing(
    log: Log, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(log, "1", "2", "3")
    before = ids(log)
    steps = [0]

    def stepping(real: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] > after:
                raise Died
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "unlink"), (Path, "replace"), (module, "_sync"), (pq, "write_table")):
            patched.setattr(owner, name, stepping(getattr(owner, name)))
        with contextlib.suppress(Died):
            log.compact(NOON + 3600)
    visible = [pq.read_table(path, partitioning=None) for path in folder.glob("[!.]*.parquet")]
    seen = [name for found in visible for name in found.column("_id").to_pylist()]
    assert len(seen) == len(set(seen))  # another reader may see less for a moment, never more
    assert ids(log) == before
    log.compact(NOON + 3600)
    assert ids(log) == before
    assert [path.name for path in folder.iterdir()] == ["whole-1.parquet"]


def test_what_a_slow_writer_writes_once_more_does_not_count_again(log: Log) -> None:
    filled(log, "1", "2")
    log.compact(NOON + 3600)
    folder = filled(log, "2")
    assert ids(log) == ["1-a", "1-b", "2-a", "2-b"]
    log.compact(NOON + 3600)
    assert [path.name for path in folder.iterdir()] == ["whole-1.parquet"]


def test_old_days_go_and_leave_no_folders(log: Log) -> None:
    filled(log, "1")
    log.write("label", NAME, NOON + 24 * 3600, "2", table("2-a"))
    log.prune(NOON + 3600)
    assert ids(log) == []
    assert [path.name for path in log.folder.rglob("*.parquet")] == ["part-2.parquet"]
    assert not list(log.folder.glob("inference/*"))
    assert log.compact(2e10) == 0


def test_folders_that_are_none_of_ours_are_left_alone(log: Log) -> None:
    folder = filled(log, "1").parent.parent / "date=soon" / "hour=12"
    folder.mkdir(parents=True)
    (folder / "mine.parquet").write_text("x")
    log.compact(2e10)
    log.prune(2e10)
    assert (folder / "mine.parquet").exists()


def test_a_full_disk_says_so_and_leaves_no_half_file(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(log, "1")

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_sync", full)
    with pytest.raises(
        StoreFull, match=r"^no room to write '.*part-2.parquet': No space left on device\. Free disk space"
    ):
        filled(log, "2")
    assert [path.name for path in folder.iterdir()] == ["part-1.parquet"]


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(StoreError, match=r"^the log cannot write '.*': .*Check its permissions; the rows wait$"):
        filled(Log(tmp_path / "log"), "1")
