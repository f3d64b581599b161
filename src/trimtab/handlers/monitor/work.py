"""Take pieces of the journals and make windows and files of them, so that a kill at any point loses and doubles nothing.

1. A claim is committed: these events, under this name. From here on whoever continues works on the same events.
2. Their rows are written to the log, in files that carry the claim's name: done twice, it is the same file.
3. One commit changes sketches, windows and labels, ends the claim, and removes the events. Only one can succeed.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable

from trimtab.errors import StoreError
from trimtab.handlers.monitor import logtable
from trimtab.handlers.monitor.documents import Documents, Moved
from trimtab.handlers.monitor.fold import Fold, Lookup, Read, close, read
from trimtab.handlers.monitor.log import HOUR, Log
from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.stores.abc import Journaled, Store, Stream
from trimtab.handlers.monitor.types import Claim, Endpoint
from trimtab.handlers.monitor.windows import is_over
from trimtab.handlers.records import Inference, Label
from trimtab.sketches.reference import Reference

_TRIES = 100
"""How often another replica may be faster until the rest is left to it."""
LEASE = 30.0
"""Seconds until another replica takes over a claim. Earlier would do no harm, only the same work twice."""


class Worker:
    """What one replica does beside taking events in."""

    def __init__(self, store: Store, log: Log, settings: Settings, lookup: Lookup) -> None:
        self._store, self._log, self._settings, self._lookup = store, log, settings, lookup
        self._owner = uuid.uuid4().hex

    def work(self, stream: Stream, now: float, *, flush: bool = False) -> None:
        """Work off an endpoint's journal if it is time (or `flush`), and close its windows that are over.

        What arrives meanwhile waits for its own time: otherwise a steady stream would never end this, in ever smaller
        pieces. Errors: StoreError, with everything left as it was; it is tried again the next time.
        """
        over = self._over(stream.name, now)
        if stream.events and (flush or over or self._is_due(stream, now)):
            left, tries = stream.events, _TRIES
            while left > 0 and tries and (done := self.step(stream.name, now)) is not None:
                left, tries = left - done, tries if done else tries - 1
            over = self._over(stream.name, now)
        if over:
            self._close(stream.name, now)

    def step(self, name: str, now: float) -> int | None:
        """Work off one piece of a journal, and give its events: 0 if another replica was faster.

        None when nothing is left, or another replica is at it.
        """
        documents = Documents(self._store, name, self._settings.sample)
        claim = documents.endpoint.claim
        if claim is None:
            claim = self._claim(documents, name, now)
            if claim is None:
                return None
            documents = Documents(self._store, name, self._settings.sample)
        elif claim.owner != self._owner and claim.until > now:
            return None
        if documents.endpoint.claim != claim:
            return 0
        events = self._store.pending(name, upto=claim.upto)
        try:
            return len(events) if self._fold(documents, claim, events) else 0
        except Moved as exc:
            if self._store.read(name, [])[0] != documents.version:
                return 0
            raise StoreError(f"document {str(exc)!r} of {name} is missing in the monitor's store; restore it") from exc

    def _claim(self, documents: Documents, name: str, now: float) -> Claim | None:
        """Claim the oldest events. Of two replicas that do so at once one succeeds; the other finds its claim later."""
        settings = self._settings
        events = self._store.pending(name, rows=settings.flush_rows, bytes=settings.flush_bytes)
        if not events:
            return None
        claim = Claim(
            upto=events[-1].number,
            name=f"{events[0].number:012d}-{events[-1].number:012d}",
            at=now,
            owner=self._owner,
            until=now + LEASE,
        )
        documents.endpoint.claim = claim
        documents.commit(documents.change())
        return claim

    def _fold(self, documents: Documents, claim: Claim, journaled: list[Journaled]) -> bool:
        """Do what the claim says; False if another replica has done it meanwhile."""
        events = read(journaled)
        rows = self._store.rows(documents.endpoint.name, _ids(events))
        fold = Fold(documents, self._settings, self._lookup, rows)
        for event in events:
            fold.add(event)
        changed = fold.finish()
        self._write(documents, claim, fold, events)
        documents.endpoint.claim = None
        change = documents.change()
        change.upto, change.rows, change.at = claim.upto, changed, claim.at
        return documents.commit(change)

    def _write(self, documents: Documents, claim: Claim, fold: Fold, events: list[Read]) -> None:
        name = documents.endpoint.name
        hours: dict[tuple[str, float], list[tuple[str, Inference]]] = {}
        for (digest, time), records in fold.logged.items():
            hours.setdefault((digest, _hour(time)), []).extend(records)
        for (digest, hour), records in hours.items():
            table = logtable.inferences(documents.reference(digest), records)
            if table.num_rows:  # a record of failed requests alone has none
                self._log.write("inference", name, hour, f"{claim.name}-{digest[:8]}", table)
        labels: dict[float, list[tuple[str, Label]]] = {}
        for event in events:
            if isinstance(event.record, Label):
                labels.setdefault(_hour(event.at), []).append((event.identity, event.record))
        for hour, found in labels.items():
            reference = _latest(documents)
            self._log.write("label", name, hour, claim.name, logtable.labels(reference, found))

    def _over(self, name: str, now: float) -> bool:
        documents = Documents(self._store, name, self._settings.sample)
        try:
            return any(is_over(documents.window(number), now, self._settings) for number in documents.endpoint.open)
        except Moved:
            return False

    def _close(self, name: str, now: float) -> None:
        """Close what is over; if the endpoint changes meanwhile, the next time."""
        documents = Documents(self._store, name, self._settings.sample)
        if documents.endpoint.claim is not None:
            return
        try:
            windows = [documents.window(number) for number in documents.endpoint.open]
            ended = [window for window in windows if is_over(window, now, self._settings)]
            for window in sorted(ended, key=lambda window: window.start):
                close(documents, window, now, self._settings, "age")
        except Moved:
            return
        if ended:
            documents.commit(documents.change())

    def _is_due(self, stream: Stream, now: float) -> bool:
        settings = self._settings
        waited = 0.0 if stream.oldest is None else now - stream.oldest
        enough = stream.rows >= settings.flush_rows or stream.bytes >= settings.flush_bytes
        return enough or waited >= settings.flush_seconds

    def is_idle(self, endpoint: Endpoint, now: float) -> bool:
        """Say whether nothing came for so long that the endpoint is to be forgotten."""
        return endpoint.last is not None and now - endpoint.last > self._settings.endpoint_seconds


def _ids(events: Iterable[Read]) -> list[str]:
    return [name for event in events for name in event.record.ids]


def _hour(time: float) -> float:
    return math.floor(time / HOUR) * HOUR


def _latest(documents: Documents) -> Reference | None:
    endpoint = documents.endpoint
    digest = endpoint.references.get(f"{endpoint.model}@{endpoint.model_version}")
    return None if digest is None else documents.reference(digest)
