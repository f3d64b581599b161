"""An image as it goes to a destination: blobs, the documents that name them, and in which order they may appear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from trimtab.builder.abc import Code, Layer, Package, PlatformImage
from trimtab.builder.cache import digest_of_bytes
from trimtab.builder.image import labels as words
from trimtab.builder.image.base import Base
from trimtab.builder.image.config import config
from trimtab.builder.image.documents import (
    CONFIG,
    EMPTY,
    INDEX,
    MANIFEST,
    Descriptor,
    Document,
    Index,
    Manifest,
    encode,
)
from trimtab.builder.image.sbom import MEDIA_TYPE, sbom
from trimtab.builder.image.source import Source
from trimtab.spec import Function


class Blob(Struct, kw_only=True):
    """Some bytes by their digest: in memory, in the cache, or still where the base image is."""

    name: str
    digest: str
    size: int
    media_type: str
    data: bytes | None = None
    path: Path | None = None
    source: Source | None = None


class Made(Struct, kw_only=True):
    """One platform's image."""

    base: Base
    manifest: Document
    referrer: Document
    """The manifest of the SBOM, whose subject is the image."""
    summary: PlatformImage


class Bundle(Struct, kw_only=True):
    """Everything of an image. Blobs come first, then manifests, then referrers; `root` is what a tag names, last."""

    blobs: dict[str, Blob]
    images: list[Made]
    root: Document

    @property
    def children(self) -> list[Document]:
        """Manifests below the root."""
        return [] if len(self.images) == 1 else [made.manifest for made in self.images]


def bundle(
    function: Function,
    code: Code,
    bases: Sequence[Base],
    layers: Sequence[list[Layer]],
    packages: Sequence[list[Package]],
) -> Bundle:
    """Put an image together: for each base its layers, and the packages in them. Errors: SpecError."""
    created = words.created(code)
    blobs: dict[str, Blob] = {}
    images = [
        _image(function, code, base, own, inside, created, blobs)
        for base, own, inside in zip(bases, layers, packages, strict=True)
    ]
    if len(images) == 1:
        return Bundle(blobs=blobs, images=images, root=images[0].manifest)
    annotations = words.labels(function, code, bases[0], created)
    index = Index(
        manifests=[made.manifest.descriptor(made.base.platform) for made in images],
        media_type=INDEX,
        annotations=annotations,
    )
    return Bundle(blobs=blobs, images=images, root=Document(encode(index), INDEX))


def _image(
    function: Function,
    code: Code,
    base: Base,
    layers: list[Layer],
    packages: list[Package],
    created: str,
    blobs: dict[str, Blob],
) -> Made:
    labels = words.labels(function, code, base, created)
    everything = [*base.layers, *layers]
    for layer in everything:
        blobs[layer.digest] = Blob(
            name=layer.name,
            digest=layer.digest,
            size=layer.size,
            media_type=layer.media_type,
            path=layer.path,
            source=base.source if layer.name == "base" else None,
        )
    described = _data(blobs, "config", CONFIG, config(base, layers, code.handler, labels, created))
    parts = [Descriptor(media_type=each.media_type, digest=each.digest, size=each.size) for each in everything]
    image = Document(
        encode(Manifest(config=described, layers=parts, media_type=MANIFEST, annotations=labels)), MANIFEST
    )
    referrer = _referrer(image, sbom(function.metadata.name, image, base, packages, created), created, blobs)
    summary = PlatformImage(
        platform=str(base.platform),
        digest=image.digest,
        size=sum(each.size for each in everything),
        layers=everything,
        packages=packages,
        sbom=referrer.digest,
    )
    return Made(base=base, manifest=image, referrer=referrer, summary=summary)


def _referrer(image: Document, bill: bytes, created: str, blobs: dict[str, Blob]) -> Document:
    manifest = Manifest(
        config=_data(blobs, "empty", EMPTY, b"{}"),
        layers=[_data(blobs, "sbom", MEDIA_TYPE, bill)],
        media_type=MANIFEST,
        artifact_type=MEDIA_TYPE,
        subject=image.descriptor(),
        annotations={"org.opencontainers.image.created": created},
    )
    return Document(encode(manifest), MANIFEST, manifest.annotations)


def _data(blobs: dict[str, Blob], name: str, media_type: str, data: bytes) -> Descriptor:
    digest = digest_of_bytes(data)
    blobs[digest] = Blob(name=name, digest=digest, size=len(data), media_type=media_type, data=data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
