"""Take events in: checked, and safe when the call returns. Calls that come at once share one write."""

from __future__ import annotations

import threading
from collections import deque
from urllib.parse import quote

from trimtab.errors import EventError, PermanentError, TemporaryError, TrimtabError
from trimtab.events import Envelope
from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.stores.abc import Entry, Store
from trimtab.handlers.records import Label, from_event

GROUP = 256
"""Events in one write at most."""
_SHARE = 0.5
"""Of the journal for one endpoint, so that one that is stuck does not stop all others."""
_LONGEST = 200
"""Bytes of an endpoint's name, quoted: it becomes the name of a folder."""
_FULL_DELAY = 10.0
"""Seconds after which a sender may try again when the journal is full."""


class _Waiting:
    __slots__ = ("added", "done", "entry", "error")

    def __init__(self, entry: Entry) -> None:
        self.entry, self.done = entry, threading.Event()
        self.added = False
        self.error: Exception | None = None


class Intake:
    """The door. `note` tells it what waits in the store, which bounds what it lets in."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()

    def note(self) -> None:
        """Look at what there is in the store."""
        self._bytes = {stream.name: stream.bytes for stream in self._store.streams()}

    def accept(self, event: Envelope, now: float) -> bool:
        """Put an event into its endpoint's journal; False if it was there before.

        Errors: EventError (it is none of ours, or malformed), PermanentError (too many endpoints), TemporaryError (the
        journal is full: the sender is to keep it), StoreError.
        """
        record = from_event(event)
        self._admit(record.endpoint)
        entry = Entry(
            stream=record.endpoint,
            identity=f"{event.source} {event.id}",
            label=isinstance(record, Label),
            rows=len(record.ids),
            at=now,
            data=event.data or b"",
        )
        return self._append(entry)

    def _admit(self, name: str) -> None:
        if not 0 < len(quote(name, safe="")) <= _LONGEST:
            shown = f"{name[:40]}..." if len(name) > 40 else name
            raise EventError(
                f"endpoint: found {shown!r}, allowed: 1 to {_LONGEST} bytes, quoted as in a URL", "endpoint"
            )
        settings, all_of_them = self._settings, sum(self._bytes.values())
        if all_of_them >= settings.journal_bytes or self._bytes.get(name, 0) >= settings.journal_bytes * _SHARE:
            raise TemporaryError(
                f"{all_of_them} bytes wait in the monitor's journal, {self._bytes.get(name, 0)} of them for {name!r}; "
                f"allowed: {settings.journal_bytes}, for one endpoint {_SHARE:.0%} of that. The monitor's own log says "
                "why it does not work them off",
                delay=_FULL_DELAY,
            )
        if name in self._bytes:
            return
        self.note()
        if name not in self._bytes and len(self._bytes) >= settings.endpoints:
            raise PermanentError(
                f"endpoint {name!r} is one more than the {settings.endpoints} that this monitor watches; "
                "raise TRIMTAB_MONITOR_ENDPOINTS, or run a second monitor",
                status=403,
            )
        self._bytes.setdefault(name, 0)

    def _append(self, entry: Entry) -> bool:
        """Join the next write, and do it if nobody else does."""
        mine = _Waiting(entry)
        self._queue.append(mine)
        while not mine.done.is_set():
            with self._lock:
                if not mine.done.is_set():
                    self._write([self._queue.popleft() for _ in range(min(len(self._queue), GROUP))])
        if mine.error is not None:
            raise mine.error
        return mine.added

    def _write(self, group: list[_Waiting]) -> None:
        try:
            added = self._store.append([waiting.entry for waiting in group])
        except TrimtabError as exc:
            for waiting in group:
                waiting.error = exc
        else:
            for waiting, new in zip(group, added, strict=True):
                waiting.added = new
                if new:
                    name = waiting.entry.stream
                    self._bytes[name] = self._bytes.get(name, 0) + len(waiting.entry.data)
        for waiting in group:
            waiting.done.set()
