"""`trimtab trigger`: what calls functions."""

from __future__ import annotations

from typing import Any

import click

from trimtab.cli import output as out
from trimtab.cli.commands.functions import show_triggers
from trimtab.cli.names import closest
from trimtab.cli.options import function_argument, output_option, stream_options
from trimtab.cli.session import Session
from trimtab.errors import NotFound

_one = click.argument("trigger", metavar="FUNCTION/TRIGGER")


@click.group()
def trigger() -> None:
    """See, fire and pause triggers.

    A trigger calls a function by the clock, by events, or by the messages of a stream.

    \b
    trimtab trigger ls
    trimtab trigger fire report/cron
    trimtab trigger add report --stream 'redis://host/0?stream=orders'
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
@click.argument("name", metavar="FUNCTION[/TRIGGER]")
@click.option("--stream", "url", required=True, metavar="URL", help="Where its messages come from.")
@stream_options
@click.pass_obj
def add(session: Session, name: str, url: str, settings: dict[str, Any]) -> None:
    """Have a stream's messages call a deployed function; makes a revision of it.

    A password in the URL is $(NAME), and NAME a variable of the function. Put the trigger into the function's file to keep
    it: a deploy without it takes it away.

    \b
    trimtab trigger add report --stream local:orders
    trimtab trigger add report/orders --stream 'redis://:$(PASSWORD)@host/0?stream=orders&group=g' --batch 100
    """
    from trimtab.spec import StreamTrigger

    function, _, trigger = name.partition("/")
    made = StreamTrigger(name=trigger or "stream", url=url, **settings)
    deployment = session.local().add_trigger(function, made)
    click.echo(f"{function}/{made.name} calls {deployment.revision}")


@trigger.command()
@_one
@click.pass_obj
def rm(session: Session, trigger: str) -> None:
    """Take a trigger away from a deployed function; makes a revision of it.

    A stream's group stays where it is, in case the trigger comes back.

    \b
    trimtab trigger rm report/orders
    """
    function, name = _split(session, trigger)
    session.local().remove_trigger(function, name)
    click.echo(f"{trigger} is removed")


@trigger.command()
@_one
@click.option("--from", "start", required=True, metavar="WHERE", help="earliest, latest, a time (RFC 3339), an offset.")
@click.pass_obj
def replay(session: Session, trigger: str, start: str) -> None:
    """Go back, or ahead, in a stream: its messages from there on call the function, again where they did before.

    \b
    trimtab trigger replay report/orders --from earliest
    trimtab trigger replay report/orders --from 2026-01-01T00:00:00Z
    """
    function, name = _split(session, trigger)
    session.local().replay(function, name, start)
    click.echo(f"{trigger} goes on from {start}")


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
