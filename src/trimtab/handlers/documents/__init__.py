"""Small documents with compare-and-set: the loop's state, on one machine in SQLite, on several in Redis."""

from __future__ import annotations

from pathlib import Path

from trimtab.errors import SpecError
from trimtab.handlers.documents.abc import Document, Documents

__all__ = ["Document", "Documents", "open_documents"]


def open_documents(url: str) -> Documents:
    """Open by URL: `sqlite:///absolute/path.db`, or `redis://host:port/0` (`rediss://` with TLS).

    Errors: SpecError (another kind of URL), StoreError.
    """
    if url.startswith("sqlite:///"):
        from trimtab.handlers.documents.sqlite import SqliteDocuments

        return SqliteDocuments(Path(url.removeprefix("sqlite://")))
    if url.startswith(("redis://", "rediss://", "unix://")):
        from trimtab.handlers.documents.redis import RedisDocuments

        return RedisDocuments(url)
    shown = url.partition("://")[0] + "://..." if "://" in url else url  # the rest may hold a password
    raise SpecError("state URL", shown, "sqlite:///path or redis://host:port/number")
