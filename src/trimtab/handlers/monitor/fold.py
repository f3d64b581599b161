"""Work out what an endpoint's documents become when a piece of its journal is added. Nothing is written here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from trimtab.errors import EventError
from trimtab.handlers.monitor import outputs
from trimtab.handlers.monitor.documents import Documents
from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.stores.abc import Journaled
from trimtab.handlers.monitor.types import Row, Window
from trimtab.handlers.monitor.windows import is_full, moment, stretch
from trimtab.handlers.records import Inference, Label, decode, decode_label
from trimtab.sketches.levels import bounded
from trimtab.sketches.reference import Reference
from trimtab.sketches.reservoir import Priorities, priorities

logger = logging.getLogger("trimtab.monitor")

Lookup = Callable[[str], tuple[Reference | None, str]]
"""Gives the reference of a model's training data by the model's URI, or None and the reason why there is none."""

_LARGEST = 2**40
"""Microseconds are two weeks there, and failed requests enough."""
MODELS = 20
"""Versions of a model whose reference an endpoint remembers, beside those of its windows."""


class Read(Struct, frozen=True):
    """One event of the journal, decoded."""

    identity: str
    at: float
    record: Inference | Label


def read(events: list[Journaled]) -> list[Read]:
    """Decode events. One that cannot be read, which its check on arrival rules out for the same Trimtab, is passed over."""
    found = []
    for event in events:
        entry = event.entry
        try:
            record = decode_label(entry.data) if entry.label else decode(entry.data)
        except EventError as exc:
            logger.error(
                "event %r of %s cannot be read any more and is left out: %s", entry.identity, entry.stream, exc
            )
            continue
        found.append(Read(entry.identity, entry.at, _sane(record)))
    return found


def _sane(record: Inference | Label) -> Inference | Label:
    """Bring figures that add up into the range that 64 bits and files hold; a sender's mistake must not stop an endpoint."""
    if isinstance(record, Inference):
        record.latency_us = [min(max(value, 0), _LARGEST) for value in record.latency_us]
        record.errors = min(max(record.errors, 0), _LARGEST)
    record.ids = [bounded(name) for name in record.ids]
    return record


