"""`trimtab build`: source in, image out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import add_options, gather, output_option
from trimtab.cli.progress import Bars, size
from trimtab.cli.verify import try_out, verify_options

if TYPE_CHECKING:
    from trimtab.builder.abc import Built

_WAYS = (
    click.option(
        "--oci-layout", "layout", type=click.Path(path_type=Path), help="Write an OCI layout into this folder."
    ),
    click.option(
        "--docker-archive", "archive", type=click.Path(path_type=Path), help="Write a file for `docker load`."
    ),
    click.option(
        "--load",
        type=click.Choice(["podman", "docker", "containerd", "kind"]),
        help="Give it to this container engine of the machine.",
    ),
    click.option("--compression", type=click.Choice(["gzip", "zstd"]), default="gzip", show_default=True),
    click.option("--insecure", is_flag=True, help="Speak plain HTTP to registries that are not on this machine."),
    click.option("--dry-run", is_flag=True, help="Make the layers, say what would be sent, and send nothing."),
)
_CHANGES = (
    click.option("--name", metavar="NAME", help="The function's name (default: the file's, as a DNS label)."),
    click.option("--handler", metavar="HANDLER", help="module:name, or the name alone in a file."),
    click.option(
        "--requirements",
        multiple=True,
        metavar="REQ|FILE",
        help="A requirement, or a .txt file of requirements. Repeatable.",
    ),
)
_BASE = (
    click.option(
        "--base-image", metavar="IMAGE", help="What it sits on (default: python:X.Y-slim), or oci:FOLDER[:TAG]."
    ),
    click.option(
        "--python", metavar="X.Y", help="The Python version (default: the base's, or the one that runs this)."
    ),
    click.option(
        "--platform",
        multiple=True,
        metavar="OS/ARCH[,..]",
        help="linux/amd64, linux/arm64; several give an index (default: this machine's).",
    ),
)


def _ways(**values: Any) -> dict[str, Any]:
    return values


def _changed(name: str | None, handler: str | None, requirements: tuple[str, ...]) -> Any:
    from trimtab.cli.changes import Changes

    return Changes(name=name, handler=handler, requirements=requirements)


def _built_on(base_image: str | None, python: str | None, platform: tuple[str, ...]) -> dict[str, Any]:
    given = {
        "base_image": base_image,
        "python": python,
        "platforms": [each for text in platform for each in text.split(",")] or None,
    }
    return {field: value for field, value in given.items() if value is not None}


def _options(command: Any) -> Any:
    command = gather(command, "ways", _ways, ("layout", "archive", "load", "compression", "insecure", "dry_run"))
    command = gather(command, "changes", _changed, ("name", "handler", "requirements"))
    command = gather(command, "base", _built_on, ("base_image", "python", "platform"))
    return add_options(command, (*_CHANGES, *_BASE, *_WAYS))


@click.command()
@click.argument("source")
@click.option(
    "-t", "--tag", "image", metavar="IMAGE", help="The image's name (default: the function's, below TRIMTAB_REGISTRY)."
)
@verify_options
@_options
@output_option()
def build(
    source: str,
    image: str | None,
    verify: bool,
    sample: Any,
    changes: Any,
    base: dict[str, Any],
    ways: dict[str, Any],
    output: str,
) -> None:
    """Make a container image of a function, and push it.

    SOURCE is what `trimtab deploy` takes. No daemon and no Dockerfile: layers are written straight from the files, the
    same input gives the same digest, and only what the registry does not have is sent. Logins are those of `docker
    login` and `podman login`. The answer is the image by digest.

    \b
    trimtab build hello.py -t registry.example.com/team/hello:1.0
    trimtab build . -t registry.example.com/team/app --platform linux/amd64,linux/arm64
    trimtab build hello.py -t hello --load podman
    trimtab build hello.py -t registry.example.com/team/hello --dry-run -o json | jq .uploaded
    """
    from msgspec.structs import replace

    from trimtab.builder.build import build as make
    from trimtab.builder.request import BuildRequest
    from trimtab.cli.source import read

    function = changes.apply(read(source))
    spec = replace(function.spec, build=replace(function.spec.build, **base))
    function = replace(function, spec=spec)
    if verify:
        try_out(function, sample)
    request = BuildRequest(function=function, image=image or "", **ways)
    with Bars() as bars:
        built = make(request, bars.show)
    for note in built.notes:
        out.warn(note)
    if output == "json":
        out.json(built)
    elif built.dry_run:
        _plan(built)
    else:
        click.echo(built.reference)


def _plan(built: Built) -> None:
    rows = [
        (image.platform, layer.name, size(layer.size), layer.digest)
        for image in built.platforms
        for layer in image.layers
    ]
    out.table(("PLATFORM", "LAYER", "SIZE", "DIGEST"), rows, empty="")
    click.echo(f"{built.image} would be {built.digest}: {size(built.uploaded)} to send")
