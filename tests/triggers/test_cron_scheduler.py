"""Cron at work, in virtual time: each tick once, whatever is restarted, killed, paused, or done to the clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import NotFound, SpecError, StoreError, StoreFull
from trimtab.events import Envelope
from trimtab.spec import CronTrigger
from trimtab.triggers.cron import CronScheduler, Schedule
from trimtab.triggers.cron.memory import MemoryQueue, VirtualClock
from trimtab.triggers.cron.store import KEPT

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()


def written(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds, UTC).isoformat().replace("+00:00", "Z")


class World:
    """A machine with a queue, a clock and a file; cron is started, stopped and killed on it."""

    def __init__(self, path: Path, queue: MemoryQueue | None = None) -> None:
        self.path = path
        self.queue = queue or MemoryQueue()
        self.clock = VirtualClock(NOON)
        self.loop = asyncio.Runner()
        self.do = self.loop.run
        self.cron = self.start()

    def start(self) -> CronScheduler:
        self.cron = CronScheduler(self.queue, self.path, self.clock)
        return self.cron

    def restart(self, after: float = 0.0) -> None:
        self.cron.close()
        self.clock.now += after
        self.start()

    def close(self) -> None:
        self.cron.close()
        self.loop.close()

    def set(self, schedule: str = "@every 10s", name: str = "t", **more: Any) -> None:
        self.do(self.cron.set_triggers("f", [CronTrigger(name=name, schedule=schedule, **more)]))

    def run(self, seconds: float) -> None:
        """Let cron run as its loop does: wake when it said so."""
        end = self.clock.now + seconds
        while (then := self.do(self.cron.step())) <= end:
            self.clock.now = max(then, self.clock.now)
        self.clock.now = end

    def jump(self, seconds: float) -> None:
        """Set the clock, and let cron look at it."""
        self.clock.now += seconds
        self.do(self.cron.step())

    def fired(self) -> list[float]:
        """When the events were due that are in the queue, in seconds after noon."""
        return [
            datetime.fromisoformat(entry.envelope.attributes["time"]).timestamp() - NOON for entry in self.queue.entries
        ]

    def history(self, limit: int = 1000) -> list[tuple[float, str]]:
        """Due times and states, the earliest first."""
        found = self.do(self.cron.firings("f", "t", limit=limit))
        return [(firing.due - NOON, firing.state) for firing in reversed(found)]


Worlds = Callable[[MemoryQueue], World]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    with contextlib.ExitStack() as stack:

        def make(queue: MemoryQueue) -> World:
            made = World(tmp_path / "home" / "cron.db", queue)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds(MemoryQueue())


def test_every_tick_is_fired_once_with_its_own_id_and_time(world: World) -> None:
    world.set("*/15 * * * *", data={"a": 1})
    world.run(3600)
    assert world.queue.ids() == [f"f/t/{written(quarter * 900)}" for quarter in (1, 2, 3, 4)]
    first = world.queue.entries[0]
    assert first.subscription == "f/t"
    assert first.envelope == Envelope(
        {
            "specversion": "1.0",
            "id": "f/t/2026-03-10T12:15:00Z",
            "source": "/apis/v1/namespaces/default/pingsources/f-t",
            "type": "dev.knative.sources.ping",
            "time": "2026-03-10T12:15:00Z",
            "datacontenttype": "application/json",
        },
        b'{"a":1}',
    )


def test_the_source_names_the_namespace(world: World) -> None:
    trigger = CronTrigger(name="t", schedule="@every 10s")
    world.do(world.cron.set_triggers("f", [trigger], namespace="prod"))
    world.restart()
    world.run(10)
    assert world.queue.entries[0].envelope.source == "/apis/v1/namespaces/prod/pingsources/f-t"


def test_it_sleeps_until_the_next_tick_and_looks_at_the_clock_in_between(world: World) -> None:
    assert world.do(world.cron.step()) == NOON + 10
    world.set("@hourly")
    assert world.do(world.cron.step()) == NOON + 10
    world.set("@every 4s")
    assert world.do(world.cron.step()) == NOON + 4


def test_woken_a_little_early_it_waits_for_the_tick(world: World) -> None:
    world.set()
    world.jump(9.999)
    assert world.fired() == []
    assert world.do(world.cron.step()) == NOON + 10


# Places and restarts.


def test_a_period_is_counted_from_when_the_trigger_was_first_set(world: World) -> None:
    world.clock.now += 3.7
    world.set()
    world.run(25)
    assert world.fired() == [13, 23]
    world.restart(after=2)
    world.run(20)
    assert world.fired() == [13, 23, 33, 43]


def test_setting_an_unchanged_schedule_keeps_its_place(world: World) -> None:
    world.set()
    world.run(14)
    world.set(data="new", catch_up="all")
    world.run(10)
    assert world.fired() == [10, 20]
    assert world.queue.entries[1].envelope.data == b'"new"'


@pytest.mark.parametrize("change", [{"schedule": "@every 20s"}, {"timezone": "Europe/Oslo"}])
def test_a_changed_schedule_begins_anew(world: World, change: dict[str, Any]) -> None:
    world.set()
    world.run(14)
    world.set(**change)
    world.run(25)
    assert world.fired() == ([10, 34] if "schedule" in change else [10, 24, 34])


def test_a_removed_trigger_is_forgotten(world: World) -> None:
    world.set()
    world.run(10)
    world.do(world.cron.set_triggers("f", []))
    world.run(60)
    assert world.fired() == [10]
    with pytest.raises(NotFound, match=r"function 'f' has no cron trigger 't' \(found: none\)"):
        world.history()
    world.set()
    assert world.history() == []


def test_functions_have_their_own_triggers(world: World) -> None:
    world.set()
    world.do(world.cron.set_triggers("g", [CronTrigger(name=name, schedule="@every 20s") for name in ("a", "b")]))
    world.run(20)
    assert sorted(world.queue.ids()) == sorted(
        [f"f/t/{written(10)}", f"f/t/{written(20)}", f"g/a/{written(20)}", f"g/b/{written(20)}"]
    )
    world.do(world.cron.set_triggers("f", []))
    assert [(state.function, state.name) for state in world.do(world.cron.triggers())] == [("g", "a"), ("g", "b")]
    with pytest.raises(NotFound, match=r"function 'g' has no cron trigger 'c' \(found: a, b\)"):
        world.cron.next("g", "c")


def test_a_bad_schedule_changes_nothing(world: World) -> None:
    world.set()
    with pytest.raises(SpecError, match="Wrong number of fields"):
        world.do(
            world.cron.set_triggers(
                "f", [CronTrigger(name="new", schedule="@daily"), CronTrigger(name="bad", schedule="* *")]
            )
        )
    world.restart()
    assert [state.name for state in world.do(world.cron.triggers())] == ["t"]


# Catching up.


@pytest.mark.parametrize(
    ("catch_up", "made_up_for"), [("none", []), ("last", [70]), ("all", [30, 40, 50, 60, 70])]
)  # fmt: skip
def test_ticks_that_were_missed_while_nothing_ran_are_made_up_for_as_told(
    world: World, catch_up: Literal["none", "last", "all"], made_up_for: list[float]
) -> None:
    world.set(catch_up=catch_up)
    world.run(25)
    world.restart(after=50)
    world.run(10)
    assert world.fired() == [10, 20, *made_up_for, 80]
    skipped = {"none": [(70.0, "skipped")], "last": [(60.0, "skipped")], "all": []}[catch_up]
    states = dict(world.history())
    assert [(due, state) for due, state in states.items() if state == "skipped"] == skipped


def test_a_short_absence_between_ticks_is_no_matter(world: World) -> None:
    world.set(catch_up="none")
    for _ in range(10):
        world.run(6)
        world.restart(after=0.5)
    assert world.fired() == [10, 20, 30, 40, 50, 60]


def test_what_was_passed_over_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.set(catch_up="none")
    with caplog.at_level(logging.WARNING, "trimtab.cron"):
        world.restart(after=35)
        world.run(0)
    detail = "missed, with all ticks since 2026-03-10T12:00:10Z, while nothing ran; catchUp is 'none'"
    (firing,) = world.do(world.cron.firings("f", "t"))
    assert (firing.id, firing.detail) == ("f/t/2026-03-10T12:00:30Z", detail)
    assert caplog.messages == [f"trigger f/t: the tick of 2026-03-10T12:00:30Z was {detail}"]


def test_catching_up_with_all_is_bounded_and_takes_the_latest(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.set("@every 1s", catch_up="all")
    with caplog.at_level(logging.WARNING, "trimtab.cron"):
        world.restart(after=7 * 86400)
        world.run(0)
    assert world.fired() == [7 * 86400 - 99 + late for late in range(100)]
    assert "with all ticks since 2026-03-10T12:00:01Z" in caplog.text


# The clock.


@pytest.mark.parametrize(("catch_up", "made_up_for"), [("none", []), ("last", [3620]), ("all", 100)])
def test_after_the_machine_slept_there_is_no_storm(
    world: World, catch_up: Literal["none", "last", "all"], made_up_for: Any
) -> None:
    world.set("@every 20s", catch_up=catch_up)
    world.run(25)
    world.jump(3610)  # to 3635: the tick of 3620 is just missed
    fired = world.fired()[1:]
    assert (len(fired) if catch_up == "all" else fired) == made_up_for
    world.run(10)
    assert world.fired()[-1] == 3640


def test_a_late_wake_up_fires_what_is_due(world: World) -> None:
    world.set("@every 1s", catch_up="none")
    world.jump(5.5)
    assert world.fired() == [1, 2, 3, 4, 5]


def test_when_the_clock_is_set_back_a_little_no_tick_comes_twice(world: World) -> None:
    world.set()
    world.run(30)
    world.jump(-25)
    world.run(40)
    assert world.fired() == [10, 20, 30, 40]


def test_when_the_clock_is_set_back_a_lot_cron_goes_on_from_there(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.set(catch_up="none")
    world.run(10_000)
    world.jump(-9_000)
    with caplog.at_level(logging.WARNING, "trimtab.cron"):
        world.run(9_020)
    assert world.fired() == [10.0 * tick for tick in range(1, 1003)]
    world.jump(-86_400 * 365)
    assert "the clock was set back to 2025-03-10T14:47:00Z: trigger f/t starts anew" in caplog.text
    before = len(world.fired())
    world.run(30)
    assert len(world.fired()) == before + 3


@given(
    st.lists(st.floats(-20_000, 20_000) | st.floats(-30, 30) | st.floats(0, 12), max_size=30),
    st.sampled_from(["@every 10s", "* * * * *"]),
)
def test_whatever_is_done_to_the_clock_no_event_comes_twice_and_none_in_storms(
    jumps: list[float], schedule: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "cron.db")
        try:
            world.set(schedule, catch_up="last")
            for jump in jumps:
                before = len(world.queue.entries)
                world.jump(jump)
                assert len(world.queue.entries) - before <= 3
            assert len(set(world.queue.ids())) == len(world.queue.ids())
        finally:
            world.close()


# Overlap.


def test_ticks_may_overlap(world: World) -> None:
    world.set(overlap="allow")
    world.run(30)
    assert world.fired() == [10, 20, 30]


def test_a_tick_is_skipped_while_an_earlier_one_is_worked_on(world: World) -> None:
    world.set(overlap="skip")
    world.run(30)
    world.queue.finish(f"f/t/{written(10)}")
    world.run(10)
    assert world.fired() == [10, 40]
    assert world.history() == [(10, "delivered"), (20, "skipped"), (30, "skipped"), (40, "pending")]
    assert world.do(world.cron.firings("f", "t"))[1].detail == "an earlier tick was still being worked on"


def test_ticks_wait_for_each_other_in_order(world: World) -> None:
    world.set(overlap="queue")
    world.run(35)
    assert world.fired() == [10]
    assert world.history() == [(10, "pending"), (20, "pending"), (30, "pending")]
    for tick, expected in [(10, [10, 20]), (20, [10, 20, 30])]:
        world.queue.finish(f"f/t/{written(tick)}")
        world.run(1)
        assert world.fired() == expected
    world.run(5)
    world.queue.finish(f"f/t/{written(30)}")
    world.run(10)
    assert world.fired() == [10, 20, 30, 40]
    assert world.history()[2:] == [(30, "delivered"), (40, "pending"), (50, "pending")]


def test_waiting_ticks_survive_a_restart(world: World) -> None:
    world.set(overlap="queue", catch_up="none")
    world.run(35)
    world.restart(after=2)
    world.queue.finish(f"f/t/{written(10)}")
    world.run(1)
    assert world.fired() == [10, 20]


def test_no_more_than_a_hundred_ticks_wait(world: World) -> None:
    world.set(overlap="queue")
    world.run(10 + 100 * 10 + 20)
    states = [state for _, state in world.history()]
    assert states == ["pending"] * 101 + ["skipped"] * 2
    assert world.do(world.cron.firings("f", "t"))[0].detail == "100 earlier ticks were still waiting"


def test_a_waiting_tick_is_put_in_at_once_when_cron_is_woken(world: World) -> None:
    world.set(overlap="queue")

    async def scenario() -> None:
        running = asyncio.ensure_future(world.cron.run())
        await world.clock.advance(25)
        world.queue.finish(f"f/t/{written(10)}")
        world.cron.wake()
        await world.clock.advance(0)
        assert world.fired() == [10, 20]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    world.do(scenario())


# Pauses.


def test_ticks_of_a_pause_are_not_made_up_for(world: World) -> None:
    world.set(catch_up="all")
    world.run(10)
    assert world.do(world.cron.pause("f", "t")).state == "paused"
    assert world.cron.next("f", "t") is None
    world.run(30)
    world.restart(after=5)
    world.run(30)
    state = world.do(world.cron.pause("f", "t", paused=False))
    assert (state.state, state.next) == ("active", NOON + 80)
    world.run(10)
    assert world.fired() == [10, 80]


def test_a_pause_outlives_a_deployment_and_a_disabled_trigger_rests(world: World) -> None:
    world.set()
    world.do(world.cron.pause("f", "t"))
    world.set(data=1)
    world.run(20)
    world.do(world.cron.pause("f", "t", paused=False))
    world.set(data=1, disabled=True)
    world.run(25)
    assert world.do(world.cron.triggers("f"))[0].state == "paused"
    world.set(data=1, catch_up="all")
    world.run(10)
    assert world.fired() == [50]


def test_resuming_what_is_not_paused_skips_nothing(world: World) -> None:
    world.set(catch_up="all")
    world.clock.now += 12
    world.do(world.cron.pause("f", "t", paused=False))
    world.run(0)
    assert world.fired() == [10]


# By hand.


def test_a_trigger_can_be_fired_by_hand(world: World) -> None:
    world.set(overlap="skip")
    world.run(12.3456)
    first, second = (world.do(world.cron.fire("f", "t")) for _ in range(2))
    assert first == "f/t/manual-2026-03-10T12:00:12.345Z"
    assert second == f"{first}-2"
    assert world.queue.ids()[1:] == [first, second]
    assert world.queue.entries[1].envelope.attributes["time"].startswith("2026-03-10T12:00:12.3456")
    world.queue.finish(first)
    detail = [(firing.state, firing.detail) for firing in world.do(world.cron.firings("f", "t"))]
    assert detail == [("pending", "fired by hand"), ("delivered", "fired by hand"), ("pending", "")]
    assert world.cron.next("f", "t") == NOON + 20


def test_a_paused_trigger_can_be_fired_by_hand(world: World) -> None:
    world.set(disabled=True)
    world.do(world.cron.fire("f", "t"))
    assert world.fired() == [0]
    with pytest.raises(NotFound, match="no cron trigger 'x'"):
        world.do(world.cron.fire("f", "x"))


# What cron tells.


def test_the_history_says_what_became_of_each_tick(world: World) -> None:
    world.set()
    world.run(35)
    world.queue.finish(f"f/t/{written(10)}", at=NOON + 11)
    world.queue.finish(f"f/t/{written(20)}", at=NOON + 25, state="dead")
    third, second, first = world.do(world.cron.firings("f", "t"))
    assert (first.state, first.attempts, first.finished) == ("delivered", 1, NOON + 11)
    assert (second.state, second.attempts, second.finished) == ("dead", 1, NOON + 25)
    assert (third.state, third.attempts, third.finished) == ("pending", 0, None)
    assert [firing.due for firing in world.do(world.cron.firings("f", "t", limit=1))] == [NOON + 30]


def test_a_trigger_says_what_was_last_and_what_is_next(world: World) -> None:
    world.set(overlap="skip")
    (state,) = world.do(world.cron.triggers())
    assert (state.next, state.last, state.outcome) == (NOON + 10, None, None)
    world.run(25)
    (state,) = world.do(world.cron.triggers())
    assert (state.next, state.last, state.outcome) == (NOON + 30, NOON + 10, "pending")
    assert state.config == CronTrigger(name="t", schedule="@every 10s", overlap="skip")


def test_the_history_is_bounded(world: World) -> None:
    world.set("@every 1s")
    world.run(KEPT + 50)
    history = world.history(limit=10_000)
    assert len(history) == KEPT
    assert history[-1][0] == KEPT + 50


def test_an_event_the_queue_has_forgotten_is_said_to_be(world: World) -> None:
    world.set()
    world.run(10)
    world.queue.entries.clear()
    (firing,) = world.do(world.cron.firings("f", "t"))
    assert (firing.state, firing.detail) == ("skipped", "the queue has no record of it any more")


# Trouble.


class FailingQueue(MemoryQueue):
    """Refuses the events of one subscription for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = ""

    async def enqueue(self, subscription: str, envelope: Envelope) -> bool:
        if subscription == self.refuses:
            raise StoreError("no room")
        return await super().enqueue(subscription, envelope)


