"""What every store owes, over all there are."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from tests.handlers.monitor.conftest import Backend

from trimtab.errors import SpecError, StoreError, StoreFull
from trimtab.handlers.monitor.stores import Change, Entry, Limits, Stream, open_store
from trimtab.handlers.monitor.stores.redis import RedisStore
from trimtab.handlers.monitor.stores.sqlite import SQLiteStore


def entry(
    identity: str, stream: str = "churn/rf", *, rows: int = 2, at: float = 100.0, data: bytes = b"data\0"
) -> Entry:
    return Entry(stream=stream, identity=identity, rows=rows, at=at, data=data)


def test_what_is_appended_is_pending_in_order(backend: Backend) -> None:
    store = backend.open()
    assert store.append([entry("b", at=99.5), entry("a"), entry("x", "other/é")]) == [True, True, True]
    found = store.pending("churn/rf")
    assert [event.entry for event in found] == [entry("b", at=99.5), entry("a")]
    assert found[0].number < found[1].number
    assert store.streams() == [
        Stream(name="churn/rf", events=2, rows=4, bytes=10, oldest=99.5),
        Stream(name="other/é", events=1, rows=2, bytes=5, oldest=100.0),
    ]
    assert store.pending("none") == []


def test_an_identity_goes_in_once_also_within_one_list_and_across_stores(backend: Backend) -> None:
    store = backend.open()
    assert store.append([entry("a"), entry("a"), entry("b")]) == [True, False, True]
    assert backend.open().append([entry("b", "another"), entry("c")]) == [False, True]
    assert [event.entry.identity for event in store.pending("churn/rf")] == ["a", "b", "c"]


def test_pending_stops_at_the_number_the_rows_or_the_bytes_asked_for(backend: Backend) -> None:
    store = backend.open()
    store.append([entry(str(number)) for number in range(600)])
    everything = store.pending("churn/rf")
    assert len(everything) == 600
    assert store.pending("churn/rf", rows=3) == everything[:2]
    assert store.pending("churn/rf", bytes=11) == everything[:3]
    assert store.pending("churn/rf", rows=1, bytes=1) == everything[:1]
    assert store.pending("churn/rf", upto=everything[4].number) == everything[:5]


def test_a_commit_changes_documents_rows_and_journal_together(backend: Backend) -> None:
    store = backend.open()
    store.append([entry("a"), entry("b"), entry("c")])
    numbers = [event.number for event in store.pending("churn/rf")]
    assert store.read("churn/rf", ["one"]) == (0, {})
    change = Change(put={"one": b"1\0", "two": b"2", "one/x": b"3"}, upto=numbers[1], rows={"r": b"row"}, at=5.0)
    assert store.commit("churn/rf", 0, change)
    assert store.read("churn/rf", ["two", "none", "one"]) == (1, {"one": b"1\0", "two": b"2"})
    assert store.keys("churn/rf", "one") == ["one", "one/x"]
    assert store.keys("churn/rf", "%") == []
    assert store.rows("churn/rf", ["r", "s"]) == {"r": b"row"}
    assert store.rows("churn/rf", []) == {}
    assert [event.number for event in store.pending("churn/rf")] == numbers[2:]
    assert store.streams() == [Stream(name="churn/rf", events=1, rows=2, bytes=5, oldest=100.0)]
    assert store.commit("churn/rf", 1, Change(put={"one": b"new"}, delete=["two", "none"], upto=numbers[2]))
    assert store.read("churn/rf", ["one", "two"]) == (2, {"one": b"new"})
    assert store.streams() == [Stream(name="churn/rf")]
    assert store.append([entry("a")]) == [False]


def test_a_commit_upon_another_version_changes_nothing(backend: Backend) -> None:
    store = backend.open()
    store.append([entry("a")])
    assert store.commit("churn/rf", 0, Change(put={"one": b"1"}))
    for version in (0, 2):
        assert not store.commit("churn/rf", version, Change(put={"one": b"2"}, upto=2**50, rows={"r": b""}))
    assert store.read("churn/rf", ["one"]) == (1, {"one": b"1"})
    assert len(store.pending("churn/rf")) == 1
    assert store.rows("churn/rf", ["r"]) == {}
    assert store.commit("other", 0, Change(put={"one": b"3"}))


def test_of_many_who_commit_upon_one_version_one_succeeds(backend: Backend) -> None:
    stores = [backend.open() for _ in range(4)]
    won: list[int] = []

    def work(place: int) -> None:
        for _ in range(25):
            while True:
                version, found = stores[place].read("s", ["n"])
                count = int(found.get("n", b"0")) + 1
                if stores[place].commit("s", version, Change(put={"n": b"%d" % count})):
                    won.append(count)
                    break

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, 101))
    assert stores[0].read("s", ["n"]) == (100, {"n": b"100"})


def test_of_many_who_append_one_identity_one_succeeds(backend: Backend) -> None:
    stores = [backend.open() for _ in range(3)]
    added: list[bool] = []

    def work(place: int) -> None:
        for number in range(30):
            added.extend(stores[place].append([entry(str(number))]))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(added), sum(added)) == (90, 30)
    assert len(stores[0].pending("churn/rf")) == 30


def test_the_state_is_there_for_the_next_one_who_opens_it(backend: Backend) -> None:
    store = backend.open()
    store.append([entry("a")])
    store.commit("churn/rf", 0, Change(put={"one": b"1"}, rows={"r": b"row"}, at=1.0))
    store.close()
    again = backend.open()
    assert again.append([entry("a"), entry("b")]) == [False, True]
    assert again.read("churn/rf", ["one"]) == (1, {"one": b"1"})
    assert again.rows("churn/rf", ["r"]) == {"r": b"row"}


def test_identities_are_forgotten_by_age_and_beyond_the_most(backend: Backend) -> None:
    store = backend.open(Limits(seen_seconds=10, seen_events=3))
    store.append([entry(str(at), at=at) for at in (1.0, 90.0, 95.0, 96.0, 97.0, 98.0)])
    store.sweep(100.0)
    given = ["1.0", "90.0", "95.0", "96.0", "97.0", "98.0"]
    assert store.append([entry(identity, at=100.0) for identity in given]) == [True, True, True, False, False, False]


def test_rows_are_forgotten_by_age_and_beyond_the_most(backend: Backend) -> None:
    store = backend.open(Limits(row_seconds=10, rows=2))
    for version, at in enumerate((80.0, 91.0, 92.0, 93.0)):
        store.commit("s", version, Change(rows={str(at): b"x"}, at=at))
    store.sweep(100.0)
    assert sorted(store.rows("s", ["80.0", "91.0", "92.0", "93.0"])) == ["92.0", "93.0"]


def test_a_dropped_stream_is_gone_and_others_are_not(backend: Backend) -> None:
    store = backend.open()
    store.append([entry("b", "kept")])
    store.commit("churn/rf", 0, Change(put={"one": b"1"}, rows={"r": b""}))
    assert store.drop("churn/rf", 1)
    assert [stream.name for stream in store.streams()] == ["kept"]
    assert store.read("churn/rf", ["one"]) == (0, {})
    assert store.rows("churn/rf", ["r"]) == {}


def test_a_stream_that_changed_or_has_events_waiting_is_not_dropped(backend: Backend) -> None:
    store = backend.open()
    store.commit("churn/rf", 0, Change(put={"one": b"1"}))
    assert not store.drop("churn/rf", 0)
    store.append([entry("a")])
    assert not store.drop("churn/rf", 1)
    assert store.read("churn/rf", ["one"]) == (1, {"one": b"1"})
    assert len(store.pending("churn/rf")) == 1


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(
        StoreError, match=r"^the monitor's file '.*monitor.db' is damaged \(.*\)\. Move it away together"
    ):
        SQLiteStore(path, Limits())
    path.unlink()
    SQLiteStore(path, Limits()).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match=r"has schema version 9, this Trimtab knows 1\. Use the Trimtab that wrote it"):
        SQLiteStore(path, Limits())


def test_a_file_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^the monitor's file '.*' cannot be made: "):
        SQLiteStore(tmp_path / "file" / "monitor.db", Limits())


def test_a_full_disk_keeps_nothing_of_the_list_and_goes_on_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "monitor.db", Limits())
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(
        StoreFull, match=r"^no room to write '.*monitor.db': .*\. Free disk space; nothing of this request"
    ):
        store.append([entry("a"), entry("b", data=bytes(100_000))])
    assert store.pending("churn/rf") == []
    assert store.append([entry("a")]) == [True]
    store.close()


def test_a_redis_that_is_full_or_away_says_so(redis_url: str) -> None:
    import redis

    with pytest.raises(
        StoreError, match=r"^the monitor's redis at redis://127.0.0.1:1/0 cannot be used: .*Check that it"
    ):
        RedisStore("redis://:secret@127.0.0.1:1/0", Limits())
    store = RedisStore(redis_url, Limits(), "{full}:")
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreFull, match=r"^redis takes no more: .*nothing of this request was kept$"):
            store.append([entry("a")])
    finally:
        client.config_set("maxmemory", "0")
        client.close()
    assert store.append([entry("a")]) == [True]
    store.close()


def test_a_redis_that_may_lose_what_it_acknowledged_is_warned_about(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    client = redis.Redis.from_url(redis_url)
    client.config_set("appendfsync", "everysec")
    try:
        RedisStore(redis_url, Limits()).close()
    finally:
        client.config_set("appendfsync", "always")
        client.close()
    assert "redis acknowledges what a crash may lose (appendonly yes, appendfsync everysec)" in caplog.text


def test_an_address_of_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match="the monitor's store: found 'mysql://x', allowed: sqlite:///path/to/file, redis://"
    ):
        open_store("mysql://x")
    open_store(f"sqlite://{tmp_path}/with%20space.db").close()
    assert (tmp_path / "with space.db").exists()
