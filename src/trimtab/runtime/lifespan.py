"""ASGI's lifespan protocol, for applications that open things before the first request and close them after the last.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html - an application that raises when it is asked, or goes about
something else, does not speak it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from trimtab.errors import ImportFailed

logger = logging.getLogger("trimtab.app")

PATIENCE = 1.0
"""Seconds within which an application that speaks the protocol begins to listen; it may start for as long as it likes."""


class Lifespan:
    """One application's life in one loop. `state` is what it gives to its requests."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Say that it begins, and wait. Errors: ImportFailed when the application cannot start."""
        self._task = asyncio.create_task(self._run())
        await asyncio.wait(
            {self._task, listening := asyncio.create_task(self._listening.wait())},
            timeout=PATIENCE,
            return_when=asyncio.FIRST_COMPLETED,
        )
        listening.cancel()
        if not self._listening.is_set():
            self._task.cancel()
        answer = await self._ask("lifespan.startup")
        if answer is None:
            self._task = None
        elif answer["type"] == "lifespan.startup.failed":
            message = str(answer.get("message", ""))
            last = message.strip().rpartition("\n")[2]
            raise ImportFailed(f"the application failed to start: {last or 'it gives no reason'}", message)

    async def stop(self) -> None:
        """Say that it ends, and wait; what goes wrong is logged."""
        if self._task is None:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logger.error("the application failed to stop: %s", answer.get("message", ""))
        self._task.cancel()

    async def _ask(self, what: str) -> dict[str, str] | None:
        """Send one message and wait for what it answers; None when the application has ended without an answer."""
        assert self._task is not None
        self._told.put_nowait({"type": what})
        answer = asyncio.create_task(self._heard.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None if self._heard.empty() else self._heard.get_nowait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except (Exception, SystemExit) as exc:
            logger.debug("the application left its lifespan: %s", exc)

    async def _receive(self) -> dict[str, str]:
        self._listening.set()
        return await self._told.get()

    async def _send(self, message: dict[str, str]) -> None:
        if not message["type"].startswith("lifespan."):
            raise RuntimeError(f"{message['type']} was sent for a lifespan")
        self._heard.put_nowait(message)


async def acknowledge(scope: Any, receive: Any, send: Any) -> None:
    """Be polite to a server that speaks of its own lifespan; nothing else but HTTP is spoken here."""
    if scope["type"] != "lifespan":
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
