"""`trimtab promote`: what proved itself goes on, a challenger into service, a function from one cluster to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.commands.deploy import place, say, send
from trimtab.cli.commands.loop import decide
from trimtab.cli.names import looking_for
from trimtab.cli.options import cluster_options, function_options, known_target, named_target, output_option
from trimtab.cli.session import Session

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.spec import Function


@click.command()
@click.argument("what", metavar="ENDPOINT|FUNCTION")
@click.option("--from", "origin", metavar="NAME", callback=known_target, help="The cluster that FUNCTION runs on.")
@named_target(None, "The cluster that it goes to.")
@function_options
@cluster_options
@output_option()
@click.pass_obj
def promote(
    session: Session,
    what: str,
    origin: str | None,
    target: str | None,
    changes: Changes,
    how: dict[str, Any],
    output: str,
) -> None:
    """Let what proved itself go on.

    ENDPOINT, which is FUNCTION/KEY, puts a challenger into service: one that waits for it (rollout mode 'approve'), or
    that is a canary or a shadow now. FUNCTION goes from one cluster to the next with its image, of which nothing is built
    anew: the same digest. What is to be different there, options say.

    \b
    trimtab promote shop/churn
    trimtab promote hello --from staging --target production --max 20
    """
    from trimtab.cli.changes import Changes

    if "/" in what:
        if origin or target or how or changes != Changes():
            raise click.UsageError(f"{what!r} is a challenger's endpoint, which takes no options but -o")
        decide(session, what, "promote", output)
        return
    if origin is None or target is None:
        raise click.UsageError(
            f"{what!r} is a function: --from NAME and --target NAME say from which cluster it goes to which. "
            "A challenger is named FUNCTION/KEY"
        )
    if "local" in (origin, target):
        raise click.UsageError("this machine runs code, not images: `trimtab deploy` the source with --target NAME")
    function = changes.apply(_running(session, what, origin))
    say(send(place(session, target, how), function), output)


def _running(session: Session, name: str, origin: str) -> Function:
    """Give what runs on a cluster, with its image; the namespace is the other target's to say."""
    from msgspec.structs import replace

    from trimtab.spec import Metadata

    cluster = session.cluster(origin)
    with looking_for(cluster, name):
        function = cluster.deployed(name)
    return replace(function, metadata=replace(function.metadata, namespace=Metadata().namespace))
