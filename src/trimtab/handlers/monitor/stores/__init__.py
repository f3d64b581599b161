"""Where a monitor keeps its state: `abc.py` says what a store owes, `sqlite.py` and `redis.py` are the two there are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from trimtab.errors import SpecError
from trimtab.handlers.monitor.stores.abc import Change, Entry, Journaled, Limits, Store, Stream

__all__ = ["Change", "Entry", "Journaled", "Limits", "Store", "Stream", "open_store"]


def open_store(url: str, limits: Limits | None = None) -> Store:
    """Open `sqlite:///path/to/file` or `redis://host:port/number`. Errors: SpecError, StoreError."""
    limits = limits or Limits()
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.strip("/"):
        from trimtab.handlers.monitor.stores.sqlite import SQLiteStore

        return SQLiteStore(Path(unquote(parts.path)), limits)
    if parts.scheme in ("redis", "rediss", "unix"):
        from trimtab.handlers.monitor.stores.redis import RedisStore

        return RedisStore(url, limits)
    raise SpecError("the monitor's store", url, "sqlite:///path/to/file, redis://host:port/number or rediss://...")
