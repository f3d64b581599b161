"""A page of shared memory that a replica's workers write on every request and the daemon reads once a second.

It is the autoscaler's only source: no scrape, no socket, nothing a busy worker must answer. One slot per worker, one
cache line per slot, one writing thread per slot. All times are `time.monotonic()`, which on Linux is CLOCK_MONOTONIC
and so the same clock in every process of a machine.

The integral of busy requests over time needs no update while time passes. With `balance` = sum of the times at which
requests ended - sum of the times at which they began, the integral up to now is `balance` + busy * now. An update
writes the record (balance, counts) that is not published and then publishes it by storing the next sequence number,
whose parity says which record holds. A reader that finds the same number before and after has a whole record, and a
writer that is killed half way leaves the previous record standing.
"""

from __future__ import annotations

import mmap
import os
import time
from types import TracebackType
from typing import Self

from msgspec import Struct

_MAGIC = 0x7472696D_00000001
"""Opens the page; the low half is the layout's version."""
_WORDS = 8
"""Words of 8 bytes in a cache line: the header has one line, each slot one."""
_SEQUENCE, _REQUESTS, _ERRORS, _BALANCE, _COUNTS = 0, 1, 2, 4, 6
"""Words of a slot. Balance and counts are pairs; the sequence number's lowest bit picks one of each."""
_WAITING = 1 << 24
"""Counts hold in_flight + waiting * this in one word, so that both change at once."""
_TRIES = 1000


class Sample(Struct, frozen=True, kw_only=True):
    """What a page said at one moment, summed over its workers."""

    in_flight: int
    """Requests inside a handler."""
    waiting: int
    """Requests that wait for a slot."""
    integral: float
    """Of in_flight + waiting over time, in concurrency-seconds since the page was made. The difference of two samples
    over the time between them is the average concurrency in that time."""
    requests: int
    """Requests ended since the page was made, errors among them."""
    errors: int

    @property
    def arrived(self) -> int:
        """Requests that came in since the page was made. May be one too low while a request is just ending."""
        return self.requests + self.in_flight + self.waiting


class StatsSlot:
    """The writer's side of one slot. Only one thread calls it; every `now` is `time.monotonic()` (loop time is too)."""

    __slots__ = ("_balance", "_balances", "_counts", "_errors", "_requests", "_sequence", "_words")

    def __init__(self, words: memoryview[int], balances: memoryview[float]) -> None:
        self._words, self._balances = words, balances
        self._sequence, self._requests, self._errors = words[_SEQUENCE], words[_REQUESTS], words[_ERRORS]
        self._balance = balances[_BALANCE + (self._sequence & 1)]
        self._counts = words[_COUNTS + (self._sequence & 1)]

    def begin(self, now: float) -> None:
        """A request enters the handler. One that waited is taken off with `waiting` first."""
        words = self._words
        self._sequence = sequence = self._sequence + 1
        record = sequence & 1
        self._balances[_BALANCE + record] = self._balance = self._balance - now
        words[_COUNTS + record] = self._counts = self._counts + 1
        words[_SEQUENCE] = sequence

    def end(self, now: float, failed: bool = False) -> None:
        """A request that began has ended; `failed` counts it as an error too."""
        words = self._words
        self._sequence = sequence = self._sequence + 1
        record = sequence & 1
        self._balances[_BALANCE + record] = self._balance = self._balance + now
        words[_COUNTS + record] = self._counts = self._counts - 1
        words[_SEQUENCE] = sequence
        words[_REQUESTS] = self._requests = self._requests + 1
        if failed:
            words[_ERRORS] = self._errors = self._errors + 1

    def waiting(self, n: int, now: float) -> None:
        """From now on `n` requests wait for a slot."""
        more = n - self._counts // _WAITING
        self._publish(self._balance - more * now, self._counts + more * _WAITING)

    def abandon(self, now: float) -> None:
        """What is in flight or waiting ends now, and counts as an error: its worker is dead or gives up."""
        in_flight, waiting = self._counts % _WAITING, self._counts // _WAITING
        busy = in_flight + waiting
        self._publish(self._balance + busy * now, 0)
        self._words[_REQUESTS] = self._requests = self._requests + busy
        self._words[_ERRORS] = self._errors = self._errors + busy

    def _publish(self, balance: float, counts: int) -> None:
        self._sequence += 1
        record = self._sequence & 1
        self._balances[_BALANCE + record] = self._balance = balance
        self._words[_COUNTS + record] = self._counts = counts
        self._words[_SEQUENCE] = self._sequence


