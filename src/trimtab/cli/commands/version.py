"""`trimtab version`."""

from __future__ import annotations

import platform

import click

from trimtab._version import __version__
from trimtab.cli import output as out
from trimtab.cli.options import output_option


@click.command()
@output_option()
def version(output: str) -> None:
    """Print the version of Trimtab and of the Python it runs on.

    \b
    trimtab version
    trimtab version -o json
    """
    if output == "json":
        out.json({"trimtab": __version__, "python": platform.python_version()})
    else:
        click.echo(f"trimtab {__version__} (Python {platform.python_version()})")
