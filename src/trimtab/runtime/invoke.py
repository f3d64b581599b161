"""Call a handler. Whether it runs on the loop or in a thread is decided here, in `plan`, and nowhere else."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from trimtab.runtime.threads import Threads

_END = object()


def plan(function: Callable[..., Any]) -> bool:
    """Decide whether `function` must run in a thread: `def` must, for it may block; `async def` must not.

    A decorator that is a `def` decides for what it wraps: it may call `asyncio.run`.
    """
    code = code_of(function)
    return not (inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code))


def code_of(function: Any) -> Any:
    """Give the function behind a callable object or a `functools.partial`."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


async def settle(value: Any) -> Any:
    """Await what a handler returned, if it is to be awaited."""
    return await value if isinstance(value, Awaitable) else value


def is_stream(value: Any) -> bool:
    """Tell whether a handler's value is to be sent piece by piece."""
    return isinstance(value, (AsyncIterator, Iterator))


async def pieces(
    stream: Any, threads: Threads, abandon: Callable[[asyncio.Future[Any]], None]
) -> AsyncGenerator[Any, None]:
    """Iterate over a stream on the loop, and close it in any case.

    A plain generator's step cannot be stopped: when the task is cancelled meanwhile, `abandon` gets the thread's call.
    """
    if isinstance(stream, AsyncIterator):
        try:
            async for found in stream:
                yield found
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()
        return
    close = getattr(stream, "close", lambda: None)
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = threads.call(next, stream, _END)
            if (found := await step) is _END:
                return
            yield found
    finally:
        if step is not None and step.cancelled():
            abandon(step)
            threads.after(step, lambda: threads.call(close))
        else:
            await threads.call(close)
