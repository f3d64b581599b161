"""What a monitor needs of the place that keeps its state: a journal that knows what it has seen, and documents.

A stream is one endpoint's. What arrives is put into its journal, and that is when it is safe. Later, whoever is first takes a
piece of the journal, works out what the documents become, and commits: documents, rows and the end of that piece of the journal
change together or not at all. Every commit names the version it builds on, so that of two who work on the same piece
one fails, and nothing is counted twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from msgspec import Struct

HOUR = 3600.0


class Limits(Struct, frozen=True, kw_only=True):
    """What keeps a store from growing with the traffic."""

    seen_seconds: float = 24 * HOUR
    """How long an event's id is known. Brokers give up redelivery within hours; a day is on the safe side of that."""
    seen_events: int = 1_000_000
    """How many ids are known at most, the latest ones: some 100 MB in SQLite."""
    row_seconds: float = 7 * 24 * HOUR
    """How long a prediction waits for its label, and a label for its prediction."""
    rows: int = 200_000
    """How many of them wait at most for each endpoint, the latest ones: some 20 MB."""


class Entry(Struct, frozen=True, kw_only=True):
    """One event on its way into the journal."""

    stream: str
    identity: str
    """The event's source and id in one text."""
    label: bool = False
    """Whether it brings labels; otherwise inferences."""
    rows: int
    at: float
    """When it arrived, in seconds since the epoch."""
    data: bytes


class Journaled(Struct, frozen=True, kw_only=True):
    """One event in the journal; numbers grow within a stream, in the order of arrival."""

    number: int
    entry: Entry


class Stream(Struct, frozen=True):
    """One stream's journal: how much waits there, and since when (None: nothing does)."""

    name: str
    events: int = 0
    rows: int = 0
    bytes: int = 0
    oldest: float | None = None


class Change(Struct, kw_only=True):
    """What one commit changes."""

    put: dict[str, bytes] = {}
    """Documents by key."""
    delete: list[str] = []
    """Keys of documents."""
    upto: int = 0
    """Events up to this number leave the journal; 0: none."""
    rows: dict[str, bytes] = {}
    """Rows by id."""
    at: float = 0.0
    """The age of those rows is counted from here."""


class Store(ABC):
    """A place for the state of any number of monitor replicas at the same time. Errors of all methods: StoreError."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @abstractmethod
    def append(self, entries: list[Entry]) -> list[bool]:
        """Put events into their journals, all or none. What was put in is there after a crash once this returns.

        False for an event whose identity is known from before (or from this list): it is left out. Only what `limits`
        let the store forget can come in again. Errors: StoreFull, with nothing put in.
        """

    @abstractmethod
    def streams(self) -> list[Stream]:
        """All streams that have a journal, or a document, by name."""

    @abstractmethod
    def pending(self, stream: str, *, upto: int = 0, rows: int = 0, bytes: int = 0) -> list[Journaled]:
        """The oldest events of a journal, in order: those up to a number, or so many that they reach `rows` or `bytes`.

        Each limit that is 0 does not apply. There is at least one event if the journal has one.
        """

    @abstractmethod
    def read(self, stream: str, keys: Iterable[str]) -> tuple[int, dict[str, bytes]]:
        """The stream's version (0 before its first commit), and those of its documents that there are; one moment's."""

    @abstractmethod
    def keys(self, stream: str, prefix: str) -> list[str]:
        """The keys of a stream's documents that begin so, in order."""

    @abstractmethod
    def rows(self, stream: str, ids: Iterable[str]) -> dict[str, bytes]:
        """Those of a stream's rows that there are."""

    @abstractmethod
    def commit(self, stream: str, version: int, change: Change) -> bool:
        """Make a change, all or nothing, if the stream still has this version; it then has the next one.

        False, and nothing changes, if it has another. What was changed is there after a crash once this returns.
        """

    @abstractmethod
    def sweep(self, now: float) -> None:
        """Forget what `limits` say is to be forgotten."""

    @abstractmethod
    def drop(self, stream: str, version: int) -> bool:
        """Forget a stream's documents and rows, if it still has this version and nothing waits in its journal.

        False, and nothing changes, otherwise.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or connection."""