class StatsPage:
    """One replica's page. The daemon creates it and hands `fd` on (inherited, or as SCM_RIGHTS); workers attach to it.

    A page survives `fork`: the child may take its slot from the object it inherited.
    """

    def __init__(self, fd: int, *, owns: bool = True) -> None:
        self.fd, self._owns = fd, owns
        self._memory = mmap.mmap(fd, 0)
        raw = memoryview(self._memory)
        self._words: memoryview[int] = raw.cast("q")
        self._views: list[memoryview[int] | memoryview[float]] = [raw, self._words]
        self._lines = [self._line(index) for index in range(1, len(raw) // (_WORDS * 8))]
        self._last = [(0, 0.0)] * len(self._lines)

    @classmethod
    def create(cls, workers: int) -> Self:
        """Make the page of a replica with `workers` worker processes; `fd` is closed on exec unless passed on."""
        fd = os.memfd_create("trimtab-stats")
        try:
            os.ftruncate(fd, (1 + workers) * _WORDS * 8)
            page = cls(fd)
        except BaseException:
            os.close(fd)
            raise
        page._words[0] = _MAGIC
        return page

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Open the page behind an fd that another process created; the caller keeps the fd, which may be closed at once.

        Errors: ValueError when it is no such page.
        """
        size = os.fstat(fd).st_size
        if size < _WORDS * 8 or size % (_WORDS * 8):
            raise ValueError(f"fd {fd} is no stats page: it holds {size} bytes")
        page = cls(fd, owns=False)
        if page._words[0] != _MAGIC:
            found = page._words[0]
            page.close()
            raise ValueError(f"fd {fd} is no stats page of this version: it opens with {found:#x}, not {_MAGIC:#x}")
        return page

    @property
    def workers(self) -> int:
        """How many slots there are."""
        return len(self._lines)

    def slot(self, index: int, now: float | None = None) -> StatsSlot:
        """Give worker `index` its slot to write. Requests that a killed predecessor left there are retired at `now`."""
        slot = StatsSlot(*self._lines[index])
        slot.abandon(time.monotonic() if now is None else now)
        return slot

    def retire(self, index: int, now: float) -> None:
        """Worker `index` is dead: what it had in flight or waiting ends now, as errors. Its totals stay."""
        self.slot(index, now)

    def read(self, now: float) -> Sample:
        """Sum the slots up to `now`. Never waits for a writer, whatever state it is in or died in."""
        in_flight = waiting = requests = errors = 0
        integral = 0.0
        for index, (words, _) in enumerate(self._lines):
            counts, balance = self._record(index)
            busy, queued = counts % _WAITING, counts // _WAITING
            in_flight += busy
            waiting += queued
            integral += max(0.0, balance + (busy + queued) * now)
            requests += words[_REQUESTS]
            errors += words[_ERRORS]
        return Sample(in_flight=in_flight, waiting=waiting, integral=integral, requests=requests, errors=errors)

    def close(self) -> None:
        """Give the memory back; slots taken from this object can no longer be written. Idempotent."""
        while self._views:
            self._views.pop().release()
        self._memory.close()
        if self._owns:
            self._owns = False
            os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, index: int) -> tuple[memoryview[int], memoryview[float]]:
        line = memoryview(self._memory)[index * _WORDS * 8 : (index + 1) * _WORDS * 8]
        words: memoryview[int] = line.cast("q")
        balances: memoryview[float] = line.cast("d")
        self._views += [line, words, balances]
        return words, balances

    def _record(self, index: int) -> tuple[int, float]:
        # Other processes' stores become visible in order on x86; elsewhere they may not, and a sample can then be
        # off by the request that was being written at that moment.
        words, balances = self._lines[index]
        for _ in range(_TRIES):
            sequence = words[_SEQUENCE]
            counts, balance = words[_COUNTS + (sequence & 1)], balances[_BALANCE + (sequence & 1)]
            if words[_SEQUENCE] == sequence:
                self._last[index] = counts, balance
                break
        return self._last[index]
