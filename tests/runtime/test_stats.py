from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.runtime.stats import Sample, StatsPage, StatsSlot

fork = multiprocessing.get_context("fork")


@pytest.fixture
def page() -> Iterator[StatsPage]:
    with StatsPage.create(2) as page:
        yield page


def test_a_new_page_is_idle(page: StatsPage) -> None:
    assert page.workers == 2
    assert page.read(123.0) == Sample(in_flight=0, waiting=0, integral=0.0, requests=0, errors=0)


def test_the_integral_is_busy_time_and_runs_on_between_updates(page: StatsPage) -> None:
    slot = page.slot(0)
    slot.begin(10.0)
    slot.begin(11.0)
    assert page.read(13.0) == Sample(in_flight=2, waiting=0, integral=5.0, requests=0, errors=0)
    slot.end(14.0)
    slot.end(20.0, True)
    assert page.read(99.0) == Sample(in_flight=0, waiting=0, integral=13.0, requests=2, errors=1)


def test_waiting_requests_count_in_the_integral_as_those_in_flight_do(page: StatsPage) -> None:
    slot = page.slot(1)
    slot.begin(0.0)
    slot.waiting(3, 1.0)
    sample = page.read(2.0)
    assert (sample.in_flight, sample.waiting, sample.integral, sample.arrived) == (1, 3, 5.0, 4)
    slot.end(2.0)
    slot.waiting(2, 2.0)
    slot.begin(2.0)
    sample = page.read(3.0)
    assert (sample.in_flight, sample.waiting, sample.integral, sample.arrived) == (1, 2, 8.0, 4)


def test_slots_are_summed(page: StatsPage) -> None:
    first, second = page.slot(0), page.slot(1)
    first.begin(1.0)
    second.begin(2.0)
    second.end(2.5, True)
    second.waiting(4, 3.0)
    assert page.read(4.0) == Sample(in_flight=1, waiting=4, integral=3.0 + 0.5 + 4.0, requests=1, errors=1)


def test_a_reader_whose_clock_was_read_before_the_update_sees_no_negative_time(page: StatsPage) -> None:
    page.slot(0).begin(10.0)
    assert page.read(9.999).integral == 0.0


@given(
    st.lists(st.tuples(st.sampled_from("bewr"), st.integers(0, 5), st.integers(0, 3)), max_size=60),
    st.integers(0, 10),
)
def test_a_page_agrees_with_adding_up_the_time_between_updates(steps: list[tuple[str, int, int]], last: int) -> None:
    """Whatever is called in whatever order, in_flight and waiting are what was written and the integral is their area."""
    now, in_flight, waiting, requests, errors, area = 1000.0, 0, 0, 0, 0, 0.0
    with StatsPage.create(1) as page:
        slot = page.slot(0, now)
        for what, n, wait in steps:
            area += (in_flight + waiting) * wait
            now += wait
            if what == "b":
                slot.begin(now)
                in_flight += 1
            elif what == "e" and in_flight:
                slot.end(now, n % 2 == 0)
                in_flight, requests, errors = in_flight - 1, requests + 1, errors + (n % 2 == 0)
            elif what == "w":
                slot.waiting(n, now)
                waiting = n
            elif what == "r":
                page.retire(0, now)
                requests, errors = requests + in_flight + waiting, errors + in_flight + waiting
                in_flight = waiting = 0
                slot = page.slot(0, now)
        area += (in_flight + waiting) * last
        sample = page.read(now + last)
    assert sample == Sample(in_flight=in_flight, waiting=waiting, integral=area, requests=requests, errors=errors)


def test_another_process_attaches_to_an_fd_that_came_over_a_socket(page: StatsPage) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [page.fd])
        _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
        child = os.fork()
        if child == 0:
            attached = StatsPage.attach(fd)
            os.close(fd)
            attached.slot(1).begin(5.0)
            os._exit(attached.workers)
        os.close(fd)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert page.read(7.0).integral == 2.0


def test_what_is_not_a_page_is_refused() -> None:
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="holds 0 bytes"):
            StatsPage.attach(fd)
        os.ftruncate(fd, 128)
        with pytest.raises(ValueError, match="opens with 0x0"):
            StatsPage.attach(fd)
    finally:
        os.close(fd)


