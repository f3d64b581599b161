"""`trimtab export` and `schema`: descriptions of functions, written down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from trimtab.cli import output as out
from trimtab.cli.options import function_options, output_option

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.spec import Function


@click.command()
@click.argument("source")
@function_options
@click.option("--nuclio-report", is_flag=True, help="Print only what of a Nuclio document is not carried over.")
@output_option("yaml", "json")
def export(source: str, changes: Changes, nuclio_report: bool, output: Literal["yaml", "json"]) -> None:
    """Print a function's description.

    It is what `deploy` would use, checked and normalised. SOURCE and the options are those of `trimtab deploy`. A
    source below the working directory is written relative to it, so that the output can be kept beside the code. What
    a Nuclio or MLRun document says and cannot be carried over is listed on stderr.

    \b
    trimtab export hello.py --min 1 > function.yaml
    trimtab export function.yaml -o json
    trimtab export nuclio/function.yaml --nuclio-report
    """
    from trimtab.cli.source import read
    from trimtab.spec import check, dump

    leftovers: list[str] = []
    function = check(changes.apply(read(source, leftovers)))
    if nuclio_report:
        if output == "json":
            out.json(leftovers)
        else:
            click.echo("\n".join(leftovers) or "Everything is carried over.")
        return
    for leftover in leftovers:
        out.warn(f"not carried over: {leftover}")
    click.echo(dump(_relative(function), output).rstrip("\n"))


@click.command()
def schema() -> None:
    """Print the JSON Schema of function.yaml, for editors and for CI.

    \b
    trimtab schema > function.schema.json
    """
    from trimtab.spec.schema import json_schema

    out.json(json_schema())


def _relative(function: Function) -> Function:
    from msgspec.structs import replace

    path = function.spec.source.path
    if path is None or not Path(path).is_relative_to(Path.cwd()):
        return function
    source = replace(function.spec.source, path=str(Path(path).relative_to(Path.cwd())))
    return replace(function, spec=replace(function.spec, source=source))
