"""`trimtab ls`, `get` and `delete`: what is deployed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.exits import Exit
from trimtab.cli.names import looking_for
from trimtab.cli.options import function_argument, output_option, target_option
from trimtab.cli.session import Session

if TYPE_CHECKING:
    from trimtab.deploy.abc import FunctionInfo, TriggerInfo


@click.command()
@target_option
@output_option()
@click.pass_obj
def ls(session: Session, target: str, output: str) -> None:
    """List the functions that are deployed.

    \b
    trimtab ls
    trimtab ls -o json | jq -r '.[].url'
    """
    functions = session.target(target).functions()
    if output == "json":
        out.json([described(function) for function in functions])
        return
    out.table(
        ("NAME", "KIND", "URL", "REPLICAS", "REVISION", "TRIGGERS"),
        [(f.name, f.kind, f.url, f.replicas, f.revision, _brief(f.triggers)) for f in functions],
        empty="No functions. `trimtab deploy FILE.py` makes one.",
    )


@click.command()
@function_argument()
@target_option
@output_option()
@click.pass_obj
def get(session: Session, name: str, target: str, output: str) -> None:
    """Describe one function.

    Its URL, revisions and their traffic, replicas, scale settings, triggers and last error.

    \b
    trimtab get hello
    trimtab get hello -o json | jq .replicas
    """
    place = session.target(target)
    with looking_for(place, name):
        function = place.get(name)
    if output == "json":
        out.json(described(function))
    else:
        show(function)


@click.command()
@function_argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
@target_option
@click.pass_obj
def delete(session: Session, names: tuple[str, ...], yes: bool, target: str) -> None:
    """Remove functions with their revisions and triggers. Requests in flight are finished first.

    \b
    trimtab delete hello
    trimtab delete hello resize --yes
    """
    if not yes and not _confirmed(names):
        out.note("Nothing was deleted.")
        raise click.exceptions.Exit(Exit.FAILED)
    place = session.target(target)
    for name in names:
        with looking_for(place, name):
            place.delete(name)
        click.echo(f"{name} is deleted")


def described(function: FunctionInfo) -> dict[str, Any]:
    """Give the JSON form of a function; scale settings are written out even where they are defaults."""
    import msgspec

    scale = {field.encode_name: getattr(function.scale, field.name) for field in msgspec.structs.fields(function.scale)}
    document: dict[str, Any] = msgspec.to_builtins(function)
    return {**document, "scale": scale}


def show(function: FunctionInfo) -> None:
    """Print a function for people."""
    scale = function.scale
    out.facts(
        (
            ("name", function.name),
            ("kind", function.kind),
            ("url", function.url),
            ("target", function.target),
            ("replicas", f"{function.replicas} (min {scale.min}, max {scale.max or 'not set'})"),
            ("scale", _soft(function)),
            ("last error", function.last_error or "none"),
        )
    )
    click.echo()
    out.table(
        ("REVISION", "STATE", "TRAFFIC", "REPLICAS", "CREATED", "TAGS"),
        [(r.name, r.state, f"{r.percent}%", r.replicas, out.ago(r.created), _tags(r.urls)) for r in function.revisions],
        empty="No revisions.",
    )
    if function.triggers:
        click.echo()
        show_triggers(function.triggers)


def show_triggers(triggers: list[TriggerInfo]) -> None:
    """Print triggers for people."""
    out.table(
        ("TRIGGER", "KIND", "WHEN", "STATE", "NEXT", "LAST", "OUTCOME", "PENDING", "DEAD"),
        [
            (
                f"{t.function}/{t.name}",
                t.kind,
                _when(t),
                t.state,
                out.ago(t.next),
                out.ago(t.last),
                t.outcome,
                t.pending,
                t.dead,
            )
            for t in triggers
        ],
        empty="No triggers. `trimtab deploy --cron`, `--on` and `--stream` make them.",
    )


def _when(trigger: TriggerInfo) -> str:
    if trigger.kind == "event":
        filters = trigger.config.get("filters") or []
        return " and ".join(out.compact(part) for part in filters) or "every event"
    if trigger.kind == "stream":
        from trimtab.spec.stream import parse

        return str(parse(trigger.config["url"]))
    zone = trigger.config.get("timezone", "UTC")
    return f"{trigger.config.get('schedule', '')}" + ("" if zone == "UTC" else f" {zone}")


def _soft(function: FunctionInfo) -> str:
    scale = function.scale
    soft = f", target {scale.target:g}" if scale.target is not None else ""
    hard = f"at most {scale.concurrency} at a time, " if scale.concurrency else ""
    return f"{hard}{scale.metric}{soft} at {scale.utilization:g}%, window {scale.window}"


def _tags(urls: dict[str, str]) -> str:
    return ", ".join(f"{tag}: {url}" for tag, url in urls.items())


def _brief(triggers: list[TriggerInfo]) -> str:
    return ", ".join(trigger.name for trigger in triggers)


def _confirmed(names: tuple[str, ...]) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: say --yes to delete")
    return click.confirm(f"Delete {', '.join(names)}?", err=True)
