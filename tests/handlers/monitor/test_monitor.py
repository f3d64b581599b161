"""What a monitor makes of events, in virtual time, over all stores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.handlers.monitor.conftest import Backend
from tests.handlers.monitor.world import NAME, NOON, REFERENCE, World

from trimtab.errors import EventError, NotFound, PermanentError, StoreError, StoreFull, TemporaryError
from trimtab.events import Envelope, make
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.stores import Entry
from trimtab.handlers.monitor.stores.sqlite import SQLiteStore
from trimtab.handlers.records import Inference, encode, to_event
from trimtab.sketches import CategoricalReference, NumericReference, Reference
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.sketch import Sketch, priorities
from trimtab.sketches.summary import summary

HOUR = 3600.0


@pytest.fixture
def world(backend: Backend, tmp_path: Path) -> World:
    return World(backend.open, tmp_path / "log of rows")


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[World]:
    """A world on SQLite alone, for what does not depend on the store."""
    opened: list[SQLiteStore] = []

    def open_store(limits: Any) -> SQLiteStore:
        opened.append(SQLiteStore(tmp_path / "monitor.db", limits))
        return opened[-1]

    yield World(open_store, tmp_path / "log")
    for store in opened:
        store.close()


def rows(monitor: Monitor, name: str = NAME) -> list[int]:
    return [window.rows for window in monitor.windows(name)]


def logged(monitor: Monitor, name: str = NAME) -> list[str]:
    table = monitor.log.read("inference", name)
    return sorted(map(str, table.column("_id").to_pylist())) if table.num_rows else []


def test_events_become_a_window_with_a_sketch_and_rows_in_the_log(world: World) -> None:
    monitor = world.monitor()
    assert monitor.accept(world.event(x=[1.0, -2.0, None], errors=2, sample=0.5))
    assert monitor.accept(world.event(x=[0.25]))
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    assert (window.rows, window.events, window.errors, window.sample, window.late) == (4, 2, 2, 0.5, 0)
    assert (window.start, window.end) == (NOON, NOON + HOUR)
    assert (window.latency_us, window.slowest_us) == (4003, 1002)
    sketch = monitor.sketch(window)
    column = sketch.columns["x"]
    assert isinstance(column, NumericSketch)
    assert (column.n, column.missing, column.min, column.max) == (3, 1, -2.0, 1.0)
    prediction = sketch.columns["prediction"]
    assert isinstance(prediction, CategoricalSketch)
    assert prediction.counts.tolist() == [2, 2]
    table = monitor.log.read("inference", NAME).to_pylist()
    assert [row["_id"] for row in table] == ["1-0", "1-1", "1-2", "2-0"]
    assert [row["x"] for row in table] == [1.0, -2.0, None, 0.25]
    assert {row["color"] for row in table} == {"red"}
    assert table[0]["_prediction"] == "1"
    assert table[0]["_time"].timestamp() == world.now


def test_the_sketch_of_a_window_is_that_of_one_pass_over_its_rows(world: World) -> None:
    monitor = world.monitor(flush_rows=40)
    given = [np.random.default_rng(number).normal(size=7).tolist() for number in range(30)]
    for number, x in enumerate(given):
        monitor.accept(world.event(x=x, id=f"e{number}"))
        if number % 5 == 0:
            monitor.tick()
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    found, reference = monitor.sketch(window), monitor.reference(window)
    whole = Sketch.empty(reference, sample=monitor.settings.sample)
    for number, x in enumerate(given):
        table = {"x": x, "color": ["red"] * 7, "prediction": [int(value > 0) for value in x]}
        whole.update(table, priorities=priorities(f"/functions/sort e{number}", 7))
    assert (found.rows, found.reservoir.rows) == (whole.rows, whole.reservoir.rows)
    one, two = found.columns["x"], whole.columns["x"]
    assert isinstance(one, NumericSketch)
    assert isinstance(two, NumericSketch)
    assert one.bins.tolist() == two.bins.tolist()
    assert one.mean == pytest.approx(two.mean)


def test_an_event_counts_once_however_often_it_comes_also_after_a_restart(world: World) -> None:
    event = world.event(id="same")
    assert world.monitor().accept(event)
    monitor = world.monitor()
    assert not monitor.accept(event)
    monitor.tick(flush=True)
    assert not world.monitor().accept(event)
    monitor.tick(flush=True)
    assert rows(monitor) == [3]
    assert len(logged(monitor)) == 3


def test_a_window_closes_when_its_time_is_over_without_any_further_event(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.event())
    world.now = NOON + HOUR + 59
    monitor.tick()
    assert monitor.closed_windows(NAME) == []
    world.now = NOON + HOUR + 60
    monitor.tick()
    (window,) = monitor.closed_windows(NAME)
    assert (window.rows, window.reason, window.closed, window.closing) == (3, "age", world.now, 1)
    assert monitor.closed_windows(NAME, since=1) == []


def test_a_window_closes_when_it_has_enough_rows_and_the_next_one_opens(world: World) -> None:
    monitor = world.monitor(window_rows=7)
    for _ in range(5):
        monitor.accept(world.event(3))
    monitor.tick(flush=True)
    assert rows(monitor) == [9, 6]
    (window,) = monitor.closed_windows(NAME)
    assert (window.number, window.reason) == (1, "rows")
    assert monitor.sketch(window).rows == 9
    world.now += 2 * HOUR
    monitor.tick()
    assert [found.closing for found in monitor.closed_windows(NAME)] == [1, 2]


def test_the_journal_waits_for_rows_or_age_and_no_longer(world: World) -> None:
    monitor = world.monitor(flush_rows=10, flush_seconds=30.0)
    monitor.accept(world.event(4))
    monitor.tick()
    assert monitor.endpoints()[0].waiting.rows == 4
    assert rows(monitor) == []
    monitor.accept(world.event(6))
    monitor.tick()
    assert (monitor.endpoints()[0].waiting.rows, rows(monitor)) == (0, [10])
    monitor.accept(world.event(1))
    world.now += 29
    monitor.tick()
    assert rows(monitor) == [10]
    world.now += 1
    monitor.tick()
    assert rows(monitor) == [11]


def test_late_rows_count_in_the_open_window_and_are_counted_as_late(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.event(2))
    world.now = NOON + HOUR + 60
    monitor.tick()
    monitor.accept(world.event(5, at=NOON + 100))
    monitor.tick(flush=True)
    first, second = monitor.windows(NAME)
    assert (first.rows, first.late, first.closing) == (2, 0, 1)
    assert (second.rows, second.late, second.start) == (5, 5, NOON + HOUR)
    assert len(list(world.folder.glob("inference/*/*/hour=12/*.parquet"))) == 2  # the log keeps them at their own hour


def test_rows_that_come_within_the_lateness_are_in_time(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.event(2))
    world.now = NOON + HOUR + 30
    monitor.accept(world.event(3, at=NOON + HOUR - 1))
    monitor.tick(flush=True)
    assert [(window.rows, window.late) for window in monitor.windows(NAME)] == [(5, 0)]


def test_rows_that_had_to_wait_get_the_windows_of_their_own_time(world: World) -> None:
    monitor = world.monitor()
    for hour in range(5, 0, -1):
        monitor.accept(world.event(hour, at=world.now - hour * HOUR))
    monitor.tick(flush=True)
    assert [(window.rows, window.late, window.start) for window in monitor.windows(NAME)] == [
        (hour, 0, NOON - hour * HOUR) for hour in range(5, 0, -1)
    ]
    world.now += 59
    monitor.tick()
    assert monitor.closed_windows(NAME) == []
    world.now += 1
    monitor.tick()
    assert [window.rows for window in monitor.closed_windows(NAME)] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("at", [0.0, -1e300, 1e300, NOON - 30 * 24 * HOUR, NOON + 24 * HOUR])
def test_impossible_times_count_as_the_arrival(quick: World, at: float) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(at=at))
    monitor.tick(flush=True)
    assert [window.start for window in monitor.windows(NAME)] == [NOON]
    assert monitor.log.read("inference", NAME).num_rows == 3


def test_a_new_version_of_the_model_has_windows_of_its_own(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.event(2))
    monitor.accept(world.event(3, model_version="2", model="store://models/p/rf#0:latest@2"))
    monitor.accept(world.event(4))
    monitor.tick(flush=True)
    assert [(window.model_version, window.rows) for window in monitor.windows(NAME)] == [("1", 6), ("2", 3)]


def test_two_replicas_share_the_work_and_count_everything_once(world: World) -> None:
    one, two = world.monitor(flush_rows=10), world.monitor(flush_rows=10)
    for number in range(40):
        (one if number % 2 else two).accept(world.event(2, id=str(number)))
        (one if number % 3 else two).accept(world.event(2, id=str(number)))
        one.tick()
        two.tick()
    two.tick(flush=True)
    assert sum(rows(one)) == 80
    assert len(logged(one)) == len(set(logged(one))) == 80


@pytest.mark.parametrize("crash", ["claim", "write", "commit"])
def test_a_replica_that_dies_in_the_middle_is_continued_by_another(
    world: World, crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    dead = world.monitor()
    dead.accept(world.event(3))
    worker = dead._worker
    if crash == "claim":
        monkeypatch.setattr(worker, "_fold", lambda *_: (_ for _ in ()).throw(Died))
    elif crash == "write":
        monkeypatch.setattr(worker, "_write", lambda *_: (_ for _ in ()).throw(Died))
    else:
        write = worker._write

        def write_and_die(*arguments: Any) -> None:
            write(*arguments)
            raise Died

        monkeypatch.setattr(worker, "_write", write_and_die)
    with pytest.raises(Died):
        dead.tick(flush=True)
    monitor = world.monitor()
    monitor.accept(world.event(4))
    monitor.tick(flush=True)
    assert rows(monitor) == []  # whoever claimed may be slow only
    world.now += 30
    monitor.tick(flush=True)
    assert rows(monitor) == [7]
    assert len(logged(monitor)) == 7


def test_a_slow_replica_cannot_count_what_another_has_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, other = world.monitor(), world.monitor()
    slow.accept(world.event(3))
    write = slow._worker._write

    def write_late(*arguments: Any) -> None:
        world.now += 31
        other.tick(flush=True)
        write(*arguments)

    monkeypatch.setattr(slow._worker, "_write", write_late)
    slow.tick(flush=True)
    assert rows(slow) == [3]
    assert len(logged(slow)) == 3


def test_a_steady_stream_is_not_worked_off_in_ever_smaller_pieces(
    quick: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = quick.monitor(flush_rows=6)
    monitor.accept(quick.event(6))
    pending = monitor._store.pending

    def pending_and_more(*arguments: Any, **options: Any) -> Any:
        monitor.accept(quick.event(1))
        return pending(*arguments, **options)

    monkeypatch.setattr(monitor._store, "pending", pending_and_more)
    monitor.tick()
    assert len(monitor.log.files("inference", NAME)) == 1
    assert monitor.endpoints()[0].waiting.events > 0


# Labels


def test_labels_before_and_after_their_rows_give_the_performance_of_the_window(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.label(["2-0", "2-1"], [0, 1]))
    monitor.accept(world.event(x=[1.0, -1.0, 1.0, -1.0]))
    monitor.tick(flush=True)
    monitor.accept(world.label(["2-2"], [1]))
    monitor.tick(flush=True)
    monitor.accept(world.label(["2-2", "2-2", "2-3", "another"], [1, 0, 0, 1]))
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    performance = monitor.performance(window)
    assert performance.task == "classification"
    assert (performance.joined, performance.correct) == (4, 2)
    assert performance.confusion == {"0": {"0": 1, "1": 1}, "1": {"0": 1, "1": 1}}
    assert performance.metrics()["accuracy"] == 0.5
    labels = monitor.labels(window).columns["label"]
    assert isinstance(labels, CategoricalSketch)
    assert labels.counts.tolist() == [2, 2]
    counts = monitor.endpoint(NAME).labels
    assert (counts.received, counts.joined, counts.repeated, counts.conflicting, counts.homeless) == (7, 4, 1, 1, 0)
    assert [row["_label"] for row in monitor.log.read("label", NAME).to_pylist()] == ["0", "1", "1", "1", "0", "0", "1"]


def test_labels_that_come_after_the_window_was_closed_still_count_for_it(world: World) -> None:
    monitor = world.monitor()
    monitor.accept(world.event(x=[1.0]))
    world.now += 5 * HOUR
    monitor.tick(flush=True)
    monitor.accept(world.label(["1-0"], [1]))
    monitor.tick(flush=True)
    (window,) = monitor.closed_windows(NAME)
    assert monitor.performance(window).correct == 1


def test_a_regression_has_the_errors_of_a_regression(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(x=[1.0, 2.0, 3.0, 4.0], predictions=[1.5, 2.5, 3.5, None]))
    monitor.accept(quick.label(["1-0", "1-1", "1-2", "1-3"], [1.5, 1.5, 5.5, 1.0]))
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    performance = monitor.performance(window)
    assert (performance.task, performance.joined, performance.unusable) == ("regression", 3, 1)
    assert performance.metrics() == {
        "rmse": pytest.approx((5 / 3) ** 0.5),
        "mae": 1.0,
        "bias": pytest.approx(-1 / 3),
        "r2": pytest.approx(1 - 5 / (8 + 8 / 3)),
    }


def test_an_id_that_comes_again_keeps_its_first_row(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(x=[1.0], ids=["same"]))
    monitor.accept(quick.event(x=[-1.0], ids=["same"]))
    monitor.accept(quick.label(["same"], [1]))
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    assert monitor.performance(window).correct == 1
    assert monitor.endpoint(NAME).repeated_ids == 1
    assert window.rows == 2


# References and columns


def test_a_model_without_known_training_data_is_watched_without_bins(quick: World) -> None:
    monitor = quick.monitor()
    monitor._worker._lookup = lambda model: (None, f"no {model}")
    event = quick.event(x=[1.0, 2.0], predictions=[0.5, 1.5])
    monitor.accept(event)
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    reference = monitor.reference(window)
    assert reference.rows == 0
    assert isinstance(reference["x"], NumericReference)
    assert isinstance(reference["color"], CategoricalReference)
    column = monitor.sketch(window).columns["x"]
    assert isinstance(column, NumericSketch)
    assert (column.n, column.mean, column.over) == (2, 1.5, 2)
    colors = monitor.sketch(window).columns["color"]
    assert isinstance(colors, CategoricalSketch)
    assert colors.kept == {"red": 2}
    assert monitor.endpoint(NAME).unreferenced == "no store://models/p/rf#0:latest@1"


def test_columns_that_a_record_lacks_are_missing_and_counted_and_others_are_passed_over(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(2, columns=["x", "size"], x=[1.0, 2.0]))
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    assert window.absent == {"color": 2}
    assert monitor.sketch(window).columns["color"].missing == 2
    assert monitor.sketch(window).columns["x"].rows == 2


def test_probabilities_and_classes_have_columns(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(
        quick.event(
            x=[1.0, 2.0], classes=["no", "yes"], probabilities=[[0.25, 0.75], [1.0, 0.0]], predictions=["yes", "no"]
        )
    )
    monitor.tick(flush=True)
    (window,) = monitor.windows(NAME)
    sketch = monitor.sketch(window)
    assert [column.name for column in sketch.reference.columns if column.role == "probability"] == [
        "probability:no",
        "probability:yes",
    ]
    column = sketch.columns["probability:yes"]
    assert isinstance(column, NumericSketch)
    assert (column.n, column.inner[48], column.inner[0], len(column.inner)) == (2, 1, 1, 64)
    assert monitor.log.read("inference", NAME).column("_probabilities").to_pylist() == [[0.25, 0.75], [1.0, 0.0]]


def test_with_very_many_classes_the_highest_probability_stands_for_all(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(x=[1.0], classes=list(range(50)), probabilities=[[0.02] * 49 + [0.5]], predictions=[49]))
    monitor.tick(flush=True)
    sketch = monitor.sketch(monitor.windows(NAME)[0])
    column = sketch.columns["confidence"]
    assert isinstance(column, NumericSketch)
    assert column.max == 0.5


def test_a_model_of_several_outputs_has_a_column_for_each(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event(x=[1.0, 2.0], predictions=[[1.5, "a"], [2.5, "b"]]))
    monitor.tick(flush=True)
    sketch = monitor.sketch(monitor.windows(NAME)[0])
    assert [column.name for column in sketch.reference.columns if column.role == "prediction"] == [
        "prediction.0",
        "prediction.1",
    ]
    assert sketch.columns["prediction.0"].rows == 2
    assert monitor.log.read("inference", NAME).column("_prediction").to_pylist() == ["[1.5, 'a']", "[2.5, 'b']"]


def test_the_reference_of_a_window_still_has_the_training_rows(quick: World) -> None:
    monitor = quick.monitor()
    monitor.accept(quick.event())
    with pytest.raises(NotFound, match=r"^sort/rf has no reference yet: its events are not worked off"):
        monitor.reference(NAME)
    monitor.tick(flush=True)
    reference = monitor.reference(NAME)
    assert reference.rows == 2000
    assert reference["x"] == REFERENCE["x"]
    own = reference.sketch()
    assert own.columns["prediction"].rows == 0
    assert len(own.sample()["x"]) == 50
    assert Reference.from_json(reference.to_json()).digest == reference.digest


def test_several_windows_are_added_up(quick: World) -> None:
    monitor = quick.monitor(window_rows=3)
    for _ in range(4):
        monitor.accept(quick.event(3))
    monitor.tick(flush=True)
    found = monitor.last(NAME, 3)
    assert [window.number for window in found] == [2, 3, 4]
    assert monitor.merge(found).rows == 9


# Bounds


def test_old_windows_go_and_say_so(world: World) -> None:
    monitor = world.monitor(window_rows=3, keep_windows=2)
    monitor.accept(world.event(3))
    monitor.tick(flush=True)
    (first,) = monitor.closed_windows(NAME)
    for _ in range(3):
        monitor.accept(world.event(3))
    monitor.tick(flush=True)
    assert [window.number for window in monitor.windows(NAME)] == [3, 4]
    with pytest.raises(NotFound, match=r"^window 1 of sort/rf is not kept any more$"):
        monitor.sketch(first)
    with pytest.raises(NotFound, match=r"^sort/rf has no window 1; there are 3 to 4$"):
        monitor.window(NAME, 1)
    monitor.accept(world.label(["1-0"], [1]))
    monitor.tick(flush=True)
    assert monitor.endpoint(NAME).labels.homeless == 1


def test_the_state_of_an_endpoint_does_not_grow_with_its_traffic(quick: World) -> None:
    monitor = quick.monitor(window_rows=200, keep_windows=3, label_rows=500, seen_events=100, sample=50)
    sizes = []
    for _ in range(6):
        for _ in range(20):
            monitor.accept(quick.event(50))
        quick.now += 61
        monitor.tick(flush=True)
        documents = monitor._store.keys(NAME, "")
        _, found = monitor._store.read(NAME, documents)
        sizes.append((len(documents), sum(map(len, found.values()))))
    assert sizes[-1][0] == sizes[1][0]
    assert sizes[-1][1] < sizes[1][1] * 1.1
    quick.now += 61
    monitor.tick()
    assert len(monitor._store.rows(NAME, [f"{event}-{row}" for event in range(200) for row in range(50)])) <= 1000


def test_one_endpoint_too_many_is_refused_and_the_others_go_on(world: World) -> None:
    monitor = world.monitor(endpoints=2)
    for name in ("a", "b"):
        monitor.accept(world.event(endpoint=name))
    with pytest.raises(
        PermanentError, match=r"^endpoint 'c' is one more than the 2 that this monitor watches; raise"
    ) as caught:
        monitor.accept(world.event(endpoint="c"))
    assert caught.value.status == 403
    assert monitor.accept(world.event(endpoint="a"))


def test_an_endpoint_without_events_is_forgotten_in_the_end(world: World) -> None:
    monitor = world.monitor(endpoint_seconds=10 * HOUR)
    monitor.accept(world.event())
    monitor.tick(flush=True)
    world.now += 9 * HOUR
    monitor.tick()
    assert len(monitor.endpoints()) == 1
    world.now += 2 * HOUR
    monitor.tick()
    assert monitor.endpoints() == []
    with pytest.raises(NotFound, match=r"^there is no endpoint 'sort/rf'; there are none$"):
        monitor.windows(NAME)


def test_a_full_journal_sends_events_back_and_loses_none(world: World) -> None:
    monitor = world.monitor(journal_bytes=2000)
    accepted = 0
    while monitor._intake._bytes.get(NAME, 0) < 1000:
        assert monitor.accept(world.event(id=str(accepted)))
        accepted += 1
    with pytest.raises(
        TemporaryError, match=r"^\d+ bytes wait in the monitor's journal, \d+ of them for 'sort/rf'; al"
    ) as caught:
        monitor.accept(world.event(id="50"))
    assert monitor.accept(world.event(endpoint="other", id="51"))
    assert caught.value.delay == 10
    monitor.tick(flush=True)
    assert rows(monitor) == [3 * accepted]
    assert monitor.accept(world.event(id="50"))


def test_a_reference_that_cannot_be_read_now_makes_events_wait(quick: World, caplog: pytest.LogCaptureFixture) -> None:
    monitor = quick.monitor()

    def away(model: str) -> Any:
        raise StoreError("the artifacts are away")

    monitor._worker._lookup = away
    monitor.accept(quick.event())
    monitor.tick(flush=True)
    assert rows(monitor) == []
    assert "the events of sort/rf wait: the artifacts are away" in caplog.text
    monitor._worker._lookup = lambda model: (REFERENCE, "")
    monitor.tick(flush=True)
    assert rows(monitor) == [3]


def test_a_log_that_cannot_be_written_makes_events_wait(quick: World, caplog: pytest.LogCaptureFixture) -> None:
    monitor = quick.monitor()
    quick.folder.write_text("a file where the folder should be")
    monitor.accept(quick.event())
    monitor.tick(flush=True)
    assert rows(monitor) == []
    assert "the events of sort/rf wait: the log cannot write" in caplog.text
    quick.folder.unlink()
    monitor.tick(flush=True)
    assert (rows(monitor), len(logged(monitor))) == ([3], 3)


def test_what_is_no_record_is_refused(quick: World) -> None:
    monitor = quick.monitor()
    with pytest.raises(EventError, match="type: found 'other'"):
        monitor.accept(make("other", "/s"))
    with pytest.raises(EventError, match=r"the data of a dev\.trimtab\.inference event"):
        monitor.accept(make("dev.trimtab.inference", "/s", {"x": 1}))
    event = quick.event()
    with pytest.raises(EventError, match="dataschema: found 'urn:trimtab:inference:9'"):
        monitor.accept(Envelope({**event.attributes, "dataschema": "urn:trimtab:inference:9"}, event.data))
    for name in ("x" * 201, "ä" * 40):
        with pytest.raises(EventError, match=r"^endpoint: found '.*', allowed: 1 to 200 bytes, quoted as in a URL$"):
            monitor.accept(quick.event(endpoint=name))
    assert monitor.endpoints() == []


def test_a_wild_record_is_sketched_and_logged_all_the_same(quick: World) -> None:
    monitor = quick.monitor()
    wild = [1, "text", [1, 2], {"k": 1}, None, True, 1e308, float("inf"), 10**30, [3, 4]]
    monitor.accept(quick.event(x=wild, predictions=wild))
    monitor.accept(quick.event(x=[[1, 2], [3, 4]], predictions=[[1, 2], [3, 4]]))
    monitor.accept(quick.event(0, x=None, columns=[], inputs=[]))
    monitor.tick(flush=True)
    assert sum(rows(monitor)) == 12
    assert monitor.log.read("inference", NAME).num_rows == 12


wild_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking takes minutes
def test_no_record_that_is_accepted_can_stop_its_endpoint(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("wild")
    world = World(lambda limits: SQLiteStore(folder / "monitor.db", limits), folder)
    monitor = world.monitor(window_rows=4)
    if data.draw(st.booleans()):
        monitor._worker._lookup = lambda model: (None, "none")
    total = 0
    for number in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.integers(0, 3))
        column = st.lists(wild_values, min_size=size, max_size=size)
        names = data.draw(st.lists(st.sampled_from(["x", "color", "_id", "other"]), max_size=3, unique=True))
        record = Inference(
            endpoint=NAME,
            model=data.draw(st.sampled_from(["m", "store://nonsense"])),
            model_version=data.draw(st.sampled_from(["1", "2"])),
            columns=names,
            inputs=[data.draw(column) for _ in names],
            predictions=data.draw(column),
            probabilities=data.draw(
                st.none() | st.lists(st.lists(st.floats(0, 1), max_size=3), min_size=size, max_size=size)
            ),
            classes=data.draw(st.none() | st.lists(wild_values, max_size=3)),
            ids=[f"{number}-{row}" for row in range(size)],
            requests=["r"] * size,
            latency_us=data.draw(st.lists(st.integers(-(10**25), 10**25), min_size=size, max_size=size)),
            times=data.draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=size, max_size=size)),
            errors=data.draw(st.integers(-(10**25), 10**25)),
        )
        monitor.accept(Envelope({**to_event(record).attributes, "id": str(number)}, encode(record)))
        labels = data.draw(column)
        monitor.accept(world.label(record.ids, labels))
        total += size
    monitor.tick(flush=True)
    assert monitor.endpoints()[0].waiting.events == 0
    assert sum(rows(monitor)) == total
    assert len(logged(monitor)) == total
    for window in monitor.windows(NAME):
        msgspec.json.encode(summary(monitor.sketch(window)))
        monitor.performance(window).metrics()
    world.now += 10 * HOUR
    monitor.compact()
    assert len(logged(monitor)) == total
    monitor.close()


def test_versions_of_a_model_that_no_window_was_made_with_are_forgotten(quick: World) -> None:
    monitor = quick.monitor(window_rows=1, keep_windows=3)

    def lookup(model: str) -> Any:
        return Reference.fit({"x": np.arange(50.0) + int(model), "color": ["red"] * 50}), ""

    monitor._worker._lookup = lookup
    for version in [0, *range(30)]:
        monitor.accept(quick.event(1, model=str(version), model_version=str(version)))
    monitor.tick(flush=True)
    assert len(monitor.endpoint(NAME).references) == 20
    assert len(monitor._store.keys(NAME, "reference/")) == 20
    assert [monitor.reference(window)["x"] for window in monitor.windows(NAME)] == [
        lookup(str(version))[0]["x"] for version in (27, 28, 29)
    ]
    assert monitor.accept(quick.event(1, model="0", model_version="0"))
    monitor.tick(flush=True)
    assert monitor.windows(NAME)[-1].model == "0"
    for version in [*range(100, 125), 100]:  # forgotten and needed again in one piece of the journal
        monitor.accept(quick.event(1, model=str(version), model_version=str(version)))
    monitor.tick(flush=True)
    assert monitor.reference(monitor.windows(NAME)[-1])["x"] == lookup("100")[0]["x"]
    assert logged(monitor)


def test_dates_are_timestamps_in_the_log(quick: World) -> None:
    monitor = quick.monitor()
    days = pd.DataFrame({"x": pd.date_range("2026-01-01", periods=40)})
    monitor._worker._lookup = lambda model: (Reference.fit(days), "")
    monitor.accept(quick.event(x=["2026-01-03", "2026-01-03T12:00:00+01:00", None, "someday", 10**30]))
    monitor.tick(flush=True)
    column = monitor.log.read("inference", NAME).column("x").to_pylist()
    assert [value and value.isoformat() for value in column] == [
        "2026-01-03T00:00:00+00:00", "2026-01-03T11:00:00+00:00", None, None, None
    ]  # fmt: skip
    found = monitor.sketch(monitor.windows(NAME)[0]).columns["x"]
    assert isinstance(found, NumericSketch)
    assert (found.n, found.missing, found.invalid, found.over) == (3, 1, 1, 1)


def test_an_event_that_cannot_be_read_any_more_does_not_stop_the_others(
    quick: World, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = quick.monitor()
    monitor._store.append([Entry(stream=NAME, identity="/s old", rows=1, at=quick.now, data=b'{"version": 0}')])
    monitor.accept(quick.event(2))
    monitor.tick(flush=True)
    assert rows(monitor) == [2]
    assert "event '/s old' of sort/rf cannot be read any more and is left out: " in caplog.text


def test_callers_at_once_share_writes_and_each_learns_what_became_of_its_own(quick: World) -> None:
    monitor = quick.monitor()
    events = [quick.event(1, id=str(number % 150)) for number in range(300)]
    with ThreadPoolExecutor(20) as pool:
        added = list(pool.map(monitor.accept, events))
    assert sum(added) == 150
    monitor.tick(flush=True)
    assert sum(rows(monitor)) == 150


def test_when_a_write_fails_every_caller_that_shared_it_is_told(quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = quick.monitor()

    def full(entries: Any) -> Any:
        raise StoreFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(monitor._store, "append", full)
        events = [quick.event(1, id=str(number)) for number in range(20)]
        with ThreadPoolExecutor(10) as pool:
            futures = [pool.submit(monitor.accept, event) for event in events]
        assert all(isinstance(future.exception(), StoreFull) for future in futures)
    assert all(monitor.accept(event) for event in events)
