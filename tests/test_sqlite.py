"""Files of SQLite: made once by whoever comes first, of a version, and with errors that say what to do."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.errors import StoreError, StoreFull
from trimtab.sqlite import File, transaction

SCHEMA = """
-- A comment; with a semicolon.
CREATE TABLE a (x TEXT DEFAULT ';');
CREATE TABLE b (y)"""


def file(path: Path, version: int = 1) -> File:
    return File(
        path=path, what="the test's file", schema=SCHEMA, version=version, full="all is kept", damaged="begin anew"
    )


def test_a_new_file_gets_the_schema_and_is_its_owners_alone(tmp_path: Path) -> None:
    made = file(tmp_path / "sub" / "größe 1.db")
    connection = made.open()
    assert {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")} == {"a", "b"}
    pragmas = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode", "synchronous")
    ]
    assert pragmas == [1, "wal", 2]
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    connection.close()


def test_many_that_open_it_at_once_make_it_once(tmp_path: Path) -> None:
    def insert(number: int) -> None:
        connection = file(tmp_path / "x.db").open()
        with transaction(connection) as execute:
            execute("INSERT INTO b VALUES (?)", (number,))
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insert, range(16)))
    connection = file(tmp_path / "x.db").open()
    assert connection.execute("SELECT count(*) FROM b").fetchone() == (16,)
    connection.close()


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    file(tmp_path / "x.db", version=3).open().close()
    with pytest.raises(
        StoreError, match=r"^the test's file '.*x\.db' has schema version 3, this Trimtab knows 2\. Use"
    ):
        file(tmp_path / "x.db", version=2).open()


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"is damaged \(.*\)\. Move it away together with 'x\.db-wal' and begin anew$"):
        file(tmp_path / "x.db").open()


def test_a_file_where_none_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match=r"^the test's file '.*/x/y\.db' cannot be made: "):
        file(tmp_path / "x" / "y.db").open()


def test_no_room_is_an_error_of_its_own_and_nothing_is_half_done(tmp_path: Path) -> None:
    made = file(tmp_path / "x.db")
    connection = made.open()
    connection.execute("PRAGMA max_page_count = 8")

    def write() -> None:
        with made.translated(), transaction(connection) as execute:
            execute("INSERT INTO b VALUES (1)")
            execute("INSERT INTO b VALUES (zeroblob(1000000))")

    with pytest.raises(StoreFull, match=r"^no room to write .*\. Free disk space; all is kept$"):
        write()
    assert connection.execute("SELECT count(*) FROM b").fetchone() == (0,)
    connection.close()


def test_what_else_is_wrong_is_quoted(tmp_path: Path) -> None:
    made = file(tmp_path / "x.db")
    connection = made.open()
    cause = r"cannot be used: no such table: c\. Check its permissions and the disk$"
    with pytest.raises(StoreError, match=cause), made.translated():
        connection.execute("SELECT * FROM c")
    connection.close()