def test_what_the_queue_refuses_is_tried_again_and_holds_up_nothing_else(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    queue = FailingQueue()
    world = worlds(queue)
    world.do(world.cron.set_triggers("f", [CronTrigger(name=name, schedule="@every 10s") for name in ("t", "u")]))
    queue.refuses = "f/t"
    world.run(15)
    assert queue.ids() == [f"f/u/{written(10)}"]
    assert "trigger f/t cannot fire and will try again: no room" in caplog.text
    queue.refuses = ""
    world.run(5)
    assert sorted(queue.ids()) == sorted(f"f/{name}/{written(due)}" for name in ("t", "u") for due in (10, 20))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cron.db"
    path.write_bytes(b"not a database, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"cron's file '.*cron\.db' is damaged .* Move it away together with"):
        CronScheduler(MemoryQueue(), path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cron's file '.*' cannot be used: .* Check its permissions and the disk"):
        CronScheduler(MemoryQueue(), tmp_path)


def test_when_the_disk_is_full_nothing_is_changed_and_cron_goes_on(world: World) -> None:
    world.set()
    connection = world.cron._store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull, match=r"no room to write '.*': .* Free disk space; cron goes on by itself"):
        world.set("@every 1s", data="x" * 100_000)
    world.run(20)
    assert world.fired() == [10, 20]
    connection.execute("PRAGMA max_page_count = 1000000")
    world.run(10)
    assert world.history() == [(10, "pending"), (20, "pending"), (30, "pending")]


def test_a_file_of_a_later_version_is_refused(world: World) -> None:
    world.cron.close()
    with sqlite3.connect(world.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="has schema version 99, this Trimtab knows 1"):
        world.start()


def test_a_trigger_that_cannot_be_read_is_named(world: World) -> None:
    world.set()
    world.cron.close()
    with sqlite3.connect(world.path) as connection:
        connection.execute("""UPDATE triggers SET config = '{"kind": "cron"}'""")
    connection.close()
    with pytest.raises(StoreError, match="holds a trigger f/t that this Trimtab cannot read"):
        world.start()


def test_a_time_zone_that_is_gone_holds_up_nothing_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    two = [
        CronTrigger(name="t", schedule="@every 10s"),
        CronTrigger(name="u", schedule="@daily", timezone="Asia/Tokyo"),
    ]
    world.do(world.cron.set_triggers("f", two))
    world.cron.close()
    with sqlite3.connect(world.path) as connection:
        connection.execute("UPDATE triggers SET config = replace(config, 'Asia/Tokyo', 'Mars/Olympus')")
    connection.close()
    world.start()
    assert [state.name for state in world.do(world.cron.triggers())] == ["t"]
    assert "trigger f/u is left out, deploy its function again: timezone: found 'Mars/Olympus'" in caplog.text


# Killed at any point.


class Killed(BaseException):
    """The process is gone."""


class DeadlyQueue(MemoryQueue):
    """Kills its caller at the nth event that is put in, before or after it is."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.kill: tuple[int, str] | None = None

    async def enqueue(self, subscription: str, envelope: Envelope) -> bool:
        call, self.calls = self.calls, self.calls + 1
        if self.kill == (call, "before"):
            raise Killed
        added = await super().enqueue(subscription, envelope)
        if self.kill == (call, "after"):
            raise Killed
        return added


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_tick_does_not_overlap_with_itself_after_a_kill(worlds: Worlds, overlap: Literal["skip", "queue"]) -> None:
    queue = DeadlyQueue()
    world = worlds(queue)
    world.set(overlap=overlap)
    queue.kill = (0, "after")
    with pytest.raises(Killed):
        world.run(15)
    world.restart(after=2)
    world.run(1)
    assert world.history() == [(10, "pending")]
    assert world.fired() == [10]


Life = tuple[float, float, tuple[int, str] | None]
"""How long nothing ran before, how long cron ran or would have, and the event at which it was killed."""

LIVES = st.lists(
    st.tuples(
        st.floats(0, 90),
        st.floats(0, 60),
        st.none() | st.tuples(st.integers(0, 4), st.sampled_from(["before", "after"])),
    ),
    min_size=1,
    max_size=6,
)


def expected(ticks: list[float], catch_up: str, lives: list[Life]) -> list[float]:
    """What the queue must hold in the end, by the rules and not by the code."""
    fired: list[float] = []
    place, end = NOON, NOON
    for absent, running, kill in lives:
        start = end + absent
        end = start + running
        missed = [tick for tick in ticks if place < tick <= start]
        chosen = {"none": [], "last": missed[-1:], "all": missed}[catch_up]
        if len(chosen) < len(missed):
            place = missed[-len(chosen) - 1]
        for call, tick in enumerate(chosen + [tick for tick in ticks if start < tick <= end]):
            if kill == (call, "before"):
                break
            if tick not in fired:
                fired.append(tick)
            if kill == (call, "after"):
                break
            place = tick
    return fired


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
@pytest.mark.parametrize("schedule", ["@every 7s", "*/10 * * * * *", "TZ=Europe/Oslo * * * * *"])
@settings(max_examples=60)
@given(lives=LIVES)
def test_killed_and_restarted_at_random_exactly_the_right_ticks_are_fired(
    catch_up: Literal["none", "last", "all"], schedule: str, lives: list[Life]
) -> None:
    lives = [*lives, (5.0, 0.0, None)]  # in the end somebody looks
    period = {"@": 7, "*": 10, "T": 60}[schedule[0]]
    ticks = [NOON + period * (tick + 1) for tick in range(1000 // period)]
    queue = DeadlyQueue()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "cron.db", queue)
        try:
            world.set(schedule, catch_up=catch_up)
            end = NOON
            for absent, running, kill in lives:
                world.cron.close()
                world.clock.now = end + absent
                end = world.clock.now + running
                queue.calls, queue.kill = 0, kill
                world.start()
                try:
                    world.run(running)
                except Killed:
                    queue.kill = None
            right = expected(ticks, catch_up, lives)
            assert [due + NOON for due in world.fired()] == right
            assert [due + NOON for due, state in world.history() if state != "skipped"] == right
        finally:
            world.close()


def test_the_test_itself_knows_a_schedule_s_ticks() -> None:
    for text, period in [("@every 7s", 7), ("*/10 * * * * *", 10), ("TZ=Europe/Oslo * * * * *", 60)]:
        noon = datetime.fromtimestamp(NOON, UTC)
        assert Schedule.parse(text, anchor=noon).next(noon).timestamp() == NOON + period
