"""`trimtab events` and `publish`: the broker's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from trimtab.cli import output as out
from trimtab.cli.message import Attributes, Body, body_options, event, event_options
from trimtab.cli.options import follow_option, output_option
from trimtab.cli.session import Session
from trimtab.errors import NotFound, TargetError

if TYPE_CHECKING:
    from trimtab.events import Envelope

_broker = click.option("--broker", default="default", show_default=True, help="Which broker.")


@click.command()
@_broker
@follow_option
@click.option("--tail", type=click.IntRange(min=0), default=20, show_default=True, help="Begin with the last N events.")
@click.option("--type", help="Only events of this type.")
@output_option()
@click.pass_obj
def events(session: Session, broker: str, follow: bool, tail: int, type: str | None, output: str) -> None:
    """Print the events that a broker accepted, oldest first.

    With `-o json`, each is one line in CloudEvents' JSON format.

    \b
    trimtab events --tail 5
    trimtab events -f --type com.example.made
    trimtab events -f -o json | jq 'select(.subject == "order/7")'
    """
    for document in session.local().events(broker=broker, follow=follow, tail=tail, type=type):
        if output == "json":
            out.json_line(document)
        else:
            click.echo(_line(document))


@click.command()
@click.argument("type", metavar="TYPE|STREAM")
@body_options
@event_options
@_broker
@click.option("--key", help="Of a stream's message: messages of one key stay in order.")
@click.option(
    "--type", "event_type", metavar="TYPE", help="Give the stream a CloudEvent of this type, not the bare data."
)
@output_option()
@click.pass_obj
def publish(
    session: Session,
    type: str,
    body: Body,
    attributes: Attributes,
    broker: str,
    key: str | None,
    event_type: str | None,
    output: str,
) -> None:
    """Give an event to a broker, or a message to a stream.

    To a broker: prints the event's id once the broker has it on disk. To a stream, by its URL: prints the stream once its
    broker has the message; $(NAME) in the URL is the environment's variable.

    \b
    trimtab publish com.example.made -d '{"x": 1}'
    trimtab publish com.example.made -d @order.json --source /shop --ext region=eu
    trimtab publish local:orders -d '{"x": 1}' --key customer-7
    trimtab publish 'redis://:$(PASSWORD)@host/0?stream=orders' -d '{"x": 1}' --type com.example.made
    """
    from trimtab.spec.stream import is_stream_url

    if is_stream_url(type):
        _to_stream(type, body, attributes, key, event_type, output)
        return
    if key is not None or event_type is not None:
        raise click.UsageError("--key and --type are for streams: TYPE is not a stream's URL such as local:orders")
    envelope = event(type, attributes, body)
    _to_broker(session, envelope, broker)
    if output == "json":
        from trimtab.events import to_json

        out.json(to_json(envelope))
    else:
        click.echo(envelope.id)


def _to_broker(session: Session, envelope: Envelope, broker: str) -> None:
    from trimtab.runtime.binding import write_binary
    from trimtab.runtime.http import request

    headers, content = write_binary(envelope)
    with request("POST", session.local().broker(broker), headers, content) as response:
        answer = response.read()
    if response.status != 202:
        kind = NotFound if response.status == 404 else TargetError
        raise kind(f"the broker refused the event: {response.status} {response.reason} {_said(answer)}".rstrip())


def _to_stream(
    url: str, body: Body, attributes: Attributes, key: str | None, event_type: str | None, output: str
) -> None:
    import asyncio
    import os

    from trimtab.config import settings
    from trimtab.spec.stream import parse
    from trimtab.triggers.streams.abc import Record
    from trimtab.triggers.streams.backends import open_publisher
    from trimtab.triggers.streams.cloudevent import to_record

    address = parse(url, "STREAM").resolved(os.environ)
    if event_type is not None:
        record = to_record(event(event_type, attributes, body), key)
    else:
        headers = {"content-type": body.content_type} if body.content_type else {}
        record = Record(body=body.data or b"", headers=headers, key=key)

    async def send() -> None:
        publisher = open_publisher(address, settings().home)
        try:
            await publisher.open()
            await publisher.publish([record])
        finally:
            await publisher.close()

    asyncio.run(send())
    if output == "json":
        out.json({"stream": str(address), "key": key, "headers": record.headers, "bytes": len(record.body)})
    else:
        click.echo(str(address))


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
