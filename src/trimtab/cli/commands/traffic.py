"""`trimtab traffic` and `rollback`: which revision answers."""

from __future__ import annotations

import click
from msgspec.structs import replace

from trimtab.cli import output as out
from trimtab.cli.commands.functions import described, show
from trimtab.cli.names import looking_for
from trimtab.cli.options import function_argument, output_option, pair, target_option
from trimtab.cli.session import Session
from trimtab.deploy.abc import FunctionInfo
from trimtab.spec import TrafficTarget


@click.command()
@function_argument()
@click.argument("shares", nargs=-1, type=pair, metavar="[REVISION=PERCENT]...")
@click.option("--tag", "tags", multiple=True, type=pair, metavar="TAG=REVISION", help="Give a revision its own URL.")
@target_option
@output_option()
@click.pass_obj
def traffic(
    session: Session,
    name: str,
    shares: tuple[tuple[str, str], ...],
    tags: tuple[tuple[str, str], ...],
    target: str,
    output: str,
) -> None:
    """Split a function's traffic between revisions, by percent; `latest` is the newest that is ready.

    The percents sum to 100. Without any, the split that is there is kept (and printed).

    \b
    trimtab traffic hello hello-00001=90 latest=10
    trimtab traffic hello --tag canary=hello-00002
    trimtab traffic hello -o json
    """
    place = session.target(target)
    with looking_for(place, name):
        function = place.get(name)
        if shares or tags:
            function = place.traffic(name, _targets(_shares(shares) or _now(function), tags))
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


def _shares(pairs: tuple[tuple[str, str], ...]) -> list[TrafficTarget]:
    targets = [TrafficTarget(revision=_revision(name), percent=_percent(name, text)) for name, text in pairs]
    if len({target.revision for target in targets}) < len(targets):
        raise click.UsageError("a revision is named twice")
    total = sum(target.percent for target in targets)
    if targets and total != 100:
        raise click.UsageError(f"the percents sum to {total}, they must sum to 100")
    return targets


def _percent(name: str, text: str) -> int:
    number = text.removesuffix("%")
    if not number.isdecimal() or int(number) > 100:
        raise click.UsageError(f"{name}={text}: the share is a whole number from 0 to 100")
    return int(number)


def _now(function: FunctionInfo) -> list[TrafficTarget]:
    return [TrafficTarget(revision=r.name, percent=r.percent) for r in function.revisions if r.percent]


def _targets(shares: list[TrafficTarget], tags: tuple[tuple[str, str], ...]) -> list[TrafficTarget]:
    """Put each tag on its revision's share, or beside the shares with no traffic of its own."""
    targets = list(shares)
    for tag, name in tags:
        revision = _revision(name)
        free = next((i for i, t in enumerate(targets) if t.revision == revision and t.tag is None), None)
        if free is None:
            targets.append(TrafficTarget(revision=revision, tag=tag))
        else:
            targets[free] = replace(targets[free], tag=tag)
    return targets


def _revision(name: str) -> str | None:
    return None if name == "latest" else name


def _print(function: FunctionInfo, output: str) -> None:
    if output == "json":
        out.json(described(function))
    else:
        show(function)
