"""The port of every destination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from trimtab.builder.abc import Progress, Step
from trimtab.builder.cache import Cache
from trimtab.builder.image.base import fetched
from trimtab.builder.image.bundle import Blob, Bundle

__all__ = ["Destination", "bytes_of", "silent"]


def silent(_: Step) -> None:
    """Show nothing."""


class Destination(ABC):
    """Takes images. What is not whole has no name there: blobs first, then manifests, the name last.

    Bytes of the cache are compared with their digest before they are used.
    """

    platforms: int | None = None
    """How many platforms one image may have there; None: any number."""

    @abstractmethod
    def missing(self, bundle: Bundle) -> list[Blob]:
        """Name the blobs that are not there yet. Nothing is changed. Errors: RegistryError, StoreError."""

    @abstractmethod
    def send(self, bundle: Bundle, cache: Cache, progress: Progress = silent) -> int:
        """Make the image available under its name; give the bytes of blobs that had to be moved.

        Errors: RegistryError, StoreFull, StoreError, CorruptEntry (after which everything may simply be done again).
        """


def bytes_of(blob: Blob, cache: Cache) -> bytes | Path:
    """Give a blob's bytes, or where they lie after they were checked. Errors: CorruptEntry, BuildError."""
    if blob.data is not None:
        return blob.data
    if blob.source is not None:
        fetched(blob.source, blob.digest, cache)
    return cache.checked(blob.digest)
