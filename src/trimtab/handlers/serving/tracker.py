"""Tracking: what was asked and answered goes to the sink as columnar events, off the request path.

A request only appends to a list. A thread turns what has gathered, by number or by age, into events and hands them to
the emitter, which has its own thread, memory and disk. Nothing here waits for anything of that, or fails a prediction:
what finds no room is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from trimtab.handlers.records import Inference, to_event
from trimtab.handlers.serving import tables
from trimtab.runtime.context import Context
from trimtab.spec import Tracking
from trimtab.spec.quantity import seconds

if TYPE_CHECKING:
    from trimtab.handlers.serving.entry import Entry

logger = logging.getLogger("trimtab.tracking")

MOST_ROWS = 200_000
"""Rows that may wait for the thread; beyond it they are dropped and counted."""
MOST_BYTES = 64 * 2**20
_LARGE = 256 * 1024
"""Bytes of inputs after which an event goes out, however few its rows are."""
_END_WITHIN = 5.0


class Row(Struct, frozen=True, gc=False):
    """What is kept of one request."""

    table: Any
    predictions: Any
    probabilities: Any
    request: str
    ids: list[str] | None
    latency_us: int
    time: float

    def __len__(self) -> int:
        return len(self.table)


class _Gathered:
    """The requests of one model that wait to become an event."""

    __slots__ = ("entry", "errors", "rows", "size", "taken", "timer")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.taken: list[Row] = []
        self.rows = self.size = self.errors = 0
        self.timer: asyncio.TimerHandle | None = None


class Tracker:
    """Belongs to the loop it is made in; `stop` ends it."""

    def __init__(self, context: Context, tracking: Tracking, *, draw: Any = random.random) -> None:
        self._context, self.tracking, self._draw = context, tracking, draw
        self._age = seconds(tracking.age)
        self._loop = asyncio.get_running_loop()
        self._gathered: dict[str, _Gathered] = {}
        self._work: queue.SimpleQueue[_Gathered | None] = queue.SimpleQueue()
        self._waiting_rows = self._waiting_bytes = 0
        self.recorded = self.dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="trimtab-track", daemon=True)
        self._thread.start()

    def wanted(self) -> bool:
        """Draw whether a request is recorded: each with the same chance, whatever came before."""
        sample = self.tracking.sample
        return sample >= 1.0 or self._draw() < sample

    def record(self, entry: Entry, row: Row) -> None:
        """Keep a request that was answered."""
        found = self._of(entry)
        table = row.table
        rows = len(table)
        found.taken.append(row)
        found.rows += rows
        found.size += table.nbytes if type(table) is np.ndarray else 64 * rows
        if found.rows >= self.tracking.batch or found.size >= _LARGE:
            self._hand_over(entry.key)

    def failed(self, entry: Entry) -> None:
        """Count a request that the model failed to answer."""
        self._of(entry).errors += 1

    def _of(self, entry: Entry) -> _Gathered:
        found = self._gathered.get(entry.key)
        if found is not None and found.entry is not entry:
            self._hand_over(entry.key)  # another version of the model took over
            found = None
        if found is None:
            found = self._gathered[entry.key] = _Gathered(entry)
            found.timer = self._loop.call_later(self._age, self._hand_over, entry.key)
        return found

    def _hand_over(self, key: str) -> None:
        found = self._gathered.pop(key, None)
        if found is None:
            return
        if found.timer is not None:
            found.timer.cancel()
        with self._lock:
            if self._waiting_rows + found.rows > MOST_ROWS or self._waiting_bytes + found.size > MOST_BYTES:
                self.dropped += found.rows
                return
            self._waiting_rows += found.rows
            self._waiting_bytes += found.size
        self._work.put(found)

    async def stop(self) -> None:
        """Hand over what has gathered, and wait until it is with the emitter."""
        for key in list(self._gathered):
            self._hand_over(key)
        self._work.put(None)
        await asyncio.to_thread(self._thread.join, _END_WITHIN)

    # The thread

    def _run(self) -> None:
        while (found := self._work.get()) is not None:
            try:
                self._emit(found)
            except Exception:
                logger.exception("%d rows of model %r are not recorded", found.rows, found.entry.key)
                self.dropped += found.rows
            with self._lock:
                self._waiting_rows -= found.rows
                self._waiting_bytes -= found.size

    def _emit(self, found: _Gathered) -> None:
        emitter = self._context.emitter
        if emitter is None:
            self.dropped += found.rows
            return
        most = self.tracking.batch
        errors, part, rows = found.errors, list[Row](), 0
        for row in found.taken:
            for piece in (row,) if len(row.table) <= most else _pieces(row, most):
                if part and (rows + len(piece) > most or not _alike(piece.table, part[0].table)):
                    emitter.emit(to_event(self._inference(found.entry, part, errors)))
                    errors, part, rows = 0, [], 0
                part.append(piece)
                rows += len(piece)
        if part or errors:
            emitter.emit(to_event(self._inference(found.entry, part, errors)))
        self.recorded += found.rows

    def _inference(self, entry: Entry, rows: list[Row], errors: int) -> Inference:
        features = getattr(entry.server, "features", None)
        names = features.names if features is not None else None
        table = tables.joined([row.table for row in rows]) if rows else []
        columns, inputs = tables.columns(table, names) if rows else ([], [])
        artifact = entry.server.artifact
        context = self._context
        counts = [len(row.table) for row in rows]
        requests = _repeated([row.request for row in rows], counts)
        single = len(requests) == len(rows) and not any(row.ids for row in rows)
        return Inference(
            endpoint=f"{context.function}/{entry.key}",
            model=entry.uri,
            model_version=entry.version or (artifact.version if artifact is not None else ""),
            model_class=type(entry.server).__name__,
            function=context.function,
            revision=context.revision,
            columns=columns,
            inputs=inputs,
            predictions=_joined([row.predictions for row in rows]),
            probabilities=_probabilities(entry.server, table, rows),
            classes=_classes(entry.server),
            ids=requests if single else [identity for row in rows for identity in _ids(row)],
            requests=requests,
            latency_us=_repeated([row.latency_us for row in rows], counts),
            times=_repeated([row.time for row in rows], counts),
            sample=self.tracking.sample,
            errors=errors,
            metrics=dict(entry.server.metrics),
        )


def _classes(server: Any) -> list[Any] | None:
    found = getattr(server, "classes", None)
    return list(found) if isinstance(found, list | tuple | np.ndarray) else None


def _probabilities(server: Any, table: Any, rows: list[Row]) -> list[list[float | None]] | None:
    """Give the probabilities that are known, or work them out where the request's own call did not."""
    if rows and all(row.probabilities is not None for row in rows):
        return _joined([row.probabilities for row in rows])
    if rows and getattr(server, "probabilities_later", False):
        found: list[list[float | None]] = server.model.predict_proba(table).tolist()
        return found
    return None


