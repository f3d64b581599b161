"""What a function does besides answering: `load`, `start`, `init_context`, `after_fork` first, `stop` last, `alive`, `ready`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from typing import Any

from trimtab.errors import HandlerError, ImportFailed
from trimtab.runtime.context import Context
from trimtab.runtime.invoke import plan, settle
from trimtab.runtime.load import Loaded, frames
from trimtab.runtime.threads import Threads

logger = logging.getLogger("trimtab.app")


class Life:
    """The life of one loaded function in one process. Whatever is `def` is called in one of the threads given."""

    def __init__(self, loaded: Loaded) -> None:
        self._instance, self._init = loaded.instance, loaded.init
        self._begun = False

    async def begin(self, context: Context, threads: Threads) -> None:
        """Run what comes before the first request. Errors: ImportFailed, with the function's own traceback."""
        await self._once("load", threads, *self._wants_context(context))
        await self._once("start", threads, dict(os.environ))
        if self._init is not None:
            await _checked("init_context", self._init, threads, context)
        self._begun = True

    async def enter(self, threads: Threads) -> None:
        """Run `after_fork`, in each process and its loop. Errors: ImportFailed."""
        await self._once("after_fork", threads)

    async def end(self, threads: Threads) -> None:
        """Run `stop`, if `begin` came to its end; what it raises is logged."""
        function = self._method("stop") if self._begun else None
        if function is not None:
            try:
                await _called(function, threads)
            except (Exception, SystemExit):
                logger.exception("stop() failed")

    async def ask(self, name: str, threads: Threads) -> tuple[bool, str]:
        """Ask `alive` or `ready`: True or (True, "reason"). What the function does not have is well."""
        function = self._method(name)
        if function is None:
            return True, ""
        try:
            found = await _called(function, threads)
        except (Exception, SystemExit):
            logger.exception("%s() failed", name)
            return False, f"{name}() failed"
        return (bool(found[0]), str(found[1])) if isinstance(found, tuple) else (bool(found), "")

    async def _once(self, name: str, threads: Threads, *arguments: Any) -> None:
        function = self._method(name)
        if function is not None:
            await _checked(name, function, threads, *arguments)

    def _wants_context(self, context: Context) -> tuple[Context, ...]:
        function = self._method("load")
        return (context,) if function is not None and "context" in inspect.signature(function).parameters else ()

    def _method(self, name: str) -> Any:
        found = getattr(self._instance, name, None)
        return found if callable(found) else None


async def _checked(name: str, function: Any, threads: Threads, *arguments: Any) -> None:
    try:
        await _called(function, threads, *arguments[: _room(function)])
    except HandlerError:
        raise
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        raise ImportFailed(f"{name} failed: {type(exc).__name__}: {exc}", frames(exc)) from exc


async def _called(function: Any, threads: Threads, *arguments: Any) -> Any:
    return await settle(await threads.call(function, *arguments) if plan(function) else function(*arguments))


def _room(function: Any) -> int | None:
    """Count the arguments a function takes by position; None for any number."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)
