"""`trimtab preflight`, `diff` and `canary`: what only clusters have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.exits import Exit
from trimtab.cli.names import looking_for
from trimtab.cli.options import function_argument, function_options, named_target, output_option
from trimtab.cli.session import Session

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.deploy.knative.canary import Figures

_target = named_target("knative", "The cluster, by its target's name.")
_image = click.option("--image", metavar="REF", default="", help="The image (default: spec.build.image).")


@click.command()
@click.argument("source", required=False)
@function_options
@_image
@_target
@output_option()
@click.pass_obj
def preflight(session: Session, source: str | None, changes: Changes, image: str, target: str, output: str) -> None:
    """Check whether a cluster can run a function, before anything is changed.

    SOURCE and the options are those of `trimtab deploy`; without SOURCE only the cluster itself is looked at. Each row is
    a check: what was found, what is needed, and the command or change that helps. Ends with exit code 1 when one fails.

    \b
    trimtab preflight
    trimtab preflight hello.py --target production
    trimtab preflight function.yaml -o json | jq -r '.[] | select(.ok | not) | .fix'
    """
    from trimtab.cli.source import read
    from trimtab.spec import check

    rows = session.cluster(target).preflight(check(changes.apply(read(source))) if source else None, image=image)
    if output == "json":
        out.json(rows)
    else:
        cells = [("ok" if row.ok else "no", row.name, row.found, row.needed, row.fix) for row in rows]
        out.table(("", "CHECK", "FOUND", "NEEDED", "FIX"), cells, empty="")
    if not all(row.ok for row in rows):
        raise click.exceptions.Exit(Exit.FAILED)


@click.command()
@click.argument("source")
@function_options
@_image
@_target
@output_option()
@click.pass_obj
def diff(session: Session, source: str, changes: Changes, image: str, target: str, output: str) -> None:
    """Compare a function on a cluster with its description, field by field.

    SOURCE and the options are those of `trimtab deploy`. Nothing is built: without --image the image that runs counts as
    the right one. What the description sets is compared, and what it sets no longer. Ends with exit code 1 when there is
    a difference.

    \b
    trimtab diff hello.py
    trimtab diff function.yaml --target production -o json
    """
    from trimtab.cli.source import read
    from trimtab.spec import check

    rows = session.cluster(target).diff(check(changes.apply(read(source))), image=image)
    if output == "json":
        out.json(rows)
    else:
        cells = [(row.object, row.field, _said(row.live), _said(row.desired)) for row in rows]
        out.table(("OBJECT", "FIELD", "LIVE", "DESIRED"), cells, empty="No differences.")
    if rows:
        raise click.exceptions.Exit(Exit.FAILED)


def percents(text: str) -> list[int]:
    """Read `10,50,100`: the type of `--steps`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or found != sorted(set(found)) or not 0 < found[0] <= found[-1] <= 100:
        raise click.BadParameter(f"{text!r} is not a list of percents that grow, such as 10,50,100")
    return found


@click.command()
@function_argument()
@click.option(
    "--steps", type=percents, default="10,50,100", show_default=True, help="Shares of the traffic, in percent."
)
@click.option("--every", metavar="DURATION", default="1m", show_default=True, help="How long each step lasts at least.")
@click.option("--max-errors", type=click.FloatRange(0, 100), default=1.0, show_default=True, help="Percent of 5xx.")
@click.option("--max-latency", metavar="DURATION", help="Time in which 99 of 100 answers begin (default: any).")
@click.option(
    "--min-requests", type=click.IntRange(1), default=50, show_default=True, help="A step decides on so many."
)
@click.option("--last", is_flag=True, help="Show what became of the newest one, and change nothing.")
@_target
@output_option()
@click.pass_obj
def canary(
    session: Session,
    name: str,
    steps: list[int],
    every: str,
    max_errors: float,
    max_latency: str | None,
    min_requests: int,
    last: bool,
    target: str,
    output: str,
) -> None:
    """Move traffic to the newest revision step by step, and back when its figures are bad.

    `trimtab deploy --hold` makes a revision without traffic. Each step lasts until its time is over and enough requests
    have come. The figures are those of the revision's own pods (/metrics). The decision and the figures are kept with the
    function, and --last shows them; `trimtab get` shows the split. Ends with exit code 1 when the traffic was sent back.

    \b
    trimtab canary hello --target production
    trimtab canary hello --last
    trimtab canary hello --steps 1,10,50,100 --every 5m --max-errors 0.5 --max-latency 250ms
    """
    from trimtab.deploy.knative.canary import Guard
    from trimtab.spec.quantity import seconds

    place = session.cluster(target)
    guard = Guard(
        max_error_rate=max_errors / 100,
        max_latency=None if max_latency is None else seconds(max_latency, "--max-latency"),
        min_requests=min_requests,
    )
    with looking_for(place, name):
        done = place.last_canary(name) if last else place.canary(name, steps, seconds(every, "--every"), guard, _step)
    if output == "json":
        out.json(done)
    else:
        if last:
            for found in done.steps:
                click.echo(f"  {_figures(found)}")
        click.echo(f"{done.revision} is {done.state}" + (f": {done.reason}" if done.reason else ""))
    if done.state == "rolled back" and not last:
        raise click.exceptions.Exit(Exit.FAILED)


def _step(found: Figures) -> None:
    out.note(f"  {_figures(found)}")


def _figures(found: Figures) -> str:
    return f"{found.percent}%: {found.requests} requests, {found.error_rate:.2%} errors, p99 up to {found.latency:g} s"


def _said(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else out.compact(value)
