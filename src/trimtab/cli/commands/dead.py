"""`trimtab dead`: events that could not be delivered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from trimtab.cli import output as out
from trimtab.cli.options import complete_functions, output_option
from trimtab.cli.session import Session
from trimtab.errors import NotFound

if TYPE_CHECKING:
    from trimtab.deploy.abc import DeadLetter

_of_function = click.option("--function", shell_complete=complete_functions, help="Only those of this function.")


@click.group()
def dead() -> None:
    """See, redrive and drop dead letters.

    A dead letter is an event that could not be delivered; it keeps the reason and every try.

    \b
    trimtab dead ls
    trimtab dead show 7
    trimtab dead redrive --all
    """


@dead.command("ls")
@_of_function
@output_option()
@click.pass_obj
def list_dead(session: Session, function: str | None, output: str) -> None:
    """List the dead letters, oldest first.

    \b
    trimtab dead ls
    trimtab dead ls --function hello -o json
    """
    letters = session.local().dead(function)
    if output == "json":
        out.json(letters)
        return
    out.table(
        ("ID", "TRIGGER", "TYPE", "EVENT", "DIED", "TRIES", "REASON"),
        [
            (d.id, f"{d.function}/{d.trigger}", d.event.get("type"), d.event.get("id"), out.ago(d.died), *_why(d))
            for d in letters
        ],
        empty="No dead letters.",
    )


@dead.command()
@click.argument("id", type=int)
@output_option()
@click.pass_obj
def show(session: Session, id: int, output: str) -> None:
    """Show one dead letter: the event, the reason, and every try.

    \b
    trimtab dead show 7
    trimtab dead show 7 -o json | jq .event.data
    """
    letter = next((letter for letter in session.local().dead() if letter.id == id), None)
    if letter is None:
        raise NotFound(f"no dead letter {id}: `trimtab dead ls` lists them")
    if output == "json":
        out.json(letter)
        return
    out.facts(
        (
            ("id", letter.id),
            ("trigger", f"{letter.function}/{letter.trigger}"),
            ("died", _moment(letter.died)),
            ("reason", letter.reason),
        )
    )
    click.echo()
    out.table(
        ("TRIED", "STATUS", "DETAIL"), [(_moment(t), s or None, d) for t, s, d in letter.history], empty="No tries."
    )
    click.echo()
    out.json(letter.event)


@dead.command()
@click.argument("ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them, or all of the function's.")
@_of_function
@click.pass_obj
def redrive(session: Session, ids: tuple[int, ...], everything: bool, function: str | None) -> None:
    """Deliver dead letters again, from the first try on.

    \b
    trimtab dead redrive 7 8
    trimtab dead redrive --all --function hello
    """
    click.echo(f"{_choose(session.local().redrive, ids, everything, function)} delivered again")


@dead.command()
@click.argument("ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them, or all of the function's.")
@_of_function
@click.pass_obj
def drop(session: Session, ids: tuple[int, ...], everything: bool, function: str | None) -> None:
    """Forget dead letters for good.

    \b
    trimtab dead drop 7
    trimtab dead drop --all
    """
    click.echo(f"{_choose(session.local().drop, ids, everything, function)} dropped")


def _choose(act: Callable[..., int], ids: tuple[int, ...], everything: bool, function: str | None) -> str:
    if bool(ids) == everything:
        raise click.UsageError("say which: one or more IDs, or --all")
    if ids and function:
        raise click.UsageError("--function goes with --all; an ID is enough to name a dead letter")
    count = act(list(ids) or None, function=function)
    if ids and not count:
        raise NotFound(f"no dead letter {', '.join(map(str, ids))}: `trimtab dead ls` lists them")
    return "1 event" if count == 1 else f"{count} events"


def _why(letter: DeadLetter) -> tuple[int, str]:
    return len(letter.history), letter.reason.partition("\n")[0]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
