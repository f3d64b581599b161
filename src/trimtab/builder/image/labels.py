"""What an image says of itself, under OCI's annotation names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from trimtab._version import __version__
from trimtab.builder.abc import Code
from trimtab.builder.image.base import Base
from trimtab.errors import SpecError
from trimtab.spec import Function

_OCI = "org.opencontainers.image"
_OURS = "dev.trimtab"


def labels(function: Function, code: Code, base: Base, created: str) -> dict[str, str]:
    """Give the labels. Nothing of this machine is among them: they are a part of the digest."""
    found = {
        f"{_OCI}.title": function.metadata.name,
        f"{_OCI}.description": function.spec.description,
        f"{_OCI}.source": _public(code.origin),
        f"{_OCI}.revision": code.revision or "",
        f"{_OCI}.created": created,
        f"{_OCI}.base.name": base.name if base.source.reference is not None else "",
        f"{_OCI}.base.digest": base.digest,
        f"{_OURS}.version": __version__,
        f"{_OURS}.function": function.metadata.name,
        f"{_OURS}.handler": code.handler,
        f"{_OURS}.kind": function.spec.kind,
        f"{_OURS}.python": base.python.version,
    }
    return {name: value for name, value in sorted(found.items()) if value}


def created(code: Code, environ: Mapping[str, str] = os.environ) -> str:
    """Give the time that an image carries: SOURCE_DATE_EPOCH, the git commit's, or the epoch. Errors: SpecError."""
    text = environ.get("SOURCE_DATE_EPOCH", "").strip()
    if text and not re.fullmatch(r"\d{1,11}", text):
        raise SpecError("environment variable SOURCE_DATE_EPOCH", text, "seconds since 1970-01-01, such as 1700000000")
    moment = int(text) if text else code.created or 0
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _public(origin: str) -> str:
    """Give an address without the credentials in it; a path of this machine says nothing elsewhere."""
    parts = urlsplit(origin)
    if parts.scheme not in ("https", "http", "ssh", "git"):
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
