"""A registry: only what is missing is sent, base layers are mounted from where they are, and the tag moves last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from trimtab.builder.abc import Progress, Step
from trimtab.builder.cache import Cache
from trimtab.builder.destinations.abc import Destination, bytes_of, silent
from trimtab.builder.image.bundle import Blob, Bundle, Made
from trimtab.builder.image.documents import INDEX, Descriptor, Document, Index, encode
from trimtab.builder.image.sbom import MEDIA_TYPE
from trimtab.builder.registry import Client, Reference
from trimtab.errors import RegistryError

_AT_ONCE = 4
"""Blobs in flight: a laptop's uplink has no use for more."""

Result = TypeVar("Result")


class RegistryDestination(Destination):
    """The repository and the tag that `reference` names."""

    def __init__(self, reference: Reference, *, insecure: bool = False) -> None:
        self.reference = reference
        self._client = Client(reference, insecure=insecure)
        self._stopped = threading.Event()

    def missing(self, bundle: Bundle) -> list[Blob]:
        """Ask for each blob, unless the tag names this very image already: then everything is there."""
        if self._client.digest(self.reference.version) == bundle.root.digest:
            return []
        blobs = list(bundle.blobs.values())
        there = self._at_once(lambda blob: self._client.has(blob.digest), blobs)
        return [blob for blob, has in zip(blobs, there, strict=True) if not has]

    def send(self, bundle: Bundle, cache: Cache, progress: Progress = silent) -> int:
        """Send blobs, manifests, SBOMs, and at last the tag."""
        if self._client.digest(self.reference.version) == bundle.root.digest:
            progress(Step(name="push", ms=0, detail=f"{self.reference} is this image already"))
            return 0
        sent = sum(self._at_once(lambda blob: self._blob(blob, cache, progress), bundle.blobs.values()))
        for document in bundle.children:
            self._client.put_manifest(document.content, document.media_type, document.digest)
        self._client.put_manifest(bundle.root.content, bundle.root.media_type, bundle.root.digest)
        for made in bundle.images:
            self._refer(made)
        if self.reference.tag:
            self._client.put_manifest(bundle.root.content, bundle.root.media_type, self.reference.tag)
        return sent

    def _blob(self, blob: Blob, cache: Cache, progress: Progress) -> int:
        started, done = time.monotonic(), 0

        def step(detail: str = "", *, end: bool = True) -> None:
            ms = (time.monotonic() - started) * 1000 if end else None
            progress(Step(name=f"push {blob.name}", done=done, total=blob.size, ms=ms, detail=detail))

        if self._client.has(blob.digest):
            step("there already")
            return 0
        if self._mounted(blob):
            step(f"mounted from {blob.source.name}" if blob.source else "")
            return 0

        def sent(size: int) -> None:
            nonlocal done
            done += size
            step(end=False)
            if self._stopped.is_set():
                raise _Stopped

        self._client.send(bytes_of(blob, cache), blob.digest, blob.size, sent)
        done = blob.size
        step("sent")
        return blob.size

    def _at_once(self, function: Callable[[Blob], Result], blobs: Iterable[Blob]) -> list[Result]:
        """Do something to all blobs, a few at a time; the first failure ends the others at their next chunk."""
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="trimtab-push")
        try:
            return list(pool.map(function, blobs))
        except BaseException:
            self._stopped.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _mounted(self, blob: Blob) -> bool:
        base = blob.source.reference if blob.source else None
        if base is None or base.host != self.reference.host or base.repository == self.reference.repository:
            return False
        return self._client.mount(blob.digest, base.repository)

    def _refer(self, made: Made) -> None:
        answer = self._client.put_manifest(made.referrer.content, made.referrer.media_type, made.referrer.digest)
        if not answer.headers.get("OCI-Subject"):
            self._tag_referrers(made)

    def _tag_referrers(self, made: Made) -> None:
        """Keep the list of an image's referrers under a tag, for registries without the referrers API (OCI 1.1)."""
        tag = made.manifest.digest.replace(":", "-")
        entry = made.referrer.descriptor(artifact_type=MEDIA_TYPE)
        entry.annotations = made.referrer.annotations
        listed = [each for each in self._listed(tag) if each.digest != entry.digest]
        index = Document(encode(Index(manifests=[*listed, entry], media_type=INDEX)), INDEX)
        self._client.put_manifest(index.content, index.media_type, tag)

    def _listed(self, tag: str) -> list[Descriptor]:
        try:
            content, media_type, _ = self._client.manifest(tag)
        except RegistryError as exc:
            if exc.status == 404:
                return []
            raise
        return msgspec.json.decode(content, type=Index).manifests if media_type == INDEX else []


class _Stopped(Exception):
    """Another blob failed, or somebody pressed Ctrl-C: the rest of this one is not wanted."""
