"""`trimtab traffic` and `rollback`: which revision answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.cli import output as out
from trimtab.cli.commands.functions import described, show
from trimtab.cli.names import looking_for
from trimtab.cli.options import function_argument, output_option, pair, target_option
from trimtab.cli.session import Session

if TYPE_CHECKING:
    from trimtab.deploy.abc import FunctionInfo


@click.command()
@function_argument()
@click.argument("shares", nargs=-1, type=pair, metavar="[REVISION=PERCENT]...")
@click.option("--tag", "tags", multiple=True, type=pair, metavar="TAG=REVISION", help="Give a revision its own URL.")
@click.option("--untag", multiple=True, metavar="TAG", help="Take a tag away.")
@target_option
@output_option()
@click.pass_obj
def traffic(
    session: Session,
    name: str,
    shares: tuple[tuple[str, str], ...],
    tags: tuple[tuple[str, str], ...],
    untag: tuple[str, ...],
    target: str,
    output: str,
) -> None:
    """Split a function's traffic between revisions.

    REVISION is a revision's name, or `latest` for the newest that is ready. The percents sum to 100. Without any, the split that is there is kept and printed. Tags stay where they are
    until they are moved or taken away.

    \b
    trimtab traffic hello hello-00001=90 latest=10
    trimtab traffic hello --tag canary=hello-00002
    trimtab traffic hello -o json
    """
    from trimtab.cli.split import split

    place = session.target(target)
    with looking_for(place, name):
        function = place.get(name)
        if shares or tags or untag:
            function = place.traffic(name, split(function, shares, tags, untag))
    _print(function, output)


@click.command()
@function_argument()
@click.option("--to", "revision", help="The revision to go back to (default: the ready one before the current one).")
@target_option
@output_option()
@click.pass_obj
def rollback(session: Session, name: str, revision: str | None, target: str, output: str) -> None:
    """Send all of a function's traffic to an earlier revision.

    \b
    trimtab rollback hello
    trimtab rollback hello --to hello-00001
    """
    place = session.target(target)
    with looking_for(place, name):
        function = place.rollback(name, revision)
    _print(function, output)


def _print(function: FunctionInfo, output: str) -> None:
    if output == "json":
        out.json(described(function))
    else:
        show(function)
