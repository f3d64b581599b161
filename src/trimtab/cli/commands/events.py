"""`trimtab events` and `publish`: the broker's events."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from trimtab.cli import output as out
from trimtab.cli.message import Attributes, Body, body_options, event, event_options
from trimtab.cli.options import follow_option, output_option
from trimtab.cli.session import Session
from trimtab.errors import NotFound, TargetError

_broker = click.option("--broker", default="default", show_default=True, help="Which broker.")


@click.command()
@_broker
@follow_option
@click.option("--tail", type=click.IntRange(min=0), default=20, show_default=True, help="Begin with the last N events.")
@output_option()
@click.pass_obj
def events(session: Session, broker: str, follow: bool, tail: int, output: str) -> None:
    """Print the events that a broker accepted, oldest first.

    With `-o json`, each is one line in CloudEvents' JSON format.

    \b
    trimtab events --tail 5
    trimtab events -f
    trimtab events -f -o json | jq 'select(.type == "com.example.made")'
    """
    for document in session.local().events(broker=broker, follow=follow, tail=tail):
        if output == "json":
            out.json_line(document)
        else:
            click.echo(_line(document))


@click.command()
@click.argument("type")
@body_options
@event_options
@_broker
@output_option()
@click.pass_obj
def publish(session: Session, type: str, body: Body, attributes: Attributes, broker: str, output: str) -> None:
    """Give an event to a broker.

    Prints the event's id once the broker has it on disk.

    \b
    trimtab publish com.example.made -d '{"x": 1}'
    trimtab publish com.example.made -d @order.json --source /shop --ext region=eu
    """
    from trimtab.events import to_json
    from trimtab.runtime.binding import write_binary
    from trimtab.runtime.http import request

    envelope = event(type, attributes, body)
    headers, content = write_binary(envelope)
    with request("POST", session.local().broker(broker), headers, content) as response:
        answer = response.read()
    if response.status != 202:
        kind = NotFound if response.status == 404 else TargetError
        raise kind(f"the broker refused the event: {response.status} {response.reason} {_said(answer)}".rstrip())
    if output == "json":
        out.json(to_json(envelope))
    else:
        click.echo(envelope.id)


def _said(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer)["error"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return answer.decode("utf-8", "replace").strip()


def _line(document: dict[str, Any]) -> str:
    shown = ("specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64")
    rest = [f"{name}={out.compact(value)}" for name, value in document.items() if name not in shown]
    data = out.compact(document["data"]) if "data" in document else "(binary)" if "data_base64" in document else ""
    head = (document.get("time", "-"), click.style(document["type"], bold=True), document["source"], document["id"])
    return " ".join(part for part in (*head, *rest, data) if part)
