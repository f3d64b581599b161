"""Call a handler. Whether it runs on the loop or in a thread is decided here, in `plan`, and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from trimtab.runtime.threads import Threads

_END = object()


def plan(function: Callable[..., Any]) -> bool:
    """Decide whether `function` must run in a thread: `def` must (it may block), `async def` and `yield` in it must not."""
    code = inspect.unwrap(code_of(function))
    return not (inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code))


def code_of(function: Any) -> Any:
    """Give the function behind a callable object."""
    return function if inspect.isroutine(function) else type(function).__call__


async def settle(value: Any) -> Any:
    """Await what a handler returned, if it is to be awaited."""
    return await value if isinstance(value, Awaitable) else value


def is_stream(value: Any) -> bool:
    """Tell whether a handler's value is to be sent piece by piece."""
    return isinstance(value, (AsyncIterator, Iterator))


async def pieces(stream: Any, threads: Threads) -> AsyncIterator[Any]:
    """Iterate over a stream on the loop; a plain generator's steps run in a thread, for they may block."""
    if isinstance(stream, AsyncIterator):
        try:
            async for piece in stream:
                yield piece
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()
        return
    try:
        while (piece := await threads.call(next, stream, _END)) is not _END:
            yield piece
    finally:
        if hasattr(stream, "close"):
            await threads.call(stream.close)
