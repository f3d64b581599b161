"""What is to be built and where it goes, checked before anything is done."""

from __future__ import annotations

import platform
from pathlib import Path

from msgspec import Struct

from trimtab.builder.destinations.abc import Destination
from trimtab.builder.destinations.layout import ArchiveDestination, LayoutDestination
from trimtab.builder.destinations.load import Engine, LoadDestination
from trimtab.builder.destinations.registry import RegistryDestination
from trimtab.builder.image.documents import platform as checked_platform
from trimtab.builder.layers.compress import Compression
from trimtab.builder.registry import parse
from trimtab.errors import SpecError
from trimtab.spec import Function

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class BuildRequest(Struct, kw_only=True):
    """One build. Without `layout`, `archive` and `load` the image is pushed to the registry that its name says."""

    function: Function
    image: str = ""
    """The image's name. Without it: the function's, below `TRIMTAB_REGISTRY`."""
    layout: Path | None = None
    """A folder that becomes (or is) an OCI layout."""
    archive: Path | None = None
    """A file for `docker load`."""
    load: Engine | None = None
    """The container engine of this machine that takes the image."""
    compression: Compression = "gzip"
    insecure: bool = False
    """Speak HTTP to registries that are not on this machine."""
    dry_run: bool = False
    """Make the layers, say what would be sent, and send nothing."""


def named(request: BuildRequest, registry: str) -> str:
    """Give the image's full name; `registry` is where those go that are given none. Errors: SpecError without either."""
    if request.image:
        return str(parse(request.image))
    name = request.function.metadata.name
    if not registry or not name:
        hint = "TRIMTAB_REGISTRY sets a default"
        raise SpecError("image", None, "an image's name (-t registry.example.com/team/hello)", hint=hint)
    return str(parse(f"{registry}/{name}"))


def platforms(request: BuildRequest, destination: Destination) -> list[str]:
    """Give the platforms to build for: the function's, or else this machine's. Errors: SpecError."""
    wanted = list(dict.fromkeys(request.function.spec.build.platforms)) or [here()]
    for each in wanted:
        checked_platform(each)
    if destination.platforms is not None and len(wanted) > destination.platforms:
        raise SpecError(
            "spec.build.platforms", wanted, "one platform: archives and engines take an image, not an index"
        )
    return wanted


def here() -> str:
    """Give this machine's platform; the operating system is Linux, as in every image."""
    machine = platform.machine()
    return f"linux/{_MACHINES.get(machine, machine)}"


def destination(request: BuildRequest, name: str) -> Destination:
    """Give where the image called `name` goes. Errors: SpecError for more than one, BuildError for an engine that is not here."""
    given = [way for way in (request.layout, request.archive, request.load) if way is not None]
    if len(given) > 1:
        raise SpecError("destination", [str(each) for each in given], "one of a layout, an archive and an engine")
    if request.layout is not None:
        return LayoutDestination(request.layout, name)
    if request.archive is not None:
        return ArchiveDestination(request.archive, name)
    if request.load is not None:
        return LoadDestination(request.load, name)
    reference = parse(name)
    if reference.digest:
        raise SpecError("image", name, "a name with a tag: the digest is what a build finds out")
    return RegistryDestination(reference, insecure=request.insecure)
