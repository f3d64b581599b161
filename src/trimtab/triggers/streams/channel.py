"""What a consumer's process and the daemon that started it say to each other: one JSON object a line, both ways.

The daemon says what to do, first of all the orders; the process reports figures, and asks for what only the daemon can do
(keep a dead letter, take a reply), and waits for the answer. When the daemon's end closes, the process stops.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.events import Envelope, to_json
from trimtab.spec import StreamTrigger
from trimtab.triggers.streams.abc import StreamError
from trimtab.triggers.streams.dead import Letter
from trimtab.triggers.streams.figures import Figures

_LINE = 64 * 2**20
"""Bytes of a line at most: a dead letter holds a whole message."""


class Orders(Struct, kw_only=True):
    """The first line: a trigger, the variables of its URL, and where things are."""

    id: str
    trigger: StreamTrigger
    environ: dict[str, str]
    timeout: float
    """Seconds of one call."""
    consumer: str
    home: str
    url: str
    """Where the function takes events, without a path."""
    slots: int
    """How many calls it takes at a time, with all the replicas that it may have."""
    paused: bool = False


class Slots(Struct, kw_only=True):
    """How much the function takes (`capacity`) and is busy with (`busy`), everybody's calls together."""

    capacity: int
    busy: int


class Channel:
    """The process's end."""

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.WriteTransport

    async def open(self) -> Orders:
        """Take stdin and stdout, and read the orders."""
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=_LINE)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), sys.stdin)
        self._writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
        return msgspec.json.decode(await self._reader.readline(), type=Orders)

    async def listen(self) -> dict[str, Any] | None:
        """Give the next thing to do; None when the daemon is gone."""
        while True:
            try:
                line = await self._reader.readline()
            except (OSError, ValueError):
                return None
            if not line.endswith(b"\n"):
                return None
            said: dict[str, Any] = msgspec.json.decode(line)
            if said["do"] != "answered":
                return said
            asked = self._asked.pop(said["number"], None)
            if asked is not None and not asked.done():
                if said["error"]:
                    asked.set_exception(StreamError(said["error"]))
                else:
                    asked.set_result(None)

    def report(self, figures: Figures) -> None:
        """Say how the consumer stands."""
        self._say({"say": "figures", "figures": figures})

    def answer(self, number: int, error: Exception | None) -> None:
        """Say what became of a request of the daemon."""
        self._say(
            {"say": "answered", "number": number, "error": str(error) if error else "", "type": type(error).__name__}
        )

    async def bury(self, letters: Sequence[Letter]) -> None:
        """Have the daemon keep dead letters (see DeadLetters)."""
        for letter in letters:
            await self._ask(
                {
                    "say": "bury",
                    "event": to_json(letter.envelope),
                    "reason": letter.reason,
                    "history": letter.history,
                }
            )

    async def reply(self, envelopes: list[Envelope]) -> None:
        """Have the daemon put the function's replies into the broker. Errors: StreamError."""
        await self._ask({"say": "reply", "events": [to_json(envelope) for envelope in envelopes]})

    async def _ask(self, request: dict[str, Any]) -> None:
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        self._say({**request, "number": number})
        await answered

    def _say(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():  # the daemon is gone, which `listen` tells
            self._writer.write(msgspec.json.encode(message) + b"\n")
