"""Micro-batching: who shares a call, how results come back, and that a bad request harms nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.handlers.serving import tables
from trimtab.handlers.serving.batcher import Batcher
from trimtab.runtime.threads import Threads


def run(scene: Callable[[Threads], Awaitable[None]]) -> None:
    """Play a scene on a loop of its own."""

    async def live() -> None:
        threads = Threads(asyncio.get_running_loop(), 4)
        await scene(threads)
        threads.close()

    asyncio.run(live())


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 12), st.booleans())
def test_every_request_gets_its_own_rows(lengths: list[int], size: int, inline: bool) -> None:
    calls: list[int] = []

    def double(items: Sequence[Any]) -> Any:
        joined = tables.joined(items)
        calls.append(len(joined))
        return [part["y"] for part in tables.split({"y": joined * 2}, [len(item) for item in items])]

    async def scene(threads: Threads) -> None:
        batcher: Batcher[Any] = Batcher(double, threads, size=size, inline=inline)
        asked = [np.full((length, 2), index) for index, length in enumerate(lengths)]
        found = await asyncio.gather(*(batcher.submit(item, len(item)) for item in asked))
        for item, result in zip(asked, found, strict=True):
            assert np.array_equal(result, item * 2)
        assert batcher.items == len(lengths)

    run(scene)
    assert sum(calls) == sum(lengths)
    assert max(calls) <= max(size, *lengths)


def test_what_comes_while_a_call_is_under_way_shares_the_next() -> None:
    seen: list[list[int]] = []
    go = threading.Event()

    def call(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        go.wait(10)
        return list(items)

    async def scene(threads: Threads) -> None:
        batcher = Batcher(call, threads)
        first = batcher.submit(0, 1)
        while not seen:
            await asyncio.sleep(0.001)
        rest = [batcher.submit(number, 1) for number in (1, 2, 3)]
        go.set()
        assert await asyncio.gather(first, *rest) == [0, 1, 2, 3]

    run(scene)
    assert seen == [[0], [1, 2, 3]]


def test_the_first_waits_for_others_no_longer_than_told() -> None:
    seen: list[list[int]] = []

    def call(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        return list(items)

    async def scene(threads: Threads) -> None:
        batcher = Batcher(call, threads, size=3, wait=30.0)
        full = [batcher.submit(number, 1) for number in (1, 2, 3)]  # nobody waits half a minute for a full one
        await asyncio.gather(*full)
        short = Batcher(call, threads, size=3, wait=0.01)
        one = short.submit(4, 1)
        await asyncio.sleep(0)
        two = short.submit(5, 1)
        await asyncio.gather(one, two)

    run(scene)
    assert seen == [[1, 2, 3], [4, 5]]


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    def call(items: Sequence[int]) -> list[int]:
        if -1 in items:
            raise ValueError("bad")
        return list(items)

    async def scene(threads: Threads) -> None:
        batcher = Batcher(call, threads)
        found = await asyncio.gather(*(batcher.submit(n, 1) for n in (1, -1, 2)), return_exceptions=True)
        assert [found[0], found[2]] == [1, 2]
        assert isinstance(found[1], ValueError)

    run(scene)


def test_a_model_that_exits_fails_its_own_request_alone() -> None:
    def call(items: Sequence[int]) -> list[int]:
        if -1 in items:
            raise SystemExit(3)
        return list(items)

    async def scene(threads: Threads) -> None:
        batcher = Batcher(call, threads, inline=True)
        found = await asyncio.gather(*(batcher.submit(n, 1) for n in (1, -1)), return_exceptions=True)
        assert found[0] == 1
        assert isinstance(found[1], SystemExit)

    run(scene)


def test_too_few_results_are_the_models_failure() -> None:
    async def scene(threads: Threads) -> None:
        batcher: Batcher[int] = Batcher(lambda _items: [], threads)
        with pytest.raises(RuntimeError, match="0 results for 1 requests"):
            await batcher.submit(1, 1)

    run(scene)


def test_a_caller_that_left_is_not_worked_for() -> None:
    seen: list[int] = []

    def call(items: Sequence[int]) -> list[int]:
        seen.extend(items)
        return list(items)

    async def scene(threads: Threads) -> None:
        batcher = Batcher(call, threads)
        gone = batcher.submit(1, 1)
        gone.cancel()
        assert await batcher.submit(2, 1) == 2

    run(scene)
    assert seen == [2]


def test_short_calls_move_to_the_loop_and_long_ones_do_not() -> None:
    async def scene(threads: Threads) -> None:
        where: list[str] = []

        def call(items: Sequence[int]) -> list[int]:
            where.append(threading.current_thread().name)
            return list(items)

        batcher = Batcher(call, threads, inline=True)
        here = threading.current_thread().name
        for number in range(50):
            await batcher.submit(number, 1)
            if where[-1] == here:
                break
        assert where[0] != here
        assert where[-1] == here
        assert not batcher.is_short(100_000_000)
        await batcher.submit(1, 100_000_000)
        assert where[-1] != here

    run(scene)


def test_outputs_of_another_length_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="output 'y' has 3 items for 2 rows"):
        tables.split({"y": [1, 2, 3]}, [1, 1])
