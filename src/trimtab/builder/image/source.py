"""Where a base image is read from: a registry, or an OCI layout on the disk (`oci:FOLDER[:TAG]`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimtab.builder.cache import CHUNK, Cache, digest_of_bytes
from trimtab.builder.image.documents import Index
from trimtab.builder.registry import Client, Reference, parse
from trimtab.errors import BuildError, RegistryError

LAYOUT = "oci:"


class Source(ABC):
    """Reads one image. What it gives is compared with its digest by whoever asks for it."""

    name: str
    reference: Reference | None = None
    """In a registry: where a destination in the same one can have blobs mounted from."""

    @abstractmethod
    def manifest(self, version: str = "") -> tuple[bytes, str, str]:
        """Give bytes, media type and digest of a manifest; without `version`, of the image. Errors: BuildError."""

    @abstractmethod
    def fetch(self, digest: str) -> Iterator[bytes]:
        """Yield a blob. Errors: BuildError."""


class RegistrySource(Source):
    """An image in a registry. What its tag named last is kept: without a network, that is used, and said."""

    def __init__(self, reference: Reference, cache: Cache, *, insecure: bool = False) -> None:
        self.reference, self.name = reference, str(reference)
        self._client, self._cache = Client(reference, insecure=insecure), cache
        self.notes: list[str] = []

    def manifest(self, version: str = "") -> tuple[bytes, str, str]:
        """Give a manifest; one that is named by digest is kept."""
        assert self.reference is not None
        wanted = version or self.reference.digest
        if wanted and (kept := self._kept(wanted)) is not None:
            return kept
        try:
            content, media_type, digest = self._client.manifest(version)
        except RegistryError as exc:
            if exc.status == 404:
                raise BuildError(f"there is no base image {self.name} ({exc})") from exc
            return self._remembered(version, exc)
        self._cache.keep(f"manifest {digest}", (content, media_type, digest))
        if not wanted:
            self._cache.keep(f"tag {self.name}", digest)
        return content, media_type, digest

    def fetch(self, digest: str) -> Iterator[bytes]:
        """Yield a blob."""
        return self._client.fetch(digest)

    def _kept(self, digest: str) -> tuple[bytes, str, str] | None:
        found = self._cache.record(f"manifest {digest}", tuple[bytes, str, str])
        return found if found is not None and digest_of_bytes(found[0]) == digest else None

    def _remembered(self, version: str, exc: RegistryError) -> tuple[bytes, str, str]:
        last = self._cache.record(f"tag {self.name}", str) if not version and exc.status == 0 else None
        kept = self._kept(last) if last else None
        if kept is None:
            raise exc
        self.notes.append(f"{exc}: the base image is {self.name} as it was last time, {last}")
        return kept


class LayoutSource(Source):
    """An image in an OCI layout on the disk."""

    def __init__(self, text: str) -> None:
        self.name = text
        folder, _, self._tag = text.removeprefix(LAYOUT).partition(":")
        self._folder = Path(folder)

    def manifest(self, version: str = "") -> tuple[bytes, str, str]:
        """Give a manifest."""
        if not version:
            version = self._named()
        content, media_type = b"".join(self.fetch(version)), ""
        if digest_of_bytes(content) == version:
            media_type = str(msgspec.json.decode(content, type=dict[str, object]).get("mediaType", ""))
        return content, media_type, version

    def fetch(self, digest: str) -> Iterator[bytes]:
        """Yield a blob."""
        path = self._folder / "blobs" / digest.replace(":", "/")
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as exc:
            raise BuildError(f"the base image {self.name} is not whole: {path} ({exc.strerror})") from exc

    def _named(self) -> str:
        try:
            index = msgspec.json.decode((self._folder / "index.json").read_bytes(), type=Index)
        except (OSError, msgspec.MsgspecError) as exc:
            raise BuildError(f"{str(self._folder)!r} is no OCI layout: {exc}") from exc
        tags = {each.annotations.get("org.opencontainers.image.ref.name", ""): each.digest for each in index.manifests}
        if not self._tag and len(index.manifests) == 1:
            return index.manifests[0].digest
        if self._tag not in tags:
            raise BuildError(f"{str(self._folder)!r} has no image {self._tag!r}; there is {', '.join(tags) or 'none'}")
        return tags[self._tag]


def open_source(image: str, cache: Cache, *, insecure: bool = False) -> Source:
    """Give what reads a base image. Errors: SpecError for what is no reference."""
    if image.startswith(LAYOUT):
        return LayoutSource(image)
    return RegistrySource(parse(image, "spec.build.baseImage"), cache, insecure=insecure)
