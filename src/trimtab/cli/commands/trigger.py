"""`trimtab trigger`: what calls functions."""

from __future__ import annotations

import click

from trimtab.cli import output as out
from trimtab.cli.commands.functions import show_triggers
from trimtab.cli.names import closest
from trimtab.cli.options import function_argument, output_option
from trimtab.cli.session import Session
from trimtab.errors import NotFound

_one = click.argument("trigger", metavar="FUNCTION/TRIGGER")


@click.group()
def trigger() -> None:
    """See, fire and pause triggers.

    A trigger calls a function by the clock or by events.

    \b
    trimtab trigger ls
    trimtab trigger fire report/cron
    """


@trigger.command("ls")
@function_argument("function", required=False)
@output_option()
@click.pass_obj
def list_triggers(session: Session, function: str | None, output: str) -> None:
    """List triggers: when each fires next, what became of the last time, and how many events wait.

    \b
    trimtab trigger ls
    trimtab trigger ls report -o json
    """
    triggers = session.local().triggers(function)
    if output == "json":
        out.json(triggers)
    else:
        show_triggers(triggers)


@trigger.command()
@_one
@click.pass_obj
def fire(session: Session, trigger: str) -> None:
    """Fire a cron trigger now, as if a tick were due; prints the event's id.

    \b
    trimtab trigger fire report/cron
    """
    function, name = _split(session, trigger)
    click.echo(session.local().fire(function, name))


@trigger.command()
@_one
@click.pass_obj
def pause(session: Session, trigger: str) -> None:
    """Stop a trigger from calling its function. Events are collected meanwhile; ticks are not made up for.

    \b
    trimtab trigger pause report/cron
    """
    function, name = _split(session, trigger)
    session.local().pause(function, name)
    click.echo(f"{trigger} is paused")


@trigger.command()
@_one
@click.pass_obj
def resume(session: Session, trigger: str) -> None:
    """Let a paused trigger call its function again.

    \b
    trimtab trigger resume report/cron
    """
    function, name = _split(session, trigger)
    session.local().pause(function, name, paused=False)
    click.echo(f"{trigger} is active")


@trigger.command()
@_one
@click.option("--limit", default=20, show_default=True, help="How many ticks.")
@output_option()
@click.pass_obj
def history(session: Session, trigger: str, limit: int, output: str) -> None:
    """Show the last ticks of a cron trigger and what became of each, newest first.

    \b
    trimtab trigger history report/cron
    trimtab trigger history report/cron --limit 100 -o json
    """
    function, name = _split(session, trigger)
    firings = session.local().firings(function, name, limit=limit)
    if output == "json":
        out.json(firings)
        return
    out.table(
        ("DUE", "STATE", "ATTEMPTS", "FINISHED", "DETAIL"),
        [(out.ago(f.due), f.state, f.attempts, out.ago(f.finished), f.detail) for f in firings],
        empty=f"{trigger} has not fired yet.",
    )


def _split(session: Session, text: str) -> tuple[str, str]:
    """Split FUNCTION/TRIGGER, and say what there is where there is no such trigger."""
    function, slash, name = text.partition("/")
    if not (function and slash and name):
        raise click.UsageError(f"{text!r} is not FUNCTION/TRIGGER, such as report/cron")
    known = [f"{t.function}/{t.name}" for t in session.local().triggers()]
    if text not in known:
        near = closest(text, known)
        hint = f" Did you mean {near!r}?" if near else ""
        raise NotFound(f"no trigger {text!r}.{hint} There are: {', '.join(known) or 'none'}")
    return function, name
