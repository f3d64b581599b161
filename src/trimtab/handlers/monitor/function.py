"""The monitor as a function: events arrive by POST, its state is read by GET, and a thread does what is due.

A cron trigger on top is welcome, not needed while a replica runs: any of its ticks does what is due, also from zero replicas.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from trimtab.errors import EventError, NotFound, PermanentError, StoreError, TemporaryError
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.views import Views
from trimtab.runtime.event import PING, Event
from trimtab.runtime.response import Response

logger = logging.getLogger("trimtab.monitor")

TICK = 1.0
"""Seconds between looks for what is due."""
_DELAY = 5.0
"""Seconds after which a sender may try again when the store could not be written."""


class Handler:
    """One process's; `handler` is its name as a function."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._monitor: Monitor | None = None
        self._inherited: list[Monitor] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self) -> None:
        """Open the store before the first event, so that a wrong setting fails the deployment."""
        self.ready()

    def ready(self) -> bool:
        """Each process begins its thread as soon as it serves."""
        return self.monitor is not None

    @property
    def monitor(self) -> Monitor:
        """This process's monitor. A forked worker opens its own: connections and threads do not survive a fork."""
        with self._lock:
            if self._monitor is None or self._process != os.getpid():
                if self._monitor is not None:
                    self._inherited.append(self._monitor)  # kept: closing it here would touch the parent's file locks
                self._monitor, self._process = Monitor.open(), os.getpid()
                self._stopped = threading.Event()
                self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
                self._thread.start()
            return self._monitor

    def stop(self) -> None:
        """End the thread; what waits in the journal is there for the next replica."""
        with self._lock:
            if self._monitor is None or self._process != os.getpid():
                return
            self._stopped.set()
            if self._thread is not None:
                self._thread.join()
            self._monitor.close()
            self._monitor = None

    def __call__(self, context: Any, event: Event) -> Any:
        """Take in an event, or show what there is."""
        if event.envelope is None:
            return self._show(event)
        if event.envelope.type == PING:
            self.monitor.tick()
            return None
        try:
            self.monitor.accept(event.envelope)
        except EventError as exc:
            raise PermanentError(str(exc)) from exc
        except StoreError as exc:
            raise TemporaryError(str(exc), delay=_DELAY) from exc
        return None

    def _show(self, event: Event) -> Any:
        if event.method not in ("GET", "HEAD"):
            raise PermanentError("events come as CloudEvents, by POST; state is read by GET", status=405)
        try:
            return Views(self.monitor).show(event.path, event.fields)
        except NotFound as exc:
            return Response(body={"error": str(exc)}, status_code=404)
        except StoreError as exc:
            raise TemporaryError(str(exc), delay=_DELAY) from exc

    def _run(self) -> None:
        monitor, stopped = self._monitor, self._stopped
        assert monitor is not None
        while not stopped.wait(TICK):
            try:
                monitor.tick()
            except Exception:
                logger.exception("the monitor tries again in %s s", TICK)


handler = Handler
