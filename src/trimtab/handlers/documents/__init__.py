"""Small documents with compare-and-set: the loop's state, on one machine in SQLite, on several in Redis."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trimtab.errors import SpecError
from trimtab.handlers.documents.abc import Document, Documents
from trimtab.spec.hint import NOTHING

__all__ = ["Document", "Documents", "open_documents", "state_url"]


def state_url(environ: Mapping[str, str] = os.environ) -> str:
    """Give the URL that functions of one target share: TRIMTAB_STATE. Errors: SpecError, when there is none."""
    if url := environ.get("TRIMTAB_STATE", ""):
        return url
    hint = "the local target sets it by itself; a cluster's is `state` in targets.yaml"
    raise SpecError(
        "environment variable TRIMTAB_STATE", NOTHING, "sqlite:///path or redis://host:port/number", hint=hint
    )


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