class Fold:
    """One piece of the journal on its way into the documents. `rows` is what the store knows of the events' row ids."""

    def __init__(self, documents: Documents, settings: Settings, lookup: Lookup, rows: dict[str, bytes]) -> None:
        self._documents, self._settings, self._lookup = documents, settings, lookup
        self._endpoint = documents.endpoint
        self._rows = {name: msgspec.json.decode(data, type=Row) for name, data in rows.items()}
        self._changed: set[str] = set()
        self._parts: dict[int, tuple[Window, list[dict[str, list[Any]]], list[Priorities]]] = {}
        self._joined: dict[int, list[tuple[Any, Any]]] = {}
        self.logged: dict[tuple[str, float], list[tuple[str, Inference]]] = {}
        """Records for the log, by the digest of their reference and the time they count as."""

    def add(self, event: Read) -> None:
        """Add one event, in the order of the journal. Errors: StoreError (the reference cannot be looked up now)."""
        self._endpoint.first = min(self._endpoint.first or event.at, event.at)
        self._endpoint.last = max(self._endpoint.last or event.at, event.at)
        if isinstance(event.record, Label):
            self._add_labels(event.record)
        else:
            self._add_inference(event, event.record)

    def finish(self) -> dict[str, bytes]:
        """Put everything into the documents; give the rows that changed."""
        for window, tables, found in self._parts.values():
            if not self._documents.has(window.number):  # closed and forgotten already: there were that many
                continue
            sketch = self._documents.sketch(window)
            sketch.update(_stacked(tables), priorities=np.concatenate(found))
            self._documents.put_sketch(window, sketch)
            self._documents.put_window(window)
        for number, pairs in self._joined.items():
            if self._documents.has(number):
                self._join(self._documents.window(number), pairs)
        return {name: msgspec.json.encode(self._rows[name]) for name in self._changed}

    def _add_inference(self, event: Read, record: Inference) -> None:
        settings, endpoint = self._settings, self._endpoint
        digest = self._digest(record)
        time, ancient = moment(record.times, event.at, settings)
        start, late = stretch(endpoint, time, event.at, settings)
        window = self._window(record, digest, start, event.at)
        reference = self._documents.reference(digest)
        _count(window, record, event.at, late=late or ancient)
        for name in set(reference.inputs) - set(record.columns):
            window.absent[name] = window.absent.get(name, 0) + record.rows
        endpoint.rows, endpoint.events = endpoint.rows + record.rows, endpoint.events + 1
        endpoint.errors += record.errors
        _, tables, found = self._parts.setdefault(window.number, (window, [], []))
        tables.append(outputs.table(reference, record))
        found.append(priorities(event.identity, record.rows))
        self.logged.setdefault((digest, time), []).append((event.identity, record))
        self._await_labels(record, window)
        if is_full(window, settings):
            close(self._documents, window, event.at, settings, "rows")

    def _digest(self, record: Inference) -> str:
        """Give the digest of the endpoint's reference for this version of the model; look it up the first time."""
        endpoint, key = self._endpoint, f"{record.model}@{record.model_version}"
        if key not in endpoint.references:
            known, reason = self._lookup(record.model)
            reference = outputs.watched(known, record)
            self._documents.put_reference(reference)
            endpoint.references[key] = reference.digest
            endpoint.unreferenced = reason
        endpoint.model, endpoint.model_version = record.model, record.model_version
        endpoint.model_class, endpoint.function = record.model_class, record.function
        return endpoint.references[key]

    def _window(self, record: Inference, digest: str, start: float, arrived: float) -> Window:
        """Find the open window of a model and a stretch of time, or open one."""
        endpoint, documents = self._endpoint, self._documents
        for number, begins in endpoint.open.items():
            if begins == start:
                window = documents.window(number)
                if (window.reference, window.model, window.model_version) == (
                    digest,
                    record.model,
                    record.model_version,
                ):
                    return window
        endpoint.numbers += 1
        window = Window(
            endpoint=endpoint.name,
            number=endpoint.numbers,
            model=record.model,
            model_version=record.model_version,
            reference=digest,
            start=start,
            end=start + self._settings.window_seconds,
            opened=arrived,
            arrived=arrived,
        )
        endpoint.open[window.number] = start
        documents.put_window(window)
        return window

    # Labels

    def _await_labels(self, record: Inference, window: Window) -> None:
        for name, prediction in zip(record.ids, record.predictions, strict=True):
            row = self._rows.get(name)
            if row is None:
                self._rows[name] = Row(window.number, prediction)
            elif row.window:
                self._endpoint.repeated_ids += 1
                continue
            else:
                self._pair(row, window.number, prediction, row.label)
            self._changed.add(name)

    def _add_labels(self, record: Label) -> None:
        counts = self._endpoint.labels
        for name, label in zip(record.ids, record.labels, strict=True):
            counts.received += 1
            row = self._rows.get(name)
            if row is None:
                self._rows[name] = Row(label=label, labeled=True)
            elif row.labeled:
                if row.label == label:
                    counts.repeated += 1
                else:
                    counts.conflicting += 1
                continue
            else:
                self._pair(row, row.window, row.prediction, label)
            self._changed.add(name)

    def _pair(self, row: Row, number: int, prediction: Any, label: Any) -> None:
        """Note that a prediction and its label have met."""
        row.window, row.prediction, row.label, row.labeled = number, None, label, True
        if self._documents.has(number):
            self._endpoint.labels.joined += 1
            self._joined.setdefault(number, []).append((prediction, label))
        else:
            self._endpoint.labels.homeless += 1

    def _join(self, window: Window, pairs: list[tuple[Any, Any]]) -> None:
        performance, labels = self._documents.performance(window), self._documents.labels(window)
        for prediction, label in pairs:
            performance.add(prediction, label)
        labels.update({labels.reference.names[0]: [label for _, label in pairs]})
        self._documents.put_labels(window, labels, performance)


def close(documents: Documents, window: Window, now: float, settings: Settings, reason: Any) -> None:
    """Close a window, and forget the oldest ones that are too many."""
    endpoint = documents.endpoint
    endpoint.closings += 1
    window.closing, window.closed, window.reason = endpoint.closings, now, reason
    endpoint.open.pop(window.number)
    endpoint.kept.append(window.number)
    if reason == "age":
        endpoint.horizon = max(endpoint.horizon, window.end)
    documents.put_window(window)
    while len(endpoint.kept) > settings.keep_windows:
        documents.forget(endpoint.kept.pop(0))
    if len(endpoint.references) > MODELS:
        _forget_references(documents)


def _forget_references(documents: Documents) -> None:
    """Forget the oldest versions of the model, but for those that windows were made with."""
    endpoint = documents.endpoint
    used = {documents.window(number).reference for number in [*endpoint.open, *endpoint.kept]}
    for key in list(endpoint.references)[:-MODELS]:
        digest = endpoint.references[key]
        if digest not in used:
            del endpoint.references[key]
            if digest not in endpoint.references.values():
                documents.forget_reference(digest)


def _count(window: Window, record: Inference, arrived: float, *, late: bool) -> None:
    window.arrived, window.revision = max(window.arrived, arrived), record.revision
    window.rows, window.events = window.rows + record.rows, window.events + 1
    window.late += record.rows if late else 0
    window.requests += len(set(record.requests))
    window.errors += record.errors
    window.sample = min(window.sample, record.sample)
    window.latency_us += sum(record.latency_us)
    window.slowest_us = max([window.slowest_us, *record.latency_us])
    times = [time for time in record.times if np.isfinite(time)]
    if times:
        window.first = min(times) if window.first is None else min(window.first, *times)
        window.last = max(times) if window.last is None else max(window.last, *times)


def _stacked(tables: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Put tables of the same columns one under the other."""
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}
