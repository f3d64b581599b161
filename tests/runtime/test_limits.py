"""Slots and who waits for them; requests and who cancels them."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.runtime.limits import Full, Limiter
from trimtab.runtime.watch import GONE, LATE, Watch


def test_without_a_limit_everybody_enters() -> None:
    limiter = Limiter(0)
    assert all(limiter.enter() for _ in range(1000))
    assert (limiter.in_flight, limiter.full, limiter.waiting) == (1000, False, 0)
    limiter.release()
    assert limiter.in_flight == 999


def test_the_queue_is_ten_for_each_slot_unless_it_is_given() -> None:
    assert (Limiter(3).room, Limiter(3, 5).room, Limiter(3, 0).room) == (30, 5, 0)


def test_who_comes_when_all_is_full_is_refused() -> None:
    async def scene() -> None:
        limiter = Limiter(1, 1)
        assert limiter.enter()
        assert limiter.full
        assert not limiter.enter()
        waiting = asyncio.create_task(limiter.wait())
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await limiter.wait()
        limiter.release()
        await waiting
        assert (limiter.in_flight, limiter.waiting) == (1, 0)

    asyncio.run(scene())


def test_a_newcomer_does_not_overtake_who_waits() -> None:
    async def scene() -> None:
        limiter = Limiter(1)
        assert limiter.enter()
        waiting = asyncio.create_task(limiter.wait())
        await asyncio.sleep(0)
        limiter.release()
        assert not limiter.enter()
        await waiting

    asyncio.run(scene())


@pytest.mark.parametrize("moment", ["before", "with", "after"])
def test_who_is_cancelled_while_waiting_leaves_no_slot_behind(moment: str) -> None:
    """Before its turn comes, in the same step of the loop, or when the turn was its own already."""

    async def scene() -> None:
        limiter = Limiter(1)
        assert limiter.enter()
        waiting = asyncio.create_task(limiter.wait())
        await asyncio.sleep(0)
        if moment == "after":
            limiter.release()
        waiting.cancel()
        if moment == "with":
            limiter.release()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if moment == "before":
            limiter.release()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)

    asyncio.run(scene())


@given(
    st.lists(st.sampled_from(["come", "leave", "cancel", "turn"]), max_size=60), st.integers(1, 3), st.integers(0, 3)
)
def test_slots_add_up_whatever_happens(steps: list[str], slots: int, queue: int) -> None:
    async def scene() -> None:
        limiter, inside, waiting, changes = Limiter(slots, queue), 0, [], []
        limiter.on_change = lambda: changes.append((limiter.in_flight, limiter.waiting))
        for step in steps:
            if step == "come":
                if limiter.enter():
                    inside += 1
                elif limiter.waiting < queue:
                    waiting.append(asyncio.create_task(limiter.wait()))
                    await asyncio.sleep(0)
            elif step == "leave" and inside:
                inside -= 1
                limiter.release()
            elif step == "cancel" and waiting:
                waiting[-1].cancel()
            elif step == "turn":
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            for task in [task for task in waiting if task.done()]:
                waiting.remove(task)
                inside += not task.cancelled()
            assert limiter.in_flight <= slots
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in waiting:
            inside += task.done() and not task.cancelled()
        assert limiter.in_flight == inside
        assert inside <= slots
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not changes or max(count for count, _ in changes) <= slots

    asyncio.run(scene())


# The watch


async def watched(watch: Watch, receive: Any, seconds: float = 30.0) -> str | None:
    task = watch.add(monotonic(), receive)
    try:
        await asyncio.sleep(seconds)
        return None
    except asyncio.CancelledError:
        return watch.why(task)
    finally:
        watch.discard(task)


async def silent() -> dict[str, str]:
    await asyncio.sleep(30)
    return {}


async def gone() -> dict[str, str]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("timeout", "receive", "why"), [(0.05, silent, LATE), (0.05, None, LATE), (0, gone, GONE), (5.0, gone, GONE)]
)
def test_a_task_learns_why_it_was_cancelled(timeout: float, receive: Any, why: str) -> None:
    assert asyncio.run(watched(Watch(timeout), receive)) == why


def test_who_is_quick_is_not_disturbed_and_nothing_is_kept() -> None:
    async def scene() -> None:
        watch = Watch(0.2)
        assert await asyncio.gather(*(watched(watch, gone, 0.001) for _ in range(50))) == [None] * 50
        assert (watch._running, watch._why, watch._listening) == ({}, {}, {})
        await asyncio.sleep(watch._every * 1.5)
        assert watch._timer is None

    asyncio.run(scene())


def test_one_that_has_answered_is_not_late() -> None:
    async def scene() -> str | None:
        watch = Watch(0.05)

        async def answering() -> str | None:
            task = watch.add(monotonic(), None)
            watch.answered(task)
            await asyncio.sleep(0.2)
            return watch.why(task)

        return await asyncio.create_task(answering())

    assert asyncio.run(scene()) is None


def test_another_cancellation_is_not_ours() -> None:
    async def scene() -> None:
        task = asyncio.create_task(watched(Watch(5), silent))
        await asyncio.sleep(0)
        task.cancel()
        assert await task is None

    asyncio.run(scene())
