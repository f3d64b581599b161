"""The monitor as Python sees it: events in, windows out. The function, the drift check and tests use this one class.

monitor = Monitor.open()
for window in monitor.closed_windows("churn/rf", since=seen):
sketch, reference = monitor.sketch(window), monitor.reference(window)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from trimtab.errors import NotFound, StoreError
from trimtab.events import Envelope
from trimtab.handlers.monitor import references
from trimtab.handlers.monitor.documents import Documents, Moved
from trimtab.handlers.monitor.fold import Lookup
from trimtab.handlers.monitor.intake import Intake
from trimtab.handlers.monitor.log import Log
from trimtab.handlers.monitor.performance import Performance
from trimtab.handlers.monitor.settings import Settings, from_environ
from trimtab.handlers.monitor.stores import Store, Stream, open_store
from trimtab.handlers.monitor.types import Endpoint, Window
from trimtab.handlers.monitor.work import Worker
from trimtab.sketches.reference import Reference
from trimtab.sketches.sketch import Sketch

T = TypeVar("T")

logger = logging.getLogger("trimtab.monitor")

SWEEP = 60.0
"""Seconds between looks for what is to be forgotten."""
COMPACT = 600.0
"""Seconds between looks for hours of the log to compact; and how long after its end an hour is left alone."""
DAY = 86400.0


class Seen(Struct, frozen=True, kw_only=True):
    """An endpoint, and what waits in its journal."""

    endpoint: Endpoint
    waiting: Stream


class Monitor:
    """One replica's monitor; any number of them may share a store and a log. Its methods may be called by any thread."""

    def __init__(
        self,
        store: Store,
        log: Log,
        settings: Settings,
        *,
        lookup: Lookup = references.lookup,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.log = settings, log
        self._store, self._clock = store, clock
        self._intake = Intake(store, settings)
        self._worker = Worker(store, log, settings, lookup)
        self._swept = self._compacted = 0.0

    @classmethod
    def open(cls, settings: Settings | None = None, **options: Any) -> Monitor:
        """Open the store and the log that the settings (without: the environment's) name. Errors: SpecError, StoreError."""
        settings = settings or from_environ()
        return cls(open_store(settings.store, settings.limits), Log(Path(settings.log)), settings, **options)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    # In

    def accept(self, event: Envelope) -> bool:
        """Take in an inference or label event; it is safe when this returns. False if it came before.

        Errors: EventError, PermanentError, TemporaryError, StoreError.
        """
        return self._intake.accept(event, self._clock())

    def tick(self, *, flush: bool = False) -> None:
        """Do what is due: work off journals (all of them with `flush`), close windows, forget, compact the log.

        Anyone may call it at any time, several at once. What cannot be done is logged, and done the next time.
        """
        now = self._clock()
        for stream in self._store.streams():
            try:
                self._worker.work(stream, now, flush=flush)
            except StoreError as exc:
                logger.error("the events of %s wait: %s", stream.name, exc)
            except Exception:
                logger.exception("the events of %s wait", stream.name)
        self._intake.note()
        if now - self._swept >= SWEEP:
            self._swept = now
            self._sweep(now)
        if now - self._compacted >= COMPACT:
            self._compacted = now
            try:
                self.compact()
            except StoreError as exc:
                logger.error("the log is not compacted: %s", exc)

    def compact(self) -> int:
        """Make one file of each hour of the log that is over; give how many hours changed. Errors: StoreError."""
        now = self._clock()
        if self.settings.log_days:
            self.log.prune(now - self.settings.log_days * DAY)
        return self.log.compact(now - self.settings.lateness - COMPACT)

    # Out

    def endpoints(self) -> list[Seen]:
        """All endpoints, by name."""
        return [
            Seen(endpoint=self._documents(stream.name).endpoint, waiting=stream) for stream in self._store.streams()
        ]

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint. Errors: NotFound, naming those there are."""
        return self._known(name).endpoint

    def windows(self, endpoint: str) -> list[Window]:
        """The windows that are kept, open ones too, by number. Errors: NotFound."""
        self._known(endpoint)
        keys = self._store.keys(endpoint, "window/")
        _, found = self._store.read(endpoint, keys)
        return [msgspec.json.decode(found[key], type=Window) for key in keys if key in found]

    def closed_windows(self, endpoint: str, since: int = 0) -> list[Window]:
        """Closed windows whose `closing` is above `since`, in that order: give the last one's `closing` the next time.

        Errors: NotFound.
        """
        closed = [window for window in self.windows(endpoint) if window.closing > since]
        return sorted(closed, key=lambda window: window.closing)

    def window(self, endpoint: str, number: int) -> Window:
        """One window. Errors: NotFound."""
        documents = self._known(endpoint)
        try:
            return documents.window(number)
        except Moved:
            kept = [*documents.endpoint.kept, *documents.endpoint.open]
            shown = f"{min(kept)} to {max(kept)}" if kept else "none"
            raise NotFound(f"{endpoint} has no window {number}; there are {shown}") from None

    def sketch(self, window: Window) -> Sketch:
        """A window's sketch: inputs, predictions and probabilities. Errors: NotFound, once it is not kept any more."""
        return self._of(window, lambda documents: documents.sketch(window))

    def reference(self, of: Window | str) -> Reference:
        """The reference of a window, or of an endpoint's present model: its training data, and columns for its answers.

        Columns without counts have bins and no training data. Errors: NotFound.
        """
        if isinstance(of, Window):
            return self._of(of, lambda documents: documents.reference(of.reference))
        documents = self._known(of)
        digest = documents.endpoint.references.get(f"{documents.endpoint.model}@{documents.endpoint.model_version}")
        if digest is None:
            raise NotFound(f"{of} has no reference yet: its events are not worked off; ask again in a minute")
        return documents.reference(digest)

    def merge(self, windows: Sequence[Window]) -> Sketch:
        """One sketch of several windows, which must be of one reference. Errors: NotFound, DataError."""
        return Sketch.total(self.sketch(window) for window in windows)

    def last(self, endpoint: str, windows: int) -> list[Window]:
        """The last closed windows, at most so many, of the reference of the very last one; for `merge`. Errors: NotFound."""
        closed = self.closed_windows(endpoint)
        return [window for window in closed if window.reference == closed[-1].reference][-windows:]

    def performance(self, window: Window) -> Performance:
        """How right a window's predictions were, as far as labels have arrived. Errors: NotFound."""
        return self._of(window, lambda documents: documents.performance(window))

    def labels(self, window: Window) -> Sketch:
        """The sketch of the labels that have arrived for a window's rows: one column. Errors: NotFound."""
        return self._of(window, lambda documents: documents.labels(window))

    # How

    def _documents(self, name: str) -> Documents:
        return Documents(self._store, name, self.settings.sample)

    def _known(self, name: str) -> Documents:
        documents = self._documents(name)
        if not documents.exists:
            names = [stream.name for stream in self._store.streams()]
            if name not in names:
                raise NotFound(f"there is no endpoint {name!r}; there are {', '.join(names) or 'none'}")
        return documents

    def _of(self, window: Window, give: Callable[[Documents], T]) -> T:
        documents = self._documents(window.endpoint)
        try:
            if documents.has(window.number):
                return give(documents)
        except Moved:
            pass
        raise NotFound(f"window {window.number} of {window.endpoint} is not kept any more")

    def _sweep(self, now: float) -> None:
        try:
            self._store.sweep(now)
            for stream in self._store.streams():
                documents = self._documents(stream.name)
                if not stream.events and self._worker.is_idle(documents.endpoint, now):
                    self._store.drop(stream.name, documents.version)
        except StoreError as exc:
            logger.error("nothing could be forgotten: %s", exc)
