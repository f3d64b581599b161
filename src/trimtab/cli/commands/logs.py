"""`trimtab logs`: what a function's replicas say."""

from __future__ import annotations

import click

from trimtab.cli.logline import render
from trimtab.cli.names import looking_for
from trimtab.cli.options import follow_option, function_argument, output_option, target_option
from trimtab.cli.session import Session


@click.command()
@function_argument()
@follow_option
@click.option("--tail", type=click.IntRange(min=0), help="Begin with the last N lines (default: all there are).")
@click.option("--revision", help="Only what this revision says.")
@click.option("--raw", is_flag=True, help="Print lines as they were written.")
@target_option
@output_option()
@click.pass_obj
def logs(
    session: Session,
    name: str,
    follow: bool,
    tail: int | None,
    revision: str | None,
    raw: bool,
    target: str,
    output: str,
) -> None:
    """Print a function's log, oldest line first.

    Replicas write one JSON object a line. They are shown as time, revision, level, message and fields; `--raw` and
    `-o json` print them as they are.

    \b
    trimtab logs hello --tail 20
    trimtab logs hello -f
    trimtab logs hello -o json | jq -r 'select(.level == "error") | .message'
    """
    place = session.target(target)
    with looking_for(place, name):
        lines = place.logs(name, follow=follow, tail=tail, revision=revision)
    for line in lines:
        click.echo(line if raw or output == "json" else render(line))