def test_closing_gives_back_memory_and_fd() -> None:
    before = _open_files()
    page = StatsPage.create(3)
    slot = page.slot(0)
    page.close()
    page.close()
    assert _open_files() == before
    with pytest.raises(ValueError, match="released"):
        slot.begin(1.0)


def test_a_successor_takes_over_the_totals_and_ends_what_the_dead_worker_held(page: StatsPage) -> None:
    def work() -> None:
        slot = page.slot(0)
        slot.begin(10.0)
        slot.end(11.0)
        slot.begin(12.0)
        slot.waiting(2, 12.0)
        os.kill(os.getpid(), signal.SIGKILL)

    _join(fork.Process(target=work), -signal.SIGKILL)
    assert page.read(13.0) == Sample(in_flight=1, waiting=2, integral=4.0, requests=1, errors=0)
    slot = page.slot(0, 14.0)
    dead = Sample(in_flight=0, waiting=0, integral=7.0, requests=4, errors=3)
    assert page.read(50.0) == dead
    slot.begin(60.0)
    assert page.read(61.0) == Sample(in_flight=1, waiting=0, integral=8.0, requests=4, errors=3)


@pytest.mark.parametrize("stores", range(4))
def test_a_worker_killed_in_the_middle_of_an_update_leaves_the_last_whole_one(page: StatsPage, stores: int) -> None:
    """The kill comes after 0..3 of the stores that one `begin` makes; only after the last one does the update count."""

    class Dying:
        """Kills its process at the store after `left` more."""

        def __init__(self, view: Any, shared: list[int]) -> None:
            self.view, self.left = view, shared

        def __setitem__(self, index: int, value: float) -> None:
            if self.left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left[0] -= 1
            self.view[index] = value

    def work() -> None:
        slot = page.slot(0)
        slot.begin(10.0)
        slot.begin(20.0)
        left = [stores]
        slot._words, slot._balances = Dying(slot._words, left), Dying(slot._balances, left)  # type: ignore[assignment]
        slot.begin(30.0)
        os.kill(os.getpid(), signal.SIGKILL)

    _join(fork.Process(target=work), -signal.SIGKILL)
    whole = stores == 3
    sample = page.read(40.0)
    assert (sample.in_flight, sample.integral) == ((3, 60.0) if whole else (2, 50.0))
    page.retire(0, 40.0)
    assert (page.read(99.0).in_flight, page.read(99.0).integral) == (0, 60.0 if whole else 50.0)


def test_readings_are_whole_while_writers_hammer(page: StatsPage) -> None:
    """Each begin is followed by an end at the same moment, or by three waiting: only few (counts, integral) can be."""
    stop = fork.Event()
    writers = [fork.Process(target=_hammer, args=(page, index, stop)) for index in range(page.workers)]
    for writer in writers:
        writer.start()
    try:
        requests, deadline = 0, time.monotonic() + 60
        while requests < 20_000 and time.monotonic() < deadline:
            sample = page.read(1000.0)
            # Every record there is keeps: integral = 1000 * in flight + 100 * waiting (see _hammer).
            assert sample.integral == 1000.0 * sample.in_flight + 100.0 * sample.waiting
            assert sample.requests >= requests
            requests = sample.requests
        assert requests >= 20_000
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]


def _hammer(page: StatsPage, index: int, stop: multiprocessing.synchronize.Event) -> None:
    slot: StatsSlot = page.slot(index, 0.0)
    while not stop.is_set():
        for _ in range(500):
            slot.begin(0.0)
            slot.begin(0.0)
            slot.waiting(3, 900.0)
            slot.waiting(0, 900.0)
            slot.end(0.0)
            slot.end(0.0)


def test_a_reader_is_not_held_up_by_a_writer_that_never_rests(page: StatsPage) -> None:
    """When every try meets an update, the last whole reading is given."""
    slot = page.slot(0, 0.0)
    slot.begin(0.0)
    assert page.read(1.0).integral == 1.0
    words, balances = page._lines[0]

    class Restless:
        def __getitem__(self, index: int) -> int:
            slot.begin(0.0)
            return words[index]

    page._lines[0] = (Restless(), balances)  # type: ignore[assignment]
    assert page.read(1.0).in_flight == 1


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _join(process: multiprocessing.process.BaseProcess, exitcode: int) -> None:
    process.start()
    process.join(60)
    assert process.exitcode == exitcode
    process.close()
