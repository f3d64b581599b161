"""Threads for what blocks: side by side, in their caller's context, and gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from trimtab.runtime.invoke import pieces
from trimtab.runtime.threads import Threads

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="nothing")


@asynccontextmanager
async def pool(most: int = 64) -> AsyncIterator[Threads]:
    before = threading.active_count()
    threads = Threads(asyncio.get_running_loop(), most)
    yield threads
    threads.close()
    await until(lambda: threading.active_count() == before)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def run(scene: Any) -> None:
    asyncio.run(scene())


def test_what_blocks_runs_side_by_side() -> None:
    async def scene() -> None:
        async with pool() as threads:
            barrier = threading.Barrier(12)
            assert len(await asyncio.gather(*(threads.call(barrier.wait, 10) for _ in range(12)))) == 12

    run(scene)


def test_what_does_not_block_runs_in_one_thread() -> None:
    async def scene() -> None:
        async with pool() as threads:
            for _ in range(100):
                await asyncio.gather(*(threads.call(threading.get_ident) for _ in range(32)))
            seen = set(await asyncio.gather(*(threads.call(threading.get_ident) for _ in range(4))))
            assert len(seen) <= 2

    run(scene)


def test_no_more_threads_than_allowed() -> None:
    async def scene() -> None:
        async with pool(most=3) as threads:
            go, names = threading.Event(), set()

            def work() -> None:
                names.add(threading.current_thread().name)
                go.wait(10)

            calls = [threads.call(work) for _ in range(10)]
            await until(lambda: len(names) == 3)
            go.set()
            await asyncio.gather(*calls)
            assert len(names) == 3

    run(scene)


def test_a_limit_of_one_is_always_the_same_thread() -> None:
    async def scene() -> None:
        async with pool(most=1) as threads:
            seen = {await threads.call(threading.get_ident)}
            seen.update(await asyncio.gather(*(threads.call(threading.get_ident) for _ in range(50))))
            assert len(seen) == 1

    run(scene)


def test_a_call_has_its_callers_context_and_changes_nothing_in_it() -> None:
    async def scene() -> None:
        async with pool() as threads:

            def work() -> str:
                found = VARIABLE.get()
                VARIABLE.set("changed")
                return found

            async def one(name: str) -> None:
                VARIABLE.set(name)
                assert await threads.call(work) == name
                assert VARIABLE.get() == name

            await asyncio.gather(*(one(str(number)) for number in range(200)))

    run(scene)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_exceptions_come_back(error: BaseException) -> None:
    async def scene() -> None:
        async with pool() as threads:

            def fail() -> None:
                raise error

            with pytest.raises(type(error)):
                await threads.call(fail)
            assert await threads.call(len, "abc") == 3

    run(scene)


def test_a_stop_iteration_is_an_error() -> None:
    async def scene() -> None:
        async with pool() as threads:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await threads.call(next, iter([]))

    run(scene)


def test_many_calls_all_come_back() -> None:
    async def scene() -> None:
        async with pool(most=8) as threads:
            for size in (1, 2, 3, 100, 5000):
                assert await asyncio.gather(*(threads.call(abs, -number) for number in range(size))) == list(
                    range(size)
                )

    run(scene)


def test_a_cancelled_call_that_has_not_begun_never_runs() -> None:
    async def scene() -> None:
        async with pool(most=1) as threads:
            go = threading.Event()
            ran: list[int] = []
            first = threads.call(go.wait, 10)
            second = threads.call(ran.append, 1)
            ended: list[int] = []
            second.cancel()
            threads.after(second, lambda: ended.append(1))
            go.set()
            await first
            await until(lambda: ended)
            assert ran == []

    run(scene)


def test_after_is_called_once_whenever_the_thread_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with pool() as threads:
            go, ended = threading.Event(), []

            def work() -> None:
                go.wait(10)
                raise ValueError("too late")

            begun = threads.call(work)
            begun.cancel()
            running = threads.call(work)
            await until(lambda: threads._waiting == type(threads._waiting)())
            running.cancel()
            threads.after(running, lambda: ended.append("running"))
            await asyncio.sleep(0)
            assert ended == []
            go.set()
            await until(lambda: ended)
            threads.after(running, lambda: ended.append("done already"))
            assert ended == ["running", "done already"]

    run(scene)
    assert "a call that was given up raised ValueError('too late')" in caplog.text


def test_nothing_is_left_for_the_collector() -> None:
    class Value:
        pass

    async def scene() -> None:
        async with pool() as threads:
            gc.disable()
            try:
                value = Value()
                seen = weakref.ref(value)

                def fail(_: Any) -> None:
                    raise ValueError

                await threads.call(id, value)
                with contextlib.suppress(ValueError):
                    await threads.call(fail, value)
                del value
                await until(lambda: seen() is None)
            finally:
                gc.enable()

    run(scene)


def test_a_closed_pool_still_does_what_it_is_given() -> None:
    async def scene() -> None:
        async with pool() as threads:
            await asyncio.gather(*(threads.call(len, "a") for _ in range(3)))
            threads.close()
            assert await threads.call(len, "abc") == 3

    run(scene)


# Streams


def test_a_stream_is_closed_when_nobody_reads_on() -> None:
    closed = []

    def stream() -> Any:
        try:
            yield 1
            yield 2
        finally:
            closed.append(threading.current_thread().name)

    async def scene() -> None:
        async with pool() as threads:
            found = pieces(stream(), threads, lambda call: None)
            assert await anext(found) == 1
            await found.aclose()
            assert [name.startswith("trimtab-") for name in closed] == [True]

    run(scene)


def test_a_step_that_is_cancelled_is_given_up_and_the_stream_closed_after_it() -> None:
    go = threading.Event()
    closed: list[int] = []
    given_up: list[asyncio.Future[Any]] = []

    def stream() -> Any:
        try:
            go.wait(10)
            yield 1
        finally:
            closed.append(1)

    async def scene() -> None:
        async with pool() as threads:
            reading = asyncio.create_task(anext(pieces(stream(), threads, given_up.append)))
            await until(lambda: threads._awake and not threads._waiting)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert len(given_up) == 1
            assert closed == []
            go.set()
            await until(lambda: closed)

    run(scene)


def test_iterators_that_cannot_be_closed_are_streams_too() -> None:
    async def scene() -> None:
        async with pool() as threads:
            assert [piece async for piece in pieces(map(str, range(3)), threads, print)] == ["0", "1", "2"]

    run(scene)
