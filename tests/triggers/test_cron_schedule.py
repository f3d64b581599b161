"""Schedules: what they accept, when they are due, and what they do where clocks are changed."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec.schedule import NICKNAMES
from trimtab.triggers.cron.schedule import EPOCH, Schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(schedule: Schedule, after: datetime, count: int) -> list[str]:
    found = []
    for _ in range(count):
        after = schedule.next(after)
        found.append(f"{after:%m-%d %H:%M:%S}")
    return found


START = at("2026-03-10 10:20:30.5")

DUE = [
    ("*/15 * * * *", ["03-10 10:30:00", "03-10 10:45:00"]),
    ("*/20 * * * * *", ["03-10 10:20:40", "03-10 10:21:00"]),
    ("30 0 12 * * MON-FRI", ["03-10 12:00:30", "03-11 12:00:30"]),
    ("0 0 * * 7", ["03-15 00:00:00", "03-22 00:00:00"]),
    ("0 0 L * *", ["03-31 00:00:00", "04-30 00:00:00"]),
    ("0 0 29 2 *", ["02-29 00:00:00", "02-29 00:00:00"]),
    ("@hourly", ["03-10 11:00:00", "03-10 12:00:00"]),
    ("@daily", ["03-11 00:00:00", "03-12 00:00:00"]),
    ("@midnight", ["03-11 00:00:00", "03-12 00:00:00"]),
    ("@weekly", ["03-15 00:00:00", "03-22 00:00:00"]),
    ("@monthly", ["04-01 00:00:00", "05-01 00:00:00"]),
    ("@yearly", ["01-01 00:00:00", "01-01 00:00:00"]),
    ("@annually", ["01-01 00:00:00", "01-01 00:00:00"]),
    ("@Hourly", ["03-10 11:00:00", "03-10 12:00:00"]),
    (" @every  10s ", ["03-10 10:20:40", "03-10 10:20:50"]),
    ("@every 1h30m", ["03-10 10:30:00", "03-10 12:00:00"]),
    ("@every 1.5s", ["03-10 10:20:31", "03-10 10:20:33"]),
    ("CRON_TZ=Asia/Kolkata 0 12 * * *", ["03-11 06:30:00", "03-12 06:30:00"]),
    ("TZ=Asia/Kolkata @daily", ["03-10 18:30:00", "03-11 18:30:00"]),
]


@pytest.mark.parametrize(("text", "expected"), DUE)
def test_a_schedule_is_due_when_it_says(text: str, expected: list[str]) -> None:
    assert ticks(Schedule.parse(text), START, 2) == expected


def test_a_tick_is_later_than_the_moment_it_comes_after() -> None:
    assert Schedule.parse("@hourly").next(at("2026-03-10 10:00")) == at("2026-03-10 11:00")
    assert Schedule.parse("@every 1h").next(at("2026-03-10 10:00")) == at("2026-03-10 11:00")


def test_a_period_is_counted_from_its_anchor() -> None:
    schedule = Schedule.parse("@every 7m", anchor=at("2026-03-10 10:00:13"))
    assert ticks(schedule, at("2026-03-10 10:00:13"), 2) == ["03-10 10:07:13", "03-10 10:14:13"]
    assert ticks(schedule, at("2026-03-11 00:00:00"), 1) == ["03-11 00:00:13"]
    assert ticks(schedule, at("2026-03-09 00:00:00"), 1) == ["03-09 00:03:13"]


def test_fields_are_read_in_the_time_zone() -> None:
    assert ticks(Schedule.parse("0 9 * * *", "America/New_York"), START, 1) == ["03-10 13:00:00"]


_FIELDS = (
    "5 or 6 fields (seconds first), '@every 10s', or one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, "
    "@hourly"
)
REFUSED = [
    ("", "UTC", f"schedule: found '', allowed: {_FIELDS}. Wrong number of fields"),
    ("* * * *", "UTC", f"schedule: found '* * * *', allowed: {_FIELDS}. Wrong number of fields"),
    ("61 * * * *", "UTC", f"schedule: found '61 * * * *', allowed: {_FIELDS}. Bad minute"),
    ("0 0 30 2 *", "UTC", f"schedule: found '0 0 30 2 *', allowed: {_FIELDS}. Bad day-of-month"),
    (
        "0 0 */29 2 MON#2",
        "UTC",
        "schedule: found '0 0 */29 2 MON#2', allowed: a schedule that comes up at least once in fifty years",
    ),
    ("@reboot", "UTC", f"schedule: found '@reboot', allowed: {_FIELDS}"),
    ("@every", "UTC", "schedule: found '@every', allowed: '@every' and one duration, such as '@every 1m30s'"),
    ("@every 1h 30m", "UTC", "schedule: found '@every 1h 30m', allowed: '@every' and one duration, such as '@every 1m30s'"),
    ("@everyday 1s", "UTC", "schedule: found '@everyday 1s', allowed: '@every' and one duration, such as '@every 1m30s'"),
    ("@every 500ms", "UTC", "schedule: found '@every 500ms', allowed: a period from 1s to ten years"),
    ("@every 100000h", "UTC", "schedule: found '@every 100000h', allowed: a period from 1s to ten years"),
    ("@hourly", "Mars/Olympus", "timezone: found 'Mars/Olympus', allowed: a time zone such as 'UTC' or 'Europe/Oslo'"),
    ("@hourly", "../etc/passwd", "timezone: found '../etc/passwd', allowed: a time zone such as 'UTC' or 'Europe/Oslo'"),
    ("@hourly", "Europe", "timezone: found 'Europe', allowed: a time zone such as 'UTC' or 'Europe/Oslo'"),
    ("TZ=Nowhere @hourly", "UTC", "schedule: found 'Nowhere', allowed: a time zone such as 'UTC' or 'Europe/Oslo'"),
    (
        "TZ=Asia/Tokyo @hourly",
        "Europe/Oslo",
        "schedule: found 'TZ=Asia/Tokyo @hourly', allowed: the one time zone that `timezone` says, 'Europe/Oslo'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "timezone", "message"), REFUSED)
def test_what_is_no_schedule_is_refused(text: str, timezone: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        Schedule.parse(text, timezone)
    assert str(refused.value) == message


def test_the_time_zone_may_be_said_twice_if_it_is_the_same() -> None:
    assert Schedule.parse("TZ=Asia/Tokyo @daily", "Asia/Tokyo").next(START) == at("2026-03-10 15:00")


@given(st.text() | st.text("0123456789*/,-#LW @everyhmsTZ=", max_size=30) | st.just("9" * 5000 + " * * * *"))
def test_any_text_is_a_schedule_or_is_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert Schedule.parse(text).next(START) > START


# Oslo, 29 March 2026: from 01:00 UTC on, 02:00 is called 03:00. 25 October: from 01:00 UTC on, 03:00 is called 02:00.
GAP, FOLD = at("2026-03-28 22:10"), at("2026-10-24 21:10")

CHANGES = [
    # At a set time: late by what was skipped, and once; the first time of two, and once.
    ("30 2 * * *", GAP, ["03-29 01:00:00", "03-30 00:30:00"]),
    ("0,15,45 2 * * *", GAP, ["03-29 01:00:00", "03-30 00:00:00"]),
    ("0 1-4 * * *", GAP, ["03-29 00:00:00", "03-29 01:00:00", "03-29 02:00:00", "03-29 23:00:00"]),
    ("@daily", GAP, ["03-28 23:00:00", "03-29 22:00:00"]),
    ("30 2 * * *", FOLD, ["10-25 00:30:00", "10-26 01:30:00"]),
    ("15,45 2 * * *", FOLD, ["10-25 00:15:00", "10-25 00:45:00", "10-26 01:15:00"]),
    ("0 1-4 * * *", FOLD, ["10-24 23:00:00", "10-25 00:00:00", "10-25 02:00:00", "10-25 03:00:00"]),
    ("@daily", FOLD, ["10-24 22:00:00", "10-25 23:00:00"]),
    # With a * before: by the clock on the wall.
    ("@hourly", GAP, ["03-28 23:00:00", "03-29 00:00:00", "03-29 01:00:00", "03-29 02:00:00"]),
    ("30 */2 * * *", GAP, ["03-28 23:30:00", "03-29 02:30:00"]),
    ("@hourly", FOLD, ["10-24 22:00:00", "10-24 23:00:00", "10-25 00:00:00", "10-25 01:00:00", "10-25 02:00:00"]),
    ("30 */2 * * *", FOLD, ["10-24 22:30:00", "10-25 00:30:00", "10-25 01:30:00", "10-25 03:30:00"]),
    # With seconds: by the clock on the wall.
    ("0 30 2 * * *", GAP, ["03-30 00:30:00", "03-31 00:30:00"]),
    ("0 30 2 * * *", FOLD, ["10-25 00:30:00", "10-25 01:30:00", "10-26 01:30:00"]),
    # Periods do not know of it.
    ("@every 3h", GAP, ["03-29 00:00:00", "03-29 03:00:00", "03-29 06:00:00"]),
]


@pytest.mark.parametrize(("text", "start", "expected"), CHANGES)
def test_where_clocks_are_changed_the_rule_is_kept(text: str, start: datetime, expected: list[str]) -> None:
    assert ticks(Schedule.parse(text, "Europe/Oslo"), start, len(expected)) == expected


@pytest.mark.parametrize("minutes", range(0, 240, 10))
def test_in_a_repeated_hour_no_tick_is_given_that_is_over(minutes: int) -> None:
    after = at("2026-10-24 23:00") + timedelta(minutes=minutes)
    expected = at("2026-10-25 00:30") if after < at("2026-10-25 00:30") else at("2026-10-26 01:30")
    assert Schedule.parse("30 2 * * *", "Europe/Oslo").next(after) == expected


ZONES = ["UTC", "Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]
NEAR_CHANGES = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2011-12-29", "2026-02-15"]
).map(at)
TEXTS = st.sampled_from(
    ["30 2 * * *", "15,45 1,2 * * *", "*/20 * * * *", "0 */2 * * *", "30 15 2 * * *", "@daily", "@hourly", "0 2 29 * 0",
     "@every 37m", "*/20 */5 * * * *"]
)  # fmt: skip


@given(TEXTS, st.sampled_from(ZONES), NEAR_CHANGES, st.integers(0, 3 * 86400))
def test_the_next_tick_does_not_depend_on_where_one_began_to_count(
    text: str, zone: str, day: datetime, seconds: int
) -> None:
    schedule = Schedule.parse(text, zone)
    after = day - timedelta(days=1) + timedelta(seconds=seconds)
    found = schedule.next(after)
    assert found.tzinfo is UTC
    assert found > after
    between = after + (found - after) / 2
    assert schedule.next(between) == found
    assert schedule.next(found - timedelta(microseconds=1)) == found
    if not text.startswith("@"):
        local = found.astimezone(ZoneInfo(zone))
        earlier = CronSim(text, (after - timedelta(days=3)).astimezone(ZoneInfo(zone)))
        assert local == next(tick for tick in earlier if tick.astimezone(UTC) > after)


@given(TEXTS, st.sampled_from(ZONES), NEAR_CHANGES, st.integers(0, 86400), st.integers(0, 4000))
def test_the_last_tick_is_the_last_of_those_between(
    text: str, zone: str, day: datetime, seconds: int, length: int
) -> None:
    schedule = Schedule.parse(text, zone)
    after = day + timedelta(seconds=seconds)
    until = after + timedelta(seconds=length)
    tick, expected = schedule.next(after), None
    while tick <= until:
        tick, expected = schedule.next(tick), tick
    assert schedule.last(after, until) == expected


def test_the_last_of_very_many_ticks_is_found_at_once() -> None:
    assert Schedule.parse("* * 0-22 * * *").last(EPOCH, at("2026-03-10 23:30")) == at("2026-03-10 22:59:59")


@pytest.mark.parametrize("macro", NICKNAMES)
def test_ticks_are_at_least_a_second_apart(macro: str) -> None:
    schedule = Schedule.parse(macro, "Europe/Oslo")
    moments = [START]
    for _ in range(20):
        moments.append(schedule.next(moments[-1]))
    assert all(later - earlier >= timedelta(seconds=1) for earlier, later in pairwise(moments[1:]))
