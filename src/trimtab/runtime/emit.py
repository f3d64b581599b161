"""`context.emit`: events go to the sink (`K_SINK`) from a thread of their own, off the request path."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import uvloop

from trimtab.errors import EventError, SendError, SpecError
from trimtab.events import Envelope, validate
from trimtab.events.attributes import DEFINED
from trimtab.runtime.client import Client, check_url
from trimtab.runtime.outbox import Counters, Outbox
from trimtab.runtime.sender import Policy, Sender
from trimtab.runtime.spool import Spool, leftovers

__all__ = ["Counters", "Emitter", "Policy"]

logger = logging.getLogger(__name__)

_GRACE = 5.0
"""Seconds beyond its deadline that `close` gives the thread to write to disk what is left."""


class Emitter:
    """Sends events to `sink`, at least once each as far as memory and disk reach, roughly in order.

    `overrides` are extensions that every event gets (Knative's `K_CE_OVERRIDES`). `spool` is a folder on disk for the time
    the sink is away; it may be shared by several processes, each keeps at most `spool_bytes` there. `memory` (events) and
    `memory_bytes` bound what is held in memory. What exceeds all of these is dropped and counted.

    Belongs to the process that uses it first: made before a fork, it starts afresh in the child. The thread starts with
    the first event, so that a function that emits nothing pays nothing. Errors: SpecError for an unusable sink or
    override.
    """

    _pid: int
    _lock: threading.Lock
    _outbox: Outbox
    _thread: threading.Thread | None
    _sender: Sender | None
    _deadline: float | None
    """Set by `close`: seconds for what is left."""
    _asleep: bool
    """Whether the thread has to be woken for the next event."""

    def __init__(
        self,
        sink: str,
        *,
        overrides: Mapping[str, str] | None = None,
        spool: Path | None = None,
        policy: Policy | None = None,
        memory: int = 10_000,
        memory_bytes: int = 32 * 1024 * 1024,
        spool_bytes: int = 64 * 1024 * 1024,
        ca_certs: str | None = None,
    ) -> None:
        self._sink, self._overrides = sink, dict(overrides or {})
        _check(sink, self._overrides)
        self._spool, self._spool_bytes = spool, spool_bytes
        self._memory, self._memory_bytes = memory, memory_bytes
        self._policy = policy or Policy()
        self._ca_certs = ca_certs
        self._begin()

    def emit(self, envelope: Envelope) -> None:
        """Hand an event over. From any thread; does not block, and trouble with the sink never shows here.

        Errors: EventError if the event is malformed.
        """
        if self._overrides:
            envelope = Envelope({**envelope.attributes, **self._overrides}, envelope.data)
        validate(envelope.attributes)
        if self._pid != os.getpid():
            self._begin()
        self._outbox.put(envelope)
        if self._asleep:
            self._asleep = False
            self._rouse()

    def start(self) -> None:
        """Send what processes before this one left on disk; without such, this does nothing."""
        if self._spool is not None and leftovers(self._spool):
            self._rouse()

    def close(self, deadline: float) -> None:
        """Send what is left, for at most `deadline` seconds; the rest goes to disk, or is dropped without one.

        Blocks until that is done. An event emitted later is dropped and counted.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            self._deadline = deadline
            if self._thread is None:
                self._outbox.give_up()
                return
            self._tell(Sender.finish, deadline)
        self._thread.join(deadline + _GRACE)

    def counters(self) -> Counters:
        """Where the events are. From any thread."""
        return self._outbox.counters()

    def _begin(self) -> None:
        """Set up for this process; a lock held by another thread during a fork must not be seen again."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        spool = None if self._spool is None else Spool(self._spool, limit=self._spool_bytes)
        self._outbox = Outbox(spool, memory=self._memory, memory_bytes=self._memory_bytes)
        self._thread = None
        self._sender = None
        self._deadline = None
        self._asleep = True

    def _rouse(self) -> None:
        with self._lock:
            if self._thread is not None:
                self._tell(Sender.linger)
            elif self._deadline is None:
                self._thread = threading.Thread(target=self._run, name="trimtab-emit", daemon=True)
                self._thread.start()

    def _tell(self, what: Callable[..., None], *values: float) -> None:
        """Call the sender in its thread; one that is not there yet looks around by itself, and one that has ended is done."""
        if self._sender is not None:
            with suppress(RuntimeError):
                self._sender.loop.call_soon_threadsafe(what, self._sender, *values)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._send())
        except Exception:
            logger.exception("the emitter failed")
        finally:
            self._outbox.give_up()

    async def _send(self) -> None:
        client = Client(connections=self._policy.in_flight, ca_certs=self._ca_certs)
        try:
            self._outbox.adopt()
            sender = Sender(self._sink, self._outbox, client, self._policy)
            with self._lock:
                self._sender = sender
                if self._deadline is not None:
                    sender.finish(self._deadline)
            await sender.run(self._fall_asleep)
        finally:
            await client.aclose()

    def _fall_asleep(self) -> None:
        self._asleep = True


def _check(sink: str, overrides: Mapping[str, str]) -> None:
    try:
        check_url(sink)
    except SendError as exc:
        raise SpecError("sink", sink, "an http or https URL") from exc
    for name in overrides.keys() & DEFINED:
        raise SpecError(f"overrides.{name}", overrides[name], "extensions only, not the attributes CloudEvents defines")
    try:
        validate({"specversion": "1.0", "id": "1", "source": "/", "type": "t", **overrides})
    except EventError as exc:
        raise SpecError("overrides", dict(overrides), f"valid extensions ({exc})") from exc
