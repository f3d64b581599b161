"""The base image: one digest for good, one manifest for each platform, and a Python of the right version in it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from trimtab.builder.abc import Layer
from trimtab.builder.cache import Cache, digest_of_bytes
from trimtab.builder.image import python as pythons
from trimtab.builder.image.documents import (
    INDEXES,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    layer_type,
    platform,
)
from trimtab.builder.image.python import Found, Python
from trimtab.builder.image.source import RegistrySource, Source
from trimtab.errors import BuildError


class Base(Struct, kw_only=True):
    """A base image for one platform."""

    name: str
    """As it was asked for."""
    digest: str
    """Of what that named: an index, usually."""
    platform: Platform
    config: Config
    layers: list[Layer]
    python: Python
    source: Source


def default_image(python: str | None) -> str:
    """Give the image that functions sit on where they name none: the official slim one of their Python."""
    return f"python:{'.'.join(python.split('.')[:2]) if python else running()}-slim"


def running() -> str:
    """Give the minor version of the Python that runs now."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def read(source: Source, wanted: list[str], python: str | None, cache: Cache) -> list[Base]:
    """Read a base image for each platform. `python` is the version it must have; None: any that Trimtab runs on.

    Errors: BuildError when a platform or the Python is not there, saying what is; RegistryError.
    """
    content, media_type, digest = source.manifest()
    _compare(source, content, digest)
    bases = []
    for name in wanted:
        manifest = _choose(source, content, media_type, platform(name))
        bases.append(_base(source, digest, manifest, platform(name), python, cache))
    if len({base.python.version for base in bases}) > 1:
        told = ", ".join(f"{base.python.version} for {base.platform}" for base in bases)
        raise BuildError(f"the base image {source.name} has not the same Python for all platforms: {told}")
    return bases


def _choose(source: Source, content: bytes, media_type: str, wanted: Platform) -> Manifest:
    try:
        if media_type not in INDEXES and b'"manifests"' not in content:
            return msgspec.json.decode(content, type=Manifest)
        index = msgspec.json.decode(content, type=Index)
    except msgspec.MsgspecError as exc:
        raise BuildError(f"the base image {source.name} has no manifest that can be read: {exc}") from exc
    found = [each for each in index.manifests if each.platform is not None and each.platform.runs(wanted)]
    if not found:
        there = ", ".join(
            sorted({str(each.platform) for each in index.manifests if each.platform and each.platform.os})
        )
        raise BuildError(f"the base image {source.name} is not for {wanted}; it is for {there or 'no platform'}")
    text, _, digest = source.manifest(found[0].digest)
    _compare(source, text, digest)
    return msgspec.json.decode(text, type=Manifest)


def _base(source: Source, digest: str, manifest: Manifest, wanted: Platform, python: str | None, cache: Cache) -> Base:
    config = msgspec.json.decode(_small(source, manifest.config, cache), type=Config)
    if not config.platform.runs(wanted):
        raise BuildError(f"the base image {source.name} is not for {wanted}; it is for {config.platform}")
    return Base(
        name=source.name,
        digest=digest,
        platform=wanted,
        config=config,
        layers=_layers(manifest, config, source),
        python=_python(source, manifest, config, python, cache),
        source=source,
    )


def _layers(manifest: Manifest, config: Config, source: Source) -> list[Layer]:
    if len(manifest.layers) != len(config.diff_ids) or any(layer.urls for layer in manifest.layers):
        raise BuildError(f"the base image {source.name} has layers that cannot be taken along: build on another")
    return [
        Layer(
            name="base", digest=layer.digest, diff_id=diff_id, size=layer.size, media_type=layer_type(layer.media_type)
        )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    ]


def _python(source: Source, manifest: Manifest, config: Config, wanted: str | None, cache: Cache) -> Python:
    found, musl = pythons.said(config), pythons.is_musl(config)
    if found is None:
        looks = [_looked(source, layer, cache) for layer in manifest.layers]
        found, musl = pythons.choose(looks, config), musl or any(look.musl for look in looks)
    asked = ".".join(wanted.split(".")[:2]) if wanted else None
    needs = f"CPython {asked}" if asked else "CPython 3.11 or newer"
    if found is None:
        raise BuildError(f"the base image {source.name} has no Python: {needs} is needed, as bin/python3.x in a layer")
    if asked not in (None, found.version) or int(found.version.partition(".")[2]) < 11:
        hint = "take another base image" if asked is None else f"take another base image, or build for {found.version}"
        raise BuildError(
            f"the base image {source.name} has Python {found.version} ({found.path}), needed is {needs}: {hint}"
        )
    if musl:
        raise BuildError(
            f"the base image {source.name} is Alpine (musl); wheels are chosen for glibc: take one made of Debian,"
            f" such as {default_image(found.version)}"
        )
    return found


def _looked(source: Source, layer: Descriptor, cache: Cache) -> Found:
    kept = cache.record(f"python in {layer.digest}", Found)
    if kept is None:
        path = fetched(source, layer.digest, cache)
        with path.open("rb") as file:
            kept = pythons.look(lambda: iter(lambda: file.read(1 << 20), b""), layer)
        cache.keep(f"python in {layer.digest}", kept)
    return kept


def fetched(source: Source, digest: str, cache: Cache) -> Path:
    """Give the place of a base layer's bytes, fetched unless they are there. Errors: BuildError, RegistryError."""
    path = cache.path(digest)
    if path is not None:
        return path
    with cache.writing() as file:
        total = hashlib.sha256()
        for chunk in source.fetch(digest):
            total.update(chunk)
            file.write(chunk)
        _same(source, digest, f"sha256:{total.hexdigest()}")
        return cache.add(file, digest)


def notes(source: Source) -> list[str]:
    """Give sentences about how the image was found."""
    return list(source.notes) if isinstance(source, RegistrySource) else []


def _small(source: Source, descriptor: Descriptor, cache: Cache) -> bytes:
    kept = cache.record(f"config {descriptor.digest}", bytes)
    if kept is not None and digest_of_bytes(kept) == descriptor.digest:
        return kept
    content = b"".join(source.fetch(descriptor.digest))
    _compare(source, content, descriptor.digest)
    cache.keep(f"config {descriptor.digest}", content)
    return content


def _compare(source: Source, content: bytes, digest: str) -> None:
    _same(source, digest, digest_of_bytes(content))


def _same(source: Source, wanted: str, found: str) -> None:
    if wanted != found:
        raise BuildError(f"the base image {source.name} is damaged: {wanted} is asked for and {found} comes")
