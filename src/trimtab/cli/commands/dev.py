"""`trimtab dev`: redeploy on save."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.cli import output as out
from trimtab.cli.commands.deploy import send, sentence
from trimtab.cli.logline import render
from trimtab.cli.options import function_options, target_option
from trimtab.cli.root import tell
from trimtab.cli.session import Session
from trimtab.errors import NotFound, TrimtabError

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.deploy.abc import Target


@click.command()
@click.argument("source")
@function_options
@click.option("--delete", "clean", is_flag=True, help="Delete the function at the end.")
@target_option
@click.pass_obj
def dev(session: Session, source: str, changes: Changes, clean: bool, target: str) -> None:
    """Deploy a function, follow its log, redeploy it on save.

    SOURCE and the options are those of `trimtab deploy`. A version that does not start is reported and the one before
    it keeps serving, until the next save. Ctrl-C ends the following; the function stays deployed unless `--delete`.

    \b
    trimtab dev hello.py
    trimtab dev hello.py --env DEBUG=1 --delete
    """
    from trimtab.cli.source import read, split
    from trimtab.cli.watch import Followed, Watched

    if source.startswith("git+"):
        raise click.BadParameter("dev watches files of this machine: clone the repository", param_hint="SOURCE")
    path, _ = split(source)
    watched = Watched(path)
    place = session.target(target, start=True)
    name = changes.apply(read(source)).metadata.name
    tails = iter([0] if _is_there(place, name) else [None])  # of a new function, what it says while it starts too
    followed = Followed(lambda: session.target(target).logs(name, follow=True, tail=next(tails, 0)))
    try:
        _again(place, source, changes)
        while True:
            followed.start_if_ended()
            for line in followed.lines(within=0.1):
                click.echo(render(line))
            if watched.changed():
                _again(place, source, changes)
    finally:
        if clean and _is_there(place, name):
            place.delete(name)
            out.note(f"{name} is deleted")


def _is_there(place: Target, name: str) -> bool:
    try:
        place.get(name)
    except NotFound:
        return False
    return True


def _again(place: Target, source: str, changes: Changes) -> None:
    from trimtab.cli.source import read

    try:
        out.note(sentence(send(place, changes.apply(read(source)))))
    except (TrimtabError, click.ClickException) as error:
        tell(error)
