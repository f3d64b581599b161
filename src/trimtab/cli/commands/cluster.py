"""`trimtab preflight` and `diff`: what a cluster lacks, and what of it is different."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.exits import Exit
from trimtab.cli.options import function_options, named_target, output_option
from trimtab.cli.session import Session

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes

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
    the right one. Only fields that the description sets are compared. Ends with exit code 1 when there is a difference.

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


def _said(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else out.compact(value)
