"""The JSON documents of OCI's image specification, as far as they are read and written here."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from trimtab.builder.cache import digest_of_bytes
from trimtab.errors import BuildError, SpecError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


class Platform(Struct, omit_defaults=True, frozen=True):
    """An operating system and a machine."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, wanted: Platform) -> bool:
        """Whether an image for this platform is one for `wanted`; arm64 is arm64/v8, there is no other."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        default = "v8" if self.architecture == "arm64" else ""
        return (self.variant or default) == (wanted.variant or default) or not wanted.variant


class Descriptor(Struct, rename="camel", omit_defaults=True):
    """A reference to content. `urls` make a layer foreign: it may not be taken along."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    urls: list[str] = []


class Manifest(Struct, rename="camel", omit_defaults=True):
    """An image for one platform, or an artifact that refers to one."""

    config: Descriptor
    layers: list[Descriptor]
    schema_version: int = field(default=2)
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(Struct, rename="camel", omit_defaults=True):
    """Images for several platforms."""

    manifests: list[Descriptor]
    schema_version: int = field(default=2)
    media_type: str = ""
    annotations: dict[str, str] = {}


class Config(Struct, rename="camel", omit_defaults=True):
    """What is read of a base image's configuration; `config` holds Env, Labels, Entrypoint ... under Docker's names."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    config: dict[str, Any] | None = None
    rootfs: dict[str, Any] = {}
    history: list[dict[str, Any]] | None = None

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(self.architecture, self.os, self.variant)

    @property
    def env(self) -> dict[str, str]:
        """Its variables."""
        return dict(entry.partition("=")[::2] for entry in (self.config or {}).get("Env") or [])

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the layers' tars."""
        return list(self.rootfs.get("diff_ids") or [])


class Document(Struct, frozen=True):
    """A manifest or index as bytes, which are what its digest is of."""

    content: bytes
    media_type: str
    annotations: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """Its name."""
        return digest_of_bytes(self.content)

    def descriptor(self, platform: Platform | None = None, artifact_type: str = "") -> Descriptor:
        """Refer to it."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.content),
            platform=platform,
            artifact_type=artifact_type,
        )


def platform(text: str) -> Platform:
    """Read `linux/arm64` or `linux/arm64/v8`. Errors: SpecError."""
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if not os or not architecture:
        raise SpecError("spec.build.platforms", text, "a platform such as 'linux/amd64'")
    return Platform(architecture, os, variant)


def encode(document: Struct) -> bytes:
    """Write a document: `schemaVersion` is 2 everywhere, said although it is the default here."""
    fields = msgspec.to_builtins(document)
    if isinstance(document, Manifest | Index):
        fields = {"schemaVersion": 2, **fields}
    return msgspec.json.encode(fields)


def layer_type(media_type: str) -> str:
    """Give OCI's name of a base layer's media type: the bytes are the same under Docker's. Errors: BuildError."""
    found = _LAYERS.get(media_type, media_type)
    if not found.startswith("application/vnd.oci.image.layer.v1.tar"):
        raise BuildError(f"the base image has a layer of type {media_type!r}, which is none of OCI's or Docker's")
    return found
