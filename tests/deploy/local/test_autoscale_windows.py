from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.deploy.local.autoscale import AverageWindow, MaximumWindow


def filled(seconds: float, *records: tuple[float, float]) -> AverageWindow:
    window = AverageWindow(seconds)
    for now, value in records:
        window.record(now, value)
    return window


# A window of 5 s. Each row: the records, the moment, the average worked out by hand.
TABLE = [
    pytest.param([], 100.0, 0.0, id="nothing was recorded"),
    pytest.param([(100.0, 10.0)], 100.9, 10.0, id="one second is known: not diluted by four that are not"),
    pytest.param([(100.0, 10.0), (101.0, 0.0)], 101.0, 5.0, id="zeros count"),
    pytest.param([(100.0, 10.0), (100.5, 2.0)], 100.7, 12.0, id="two records of one second add up"),
    pytest.param([(100.0, 10.0), (104.0, 5.0)], 104.0, 3.0, id="seconds between records are zero: 15 / 5"),
    pytest.param([(100.0, 10.0), (102.0, 5.0)], 102.0, 5.0, id="three seconds are known: 15 / 3"),
    pytest.param([(100.0, 10.0), (101.0, 1.0), (105.0, 4.0)], 105.0, 1.0, id="second 100 fell out: 5 / 5"),
    pytest.param([(s, 1.0) for s in range(100, 120)], 119.0, 1.0, id="a full window"),
    pytest.param([(s, 1.0) for s in range(100, 120)], 122.0, 1.0, id="3 s without records: the mean of the other 2"),
    pytest.param([(100.0, 8.0), (101.0, 2.0)], 104.0, 5.0, id="both records are inside: 10 / 2"),
    pytest.param([(100.0, 8.0), (101.0, 2.0)], 105.0, 2.0, id="one of the two fell out: 2 / 1"),
    pytest.param([(100.0, 8.0), (101.0, 2.0)], 106.0, 0.0, id="nothing for a window"),
    pytest.param([(100.0, 8.0), (105.0, 2.0)], 105.0, 2.0, id="after a window without records it is young again"),
    pytest.param([(100.0, 8.0), (104.0, 2.0)], 104.0, 2.0, id="after less than that it is not: 10 / 5"),
    pytest.param([(100.0, 1.0), (101.0, 0.0), (102.0, 0.0)], 102.0, 0.333333, id="rounded down to a millionth"),
    pytest.param([(100.0, 4.0), (99.0, 2.0)], 100.0, 3.0, id="a late record is still put in its second: 6 / 2"),
    pytest.param([(100.0, 4.0), (95.0, 2.0)], 100.0, 4.0, id="a record that is a window late is ignored"),
    pytest.param([(100.0, 4.0)], 99.0, 4.0, id="a moment before the last record"),
]


@pytest.mark.parametrize(("records", "now", "average"), TABLE)
def test_average_of_a_window_of_five_seconds(records: list[tuple[float, float]], now: float, average: float) -> None:
    assert filled(5, *records).average(now) == average


def test_a_window_is_empty_when_its_last_record_is_older_than_it() -> None:
    assert AverageWindow(5).empty(0.0)
    window = filled(5, (100.0, 0.0))
    assert not window.empty(105.9)
    assert window.empty(106.0)


def test_a_window_of_part_seconds_keeps_the_second_it_touches() -> None:
    window = filled(6.5, *((100.0 + s, 1.0) for s in range(7)))
    assert window.average(106.0) == 1.0
    assert len(window._ring) == 7


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.floats(0, 12), st.floats(0, 100)), max_size=40),
    st.floats(0, 12),
)
def test_an_average_lies_between_the_least_and_the_most_that_a_second_held(
    seconds: int, steps: list[tuple[float, float]], later: float
) -> None:
    window, now, sums = AverageWindow(seconds), 1000.0, dict[int, float]()
    for wait, value in steps:
        now += wait
        window.record(now, value)
        sums[math.floor(now)] = sums.get(math.floor(now), 0.0) + value
    average = window.average(now + later)
    assert 0.0 <= average <= max(sums.values(), default=0.0) + 1e-6


@given(st.integers(1, 9), st.lists(st.tuples(st.floats(0, 7), st.integers(0, 50)), min_size=1, max_size=40))
def test_the_maximum_is_that_of_the_slots_of_two_seconds_in_the_window(
    seconds: int, steps: list[tuple[float, int]]
) -> None:
    window, now, seen = MaximumWindow(seconds), 1000.0, list[tuple[int, int]]()
    slots = math.ceil(seconds / 2)
    for wait, value in steps:
        now += wait
        slot = math.floor(now) // 2
        seen.append((slot, value))
        assert window.record(now, value) == max(value for at, value in seen if at > slot - slots)