def _pieces(row: Row, most: int) -> list[Row]:
    """Cut a request of more rows than an event holds."""
    ids = _ids(row)
    return [
        Row(
            row.table[at : at + most],
            row.predictions[at : at + most],
            None if row.probabilities is None else row.probabilities[at : at + most],
            row.request,
            ids[at : at + most],
            row.latency_us,
            row.time,
        )
        for at in range(0, len(row), most)
    ]


def _alike(one: Any, other: Any) -> bool:
    """Tell whether tables can be joined: of one kind, with the same columns."""
    return type(one) is type(other) and getattr(one, "shape", (0,))[1:] == getattr(other, "shape", (0,))[1:]


def _ids(row: Row) -> list[str]:
    if row.ids is not None:
        return row.ids
    return [row.request] if len(row) == 1 else [f"{row.request}-{index}" for index in range(len(row))]


def _repeated(values: list[Any], counts: list[int]) -> list[Any]:
    """Give each request's value once for each of its rows."""
    if len(values) == sum(counts):
        return values
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _joined(parts: list[Any]) -> list[Any]:
    if parts and all(isinstance(part, np.ndarray) for part in parts):
        found: list[Any] = np.concatenate(parts).tolist()
        return found
    return [value for part in parts for value in (part.tolist() if hasattr(part, "tolist") else part)]
