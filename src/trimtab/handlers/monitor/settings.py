"""The monitor's settings: every bound it keeps, with the reason for its default. Read from the environment, once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from msgspec import Struct

from trimtab.config import settings
from trimtab.errors import SpecError
from trimtab.handlers.monitor.stores.abc import HOUR, Limits

PREFIX = "TRIMTAB_MONITOR_"
_MAY_BE_NONE = ("LATENESS", "FLUSH_SECONDS", "SAMPLE", "LOG_DAYS")


class Settings(Struct, frozen=True, kw_only=True):
    """Each is `TRIMTAB_MONITOR_` and its name in capitals. Durations are seconds."""

    store: str = ""
    """Where the state is: `sqlite:///path` or `redis://host:port/number`. Default: the Redis of `TRIMTAB_STATE`, if it names
    one; otherwise a file below `TRIMTAB_HOME`."""
    log: str = ""
    """The folder of the log of rows. Default: one below `TRIMTAB_HOME`."""
    window_rows: int = 10_000
    """A window is closed when it has so many rows: at 3,200 a shift of a tenth of a standard deviation is found at the
    level of one feature in fifty, at 10,000 half of that."""
    window_seconds: float = HOUR
    """A window is closed when its time is over, whatever it holds: the drift check is to look once an hour."""
    lateness: float = 60.0
    """How long after the end of its time a window waits for rows: senders batch and retry for some seconds."""
    backlog: float = 24 * HOUR
    """Rows older than this get no window of their own time: clocks may be wrong, and windows are to be bounded."""
    flush_rows: int = 20_000
    """The journal is worked off when so many rows wait: large enough for files that are worth reading ..."""
    flush_bytes: int = 8 * 2**20
    """... or so many bytes, which bounds the memory it takes ..."""
    flush_seconds: float = 60.0
    """... or when the oldest has waited so long: sketches lag by no more, and an hour has at most 60 files, until it is
    compacted into one."""
    journal_bytes: int = 2**30
    """With more bytes waiting, events are sent back with 503, and the broker keeps them."""
    sample: int = 500
    """Rows of a window that are kept as they are: enough for a multivariate test, and most of the window's size."""
    keep_windows: int = 400
    """Closed windows kept for each endpoint: sixteen days of hours."""
    endpoints: int = 200
    """Endpoints at most; events of another one are refused with a message."""
    endpoint_seconds: float = 30 * 24 * HOUR
    """An endpoint without events for so long is forgotten."""
    log_days: float = 90.0
    """The log's days that are kept; 0 keeps all."""
    seen_seconds: float = Limits().seen_seconds
    """How long an event that comes again is recognised."""
    seen_events: int = Limits().seen_events
    """How many of them are recognised."""
    label_seconds: float = Limits().row_seconds
    """How long a prediction and its label wait for each other."""
    label_rows: int = Limits().rows
    """How many predictions and labels wait for each endpoint, the latest ones."""

    @property
    def limits(self) -> Limits:
        """What the store is to keep to."""
        return Limits(
            seen_seconds=self.seen_seconds,
            seen_events=self.seen_events,
            row_seconds=self.label_seconds,
            rows=self.label_rows,
        )


def from_environ(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Errors: SpecError naming the variable."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        name = f"{PREFIX}{field.name.upper()}"
        text = environ.get(name, "").strip()
        if text:
            values[field.name] = _value(name, text, field.type)
    home = settings(environ).home / "monitor"
    state = environ.get("TRIMTAB_STATE", "")
    values.setdefault(
        "store", f"sqlite://{quote(str(home / 'monitor.db'))}" if state.startswith("sqlite:") or not state else state
    )
    values.setdefault("log", str(home / "log"))
    return Settings(**values)


def _value(name: str, text: str, kind: Any) -> Any:
    kind = next(iter(get_args(kind)), kind)
    if kind is str:
        return text
    least = 0 if name.removeprefix(PREFIX) in _MAY_BE_NONE else 1
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and (value > 0 or value == least)):
        what = (
            "a whole number" if kind is int else "a number of days" if name.endswith("DAYS") else "a number of seconds"
        )
        raise SpecError(f"environment variable {name}", text, f"{what}, {'from 0' if least == 0 else 'above 0'}")
    return value
