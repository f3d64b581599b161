"""The port: small documents that several processes change without losing each other's changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from msgspec import Struct

ATTEMPTS = 100
"""Rounds of read, change and write before `change` gives up: each lost round is somebody else's success."""


class Document(Struct, frozen=True):
    """A document as it was read. `version` counts its changes; 0 is a document that is not there."""

    text: bytes
    version: int


class Documents(ABC):
    """Documents by name.

    Duties: a `put` that said True is on the disk (or wherever the backend keeps things) and seen by every later `get` of
    any process; of two puts over the same version exactly one succeeds. Errors of all methods: StoreError.
    """

    @abstractmethod
    def get(self, name: str) -> Document:
        """Read one; empty text and version 0 when it is not there."""

    @abstractmethod
    def put(self, name: str, text: bytes, version: int) -> bool:
        """Write over the version that was read; False when somebody wrote in between. The new version is one more."""

    @abstractmethod
    def names(self, prefix: str = "") -> list[str]:
        """Names that begin with `prefix`, sorted."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Forget one, if it is there."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""

    def change(self, name: str, change: Callable[[bytes], bytes]) -> bytes:
        """Apply a pure function to a document, again if somebody wrote in between; give what stands there now.

        Errors: StoreError when that never succeeds, and whatever `change` raises.
        """
        from trimtab.errors import StoreError

        for _ in range(ATTEMPTS):
            document = self.get(name)
            text = change(document.text)
            if text == document.text or self.put(name, text, document.version):
                return text
        raise StoreError(f"document {name!r}: {ATTEMPTS} writers came first; try again")
