"""One stream trigger's consumer: a process of its own, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trimtab.errors import Conflict, StreamError, TargetError, TrimtabError, Unsupported
from trimtab.triggers.streams.channel import Orders
from trimtab.triggers.streams.figures import Figures

logger = logging.getLogger("trimtab.streams")

Ask = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Does what a consumer asks of the daemon: its trigger, and the request."""

PAUSES = (0.5, 30.0)
"""Seconds before a consumer that died is started again: doubled each time, and the first again after a minute of life."""
STOP_WITHIN = 15.0
_STEADY = 60.0
_LINE = 64 * 2**20


class Child:
    """One consumer's process, kept alive until `stop`."""

    def __init__(self, orders: Orders, ask: Ask) -> None:
        self.orders = orders
        self.figures = Figures()
        self._ask = ask
        self._process: asyncio.subprocess.Process | None = None
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._halt = asyncio.Event()
        self._slots: dict[str, Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._life = asyncio.create_task(self._live())

    @property
    def function(self) -> str:
        """The function that it calls."""
        return self.orders.id.partition("/")[0]

    async def stop(self) -> None:
        """Let it finish what is in flight, and end it."""
        self._halt.set()
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._life), STOP_WITHIN)
        except TimeoutError:
            logger.warning("the consumer of %s does not end and is killed", self.orders.id)
            self._life.cancel()
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.gather(self._life, return_exceptions=True)

    def slots(self, capacity: int, busy: int) -> None:
        """Say what the function takes; the same is not said twice while nothing is busy."""
        told = {"do": "slots", "capacity": capacity, "busy": busy}
        if busy or told != self._slots:
            self._slots = told
            self._say(told)

    def pause(self, paused: bool) -> None:
        """Stop it from taking messages, or let it go on."""
        self.orders.paused = paused
        self._say({"do": "pause", "paused": paused})

    async def seek(self, start: str) -> None:
        """Go on from elsewhere. Errors: Conflict, Unsupported, StreamError."""
        if self.figures.state not in ("consuming", "paused"):
            raise Conflict(f"{self.orders.id} has no connection: {self.figures.error or self.figures.state}")
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        self._say({"do": "seek", "start": start, "number": number})
        await answered

    async def _live(self) -> None:
        loop, pause = asyncio.get_running_loop(), PAUSES[0]
        while not self._halt.is_set():
            began = loop.time()
            try:
                code = await self._run()
            except Exception:
                # Whatever it was, it must neither end the watch over this consumer nor reach the daemon.
                logger.exception("the consumer of %s could not be run", self.orders.id)
                code = -1
            self._ended(code)
            if not self._halt.is_set():
                logger.warning("the consumer of %s ended with code %s; again in %g s", self.orders.id, code, pause)
                await _either(self._halt, pause)
            pause = PAUSES[0] if loop.time() - began > _STEADY else min(pause * 2, PAUSES[1])

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trimtab.triggers.streams.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        self._process = process
        self._say(msgspec.to_builtins(self.orders))
        if self._slots is not None:
            self._say(self._slots)
        if self._halt.is_set() and process.stdin is not None:
            process.stdin.close()
        try:
            await self._listen(process)
            return await process.wait()
        finally:
            self._process = None
            if process.returncode is None:
                process.kill()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):
            said = msgspec.json.decode(line)
            if said["say"] == "figures":
                self.figures = msgspec.convert(said["figures"], Figures)
            elif said["say"] == "answered":
                self._answered(said)
            else:
                self._tasks.add(task := asyncio.create_task(self._do(said)))
                task.add_done_callback(self._tasks.discard)

    def _answered(self, said: dict[str, Any]) -> None:
        asked = self._asked.pop(said["number"], None)
        if asked is None or asked.done():
            return
        if said["error"]:
            kind = {"Conflict": Conflict, "StreamError": StreamError, "Unsupported": Unsupported}.get(said["type"])
            asked.set_exception((kind or TargetError)(said["error"]))
        else:
            asked.set_result(None)

    async def _do(self, said: dict[str, Any]) -> None:
        error = ""
        try:
            await self._ask(self.orders.id, said)
        except TrimtabError as exc:
            error = str(exc)
        self._say({"do": "answered", "number": said["number"], "error": error})

    def _ended(self, code: int) -> None:
        """Say in the figures that it is gone, and its calls with it; what it said itself is the better reason."""
        self.figures.in_flight = self.figures.held = 0
        self.figures.state = "broken"
        self.figures.error = self.figures.error or f"its process ended with code {code}"
        asked, self._asked = self._asked, {}
        for future in asked.values():
            if not future.done():
                future.set_exception(TargetError(f"the consumer of {self.orders.id} ended"))

    def _say(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            with contextlib.suppress(OSError):
                process.stdin.write(msgspec.json.encode(message) + b"\n")


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
