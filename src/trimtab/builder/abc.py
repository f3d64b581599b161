"""The central types of the builder: bytes from a source, through layers that are pure functions, into a destination.

    spec.Source --read_source--> Code --resolve--> Lock --install--> folder --layers--> Layer --image--> Built

Nothing of the target is executed on the way, so that an image for another platform is built as easily as one's own.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

__all__ = [
    "Built",
    "Code",
    "Content",
    "Declared",
    "Layer",
    "LayerName",
    "Lock",
    "Package",
    "PlatformImage",
    "Progress",
    "Step",
    "is_executable",
]

Content = Path | bytes
"""A file's content: where it lies (read as a stream, so it may be large), or the bytes themselves."""

LayerName = Literal["base", "runtime", "dependencies", "code"]


def is_executable(content: Content) -> bool:
    """Tell whether a file keeps an executable bit; the owner's counts, because umasks leave that one alone."""
    return isinstance(content, Path) and bool(content.stat().st_mode & stat.S_IXUSR)


class Declared(Struct, kw_only=True, frozen=True):
    """What a function says that it requires, and where it says so."""

    lines: list[str] = []
    """PEP 508 requirements, as they were written."""
    where: str = ""
    """For people: 'requirements.txt', 'pyproject.toml', 'the script block of handler.py', 'spec.build.requirements' ..."""
    lock: bytes | None = None
    """A requirements file with the hashes of everything, made of a uv.lock or found so: only these files may be installed."""
    python: str | None = None
    """`requires-python` of the declaration, where it has one."""
    constraints: list[str] = []
    """Versions that are kept to where something requires the package (`-c` in a requirements file)."""
    folder: Path | None = None
    """What relative paths in `lines` are relative to."""
    pinned: bool = False
    """Whether `lines` are the very versions that a pickled function came from: where they are installed, nothing is made."""


class Code(Struct, kw_only=True):
    """What a source gives. Paths in `files` are there, unchanged, until the build ends; all else is plain data."""

    files: dict[str, Content]
    """POSIX names relative to the function's folder; never absolute, never with `..`."""
    handler: str
    """`module:name`, or `module` for the usual name in it."""
    origin: str = ""
    """Where it came from, for people and for the label org.opencontainers.image.source."""
    revision: str | None = None
    """The git commit."""
    created: int | None = None
    """The git commit's time, in seconds since the epoch."""
    requirements: Declared = Declared()
    """What the source itself says it needs."""
    env: dict[str, str] = {}
    """What a notebook's magics set. It never enters an image."""
    commands: list[str] = []
    """Shell commands that the source asks for."""
    config: dict[str, Any] = {}
    """What `%nuclio config` lines of a notebook set, as the Nuclio document that they describe."""
    undefined: list[str] = []
    """Sentences about names that a notebook's code uses and no exported cell defines."""
    notes: list[str] = []
    """Sentences about what was left out or changed: dropped magics, ignored cells."""


class Package(Struct, kw_only=True, frozen=True):
    """One locked distribution; `hashes` are `sha256:...` of the wheels that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()


class Lock(Struct, kw_only=True, frozen=True):
    """Requirements resolved for one Python and one platform."""

    text: str
    """A requirements file with hashes. It travels in the image, and holds neither an index nor a credential."""
    packages: tuple[Package, ...] = ()
    """Sorted by name."""
    digest: str = ""
    """`sha256:...` of everything that decides what is installed: the key of the dependencies layer."""
    links: tuple[Path, ...] = ()
    """Folders of wheels that came with the source; they are named nowhere in `text`."""


class Layer(Struct, kw_only=True, frozen=True):
    """One layer of an image: a compressed tar, and how it is found again."""

    name: LayerName
    digest: str
    """`sha256:...` of the compressed bytes."""
    diff_id: str
    """`sha256:...` of the tar."""
    size: int
    """Compressed bytes."""
    media_type: str
    path: Path | None = None
    """Where the compressed bytes lie; None for a layer of a base image, which is fetched only if a destination needs it."""
    cached: bool = False
    """Whether it was found rather than made."""


class PlatformImage(Struct, kw_only=True):
    """The image of one platform."""

    platform: str
    digest: str
    size: int
    """Compressed bytes of all layers, the base's included."""
    layers: list[Layer]
    packages: list[Package] = []
    sbom: str = ""
    """Digest of the SBOM's manifest, which refers to the image."""


class Step(Struct, kw_only=True):
    """One line of progress. `done` of `total` bytes of `name` went through; a step with `ms` has ended."""

    name: str
    """`runtime`, `dependencies`, `code`, `base`, `push` ..."""
    platform: str = ""
    done: int = 0
    total: int = 0
    ms: float | None = None
    detail: str = ""
    """`cached`, `already there`, `mounted from python` ..."""


Progress = Callable[[Step], None]


class Built(Struct, kw_only=True):
    """What a build gave. `image` with `digest` names it for good, whatever happens to the tag."""

    image: str
    """The reference that was asked for."""
    digest: str
    """Of the manifest, or of the index when there are several platforms."""
    reference: str
    """The image by digest: what a deployment should name."""
    base: str
    """The base image by digest."""
    python: str
    platforms: list[PlatformImage]
    commit: str = ""
    """The git commit of a source that was fetched by git; empty for one of another kind."""
    uploaded: int = 0
    """Bytes that had to be sent or written; what was there already does not count."""
    dry_run: bool = False
    steps: list[Step] = []
    notes: list[str] = []
    """Sentences that people should read."""
