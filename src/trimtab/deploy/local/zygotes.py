"""The daemon's end of its zygotes: one per interpreter, environment and set of preloaded modules."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import TargetError
from trimtab.runtime import channel

logger = logging.getLogger("trimtab.zygotes")

_WARM_WITHIN = 120.0
"""Seconds for the imports; a cold disk and a large framework need a minute."""


class Child:
    """A process forked by a zygote. `exited` is the future of its exit code; negative: the signal."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pid = 0
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; a child that is gone does not mind."""
        try:
            channel.send(self.control, message)
        except OSError:
            logger.debug("process %d is gone", self.pid)

    def signal(self, number: int) -> None:
        """Send a signal to the child and what it started, if it is still there (its pid is not reused before that)."""
        if not self.pid or self.exited.done():
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # forked, and not yet at its setsid
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Zygote:
    """One warm parent."""

    def __init__(self, python: str, preload: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self.python, self.preload, self.environ, self.log = python, list(preload), environ, log
        self.problems: dict[str, str] = {}
        self._children: dict[int, Child] = {}
        self._asked: dict[int, Child] = {}
        self._next = 0
        self._process: asyncio.subprocess.Process | None = None
        self._sock: socket.socket | None = None
        self._starting = asyncio.Lock()
        self.on_child: Callable[[int, bool], None] = lambda _pid, _alive: None

    @property
    def pid(self) -> int:
        """The zygote's own pid, 0 while it does not run."""
        return self._process.pid if self._process is not None and self._sock is not None else 0

    async def start(self) -> None:
        """Start the process unless it runs, and wait until it is warm. Errors: TargetError with its last words."""
        async with self._starting:
            if self._sock is not None:
                return
            ours, theirs = channel.pair()
            ours.setblocking(False)
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    self.python,
                    "-m",
                    "trimtab.runtime.zygote",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environ,
                    start_new_session=True,
                    cwd="/",
                )
            theirs.close()
            self.on_child(self._process.pid, True)
            channel.send(ours, {"preload": self.preload})
            await self._warm(ours)
            self._sock = ours
            asyncio.get_running_loop().add_reader(ours.fileno(), self._readable)

    async def _warm(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock.fileno(), _settle, readable)
        try:
            await asyncio.wait_for(readable, _WARM_WITHIN)
            received = channel.receive(sock)
        except TimeoutError:
            received = None
        finally:
            loop.remove_reader(sock.fileno())
        if received is None:
            sock.close()
            await self._end()
            words = self.log.read_text("utf-8", errors="replace").strip().splitlines()[-3:]
            raise TargetError(f"the interpreter {self.python!r} cannot run replicas: {' / '.join(words) or 'it ended'}")
        self.problems = received[0]["problems"]

    def fork(self, message: dict[str, Any], descriptors: Sequence[int]) -> Child:
        """Fork a child in the role that `message` describes. The channel to the child is made here.

        Errors: TargetError when the zygote is not running (call `start` first).
        """
        if self._sock is None:
            raise TargetError("the zygote is not running")
        ours, theirs = channel.pair()
        ours.setblocking(False)
        child = Child(ours)
        self._next += 1
        self._asked[self._next] = child
        try:
            channel.send(
                self._sock, {**message, "id": self._next, "asked": time.monotonic()}, [theirs.fileno(), *descriptors]
            )
        except OSError as exc:
            del self._asked[self._next]
            ours.close()
            self._lost()
            raise TargetError(f"the zygote is gone ({exc.strerror})") from exc
        finally:
            theirs.close()
        return child

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            received = channel.receive(self._sock)
        except BlockingIOError:
            return
        if received is None:
            self._lost()
            return
        message, _ = received
        if message["state"] == "forked":
            child = self._asked.pop(message["id"])
            child.pid = message["pid"]
            self._children[child.pid] = child
            self.on_child(child.pid, True)
        elif message["state"] == "refused":
            logger.error("fork refused: %s", message["error"])
            self._gone(self._asked.pop(message["id"]), 71)
        elif message["state"] == "exited":
            self._gone(self._children.pop(message["pid"], None), message["code"])

    def _gone(self, child: Child | None, code: int) -> None:
        if child is None:
            return
        if child.pid:
            self.on_child(child.pid, False)
        if not child.exited.done():
            child.exited.set_result(code)

    def _lost(self) -> None:
        """Notice that the zygote died: its children live on, but nobody reports their end, so they are replaced."""
        if self._sock is None:
            return
        logger.error("a zygote ended; its replicas are replaced")
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        for child in [*self._children.values(), *self._asked.values()]:
            child.signal(15)
            self._gone(child, 75)
        self._children.clear()
        self._asked.clear()
        if self._process is not None:
            self.on_child(self._process.pid, False)

    async def stop(self) -> None:
        """End the zygote; children that still run go on without it until their channel closes."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        await self._end()

    async def _end(self) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), 2.0)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self.on_child(self._process.pid, False)
        self._process = None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
