"""The central types of the monitor: its settings' effects are windows, and an endpoint that knows how far it has come."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class Window(Struct, kw_only=True):
    """A stretch of one endpoint's traffic. Its sketch does not change any more once it is closed."""

    endpoint: str
    number: int
    """Counts the endpoint's windows, from 1."""
    model: str
    model_version: str = ""
    revision: str = ""
    """Of the function, as it was when the latest event arrived."""
    reference: str
    """The digest of the reference that its sketch was made with."""
    start: float
    """The stretch of time that it is for, in seconds since the epoch: from here ..."""
    end: float
    """... to before here."""
    opened: float
    """When its first event arrived."""
    arrived: float
    """When its last event arrived."""
    first: float | None = None
    """When its earliest row was answered."""
    last: float | None = None
    """When its latest row was answered."""
    rows: int = 0
    events: int = 0
    late: int = 0
    """Rows that belong to an earlier stretch, whose window was closed when they arrived."""
    requests: int = 0
    """Those that the rows came in."""
    errors: int = 0
    """Requests that the model failed to answer."""
    sample: float = 1.0
    """The smallest share of requests that was recorded."""
    latency_us: int = 0
    """The sum over all rows."""
    slowest_us: int = 0
    absent: dict[str, int] = {}
    """Rows whose record lacked a column that the reference has, by column; they count as missing."""
    closing: int = 0
    """Counts the endpoint's closed windows in the order of closing, from 1; 0: it is open."""
    closed: float | None = None
    """When it was closed ..."""
    reason: Literal["", "rows", "age"] = ""
    """... and whether because it had enough rows, or because its time was over."""


class Claim(Struct, kw_only=True):
    """A piece of the journal that is being worked on: all events up to a number, by whoever comes when `until` is over."""

    upto: int
    name: str
    """The first and last number; files of the log that are made of it carry it, so that making them again makes the same."""
    at: float
    owner: str
    until: float


class LabelCounts(Struct, kw_only=True):
    """What became of an endpoint's labels."""

    received: int = 0
    joined: int = 0
    """Those that met their prediction."""
    repeated: int = 0
    """The same label for the same row again."""
    conflicting: int = 0
    """Another label for a row that has one; the first one stands."""
    homeless: int = 0
    """Those of a window that is not kept any more."""


class Endpoint(Struct, kw_only=True):
    """One endpoint's own document: what it is, and how far its windows have come."""

    name: str
    model: str = ""
    model_version: str = ""
    model_class: str = ""
    function: str = ""
    first: float | None = None
    """When its first event arrived."""
    last: float | None = None
    """When its last event that was worked on arrived."""
    rows: int = 0
    events: int = 0
    errors: int = 0
    repeated_ids: int = 0
    """Rows whose id an earlier row had; labels go to the earlier one."""
    labels: LabelCounts
    references: dict[str, str] = {}
    """Digests by model and version."""
    unreferenced: str = ""
    """Why the model's training data is not known; empty when it is."""
    numbers: int = 0
    """Windows so far."""
    closings: int = 0
    """Closed windows so far."""
    horizon: float = 0.0
    """Windows that ended by age ended up to here; what is older, and has no open window, is late."""
    open: dict[int, float] = {}
    """Open windows: the start of each by its number."""
    kept: list[int] = []
    """Closed windows that are still there, in the order of closing."""
    claim: Claim | None = None


class Row(Struct, array_like=True):
    """What is known of one row until its label was joined, and for a while after that."""

    window: int = 0
    """0: only the label arrived yet."""
    prediction: Any = None
    label: Any = None
    labeled: bool = False
