"""The layer of the function's own files: the only one that an edit changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from trimtab.builder.abc import Code, Content, Layer, is_executable
from trimtab.builder.cache import Cache
from trimtab.builder.layers import places, pyc
from trimtab.builder.layers.compress import Compression
from trimtab.builder.layers.interpreter import Interpreter
from trimtab.builder.layers.layer import Entries, find_or_make
from trimtab.builder.layers.tar import checked_name
from trimtab.errors import BuildError


def layer(code: Code, interpreter: Interpreter | None, cache: Cache, compression: Compression) -> Layer:
    """Give the layer of `code`. Errors: BuildError for files that cannot be in an image, StoreFull, StoreError."""
    files = {checked_name(name): content for name, content in code.files.items()}
    inputs = [pyc.identity(interpreter), [[name, *fingerprint(content)] for name, content in sorted(files.items())]]
    with TemporaryDirectory(prefix="trimtab-") as scratch:

        def entries() -> Entries:
            placed: Entries = {f"{places.FUNCTION}/{name}": content for name, content in files.items()}
            return pyc.compiled(placed, interpreter, Path(scratch), checked=True)

        return find_or_make("code", inputs, cache, compression, entries)


def fingerprint(content: Content) -> tuple[str, bool]:
    """Give what a file contributes to a layer's key: its SHA-256, and whether it is executable. Errors: BuildError."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), False
    try:
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), is_executable(content)
    except OSError as exc:
        raise BuildError(f"{str(content)!r} cannot be read: {exc.strerror}") from exc
