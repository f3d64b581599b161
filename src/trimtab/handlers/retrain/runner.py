"""Keeps the loops' documents, and has done in the world what they ask for."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from trimtab.errors import StoreError, TrimtabError
from trimtab.handlers.documents import Documents
from trimtab.handlers.retrain.machine import step
from trimtab.handlers.retrain.messages import Done, Message
from trimtab.handlers.retrain.state import Action, Loop

logger = logging.getLogger("trimtab.retrain")

_PREFIX = "loop/"
_ROUNDS = 20
"""Actions of one document done in a row; what they bring up may ask for more."""


class World(Protocol):
    """What a loop needs done. Every action comes again until `do` returned, and then perhaps once more."""

    def do(self, loop: Loop, action: Action) -> Sequence[Message]:
        """Do it, and give what came of it. Errors: TrimtabError, when it is to be tried again later."""


class Runner:
    """All loops of one store. Any number of runners may work on the same store."""

    def __init__(self, documents: Documents, world: World, clock: Callable[[], float] = time.time) -> None:
        self._documents, self._world, self._clock = documents, world, clock
        self._working: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """By endpoint: one thread at a time, which spares the world what others would do twice."""

    def hear(self, endpoint: str, *messages: Message) -> Loop:
        """Take messages about an endpoint: when this returns, they are kept, and what they ask for is done or will be.

        Errors: StoreError, when nothing was kept: hear them again.
        """
        loop = self._apply(endpoint, messages)
        return self.work(endpoint) if loop.todo else loop

    def work(self, endpoint: str) -> Loop:
        """Do what the endpoint's document asks for. What fails stays there for the next time."""
        with self._working[endpoint]:
            return self._work(endpoint)

    def _work(self, endpoint: str) -> Loop:
        loop = self.loop(endpoint)
        failed: set[str] = set()
        for _ in range(_ROUNDS + len(loop.todo)):
            first = sorted(loop.todo, key=lambda each: each.kind == "announce")  # what serves before what tells
            action = next((each for each in first if each.id not in failed), None)
            if action is None:
                break
            try:
                heard = self._world.do(loop, action)
            except Exception as exc:
                unforeseen = not isinstance(exc, TrimtabError)
                level = logging.ERROR if unforeseen else logging.WARNING
                told = (endpoint, action.kind, action.id, exc)
                logger.log(level, "%s: %s %s is tried again later: %s", *told, exc_info=unforeseen)
                failed.add(action.id)
                continue
            loop = self._apply(endpoint, [*heard, Done([action.id])])
        return loop

    def loop(self, endpoint: str) -> Loop:
        """Give an endpoint's document as it is; an empty one for an endpoint that nothing was heard of."""
        return _decode(endpoint, self._documents.get(_name(endpoint)).text)

    def endpoints(self) -> list[str]:
        """Every endpoint that something was heard of."""
        return sorted(unquote(name.removeprefix(_PREFIX)) for name in self._documents.names(_PREFIX))

    def _apply(self, endpoint: str, messages: Sequence[Message]) -> Loop:
        now = self._clock()

        def change(text: bytes) -> bytes:
            before = loop = _decode(endpoint, text)
            for message in messages:
                loop = step(loop, message, now)
            return text if loop == before else msgspec.json.encode(loop)

        return _decode(endpoint, self._documents.change(_name(endpoint), change))


def _name(endpoint: str) -> str:
    return _PREFIX + quote(endpoint, safe="")


def _decode(endpoint: str, text: bytes) -> Loop:
    if not text:
        return Loop(endpoint=endpoint, champion="")
    try:
        return msgspec.json.decode(text, type=Loop)
    except msgspec.DecodeError as exc:
        raise StoreError(
            f"the loop of {endpoint!r} cannot be read ({exc}): was it written by a newer version?"
        ) from exc
