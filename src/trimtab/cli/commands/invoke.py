"""`trimtab invoke`: call a function over HTTP, or with an event."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from trimtab.cli.message import Attributes, Body, body_options, event, event_options
from trimtab.cli.names import looking_for
from trimtab.cli.options import function_argument, target_option
from trimtab.cli.session import Session
from trimtab.errors import InvocationFailed

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from trimtab.runtime.http import Header


def header(text: str) -> Header:
    """Split `NAME: VALUE`: the type of `-H`."""
    name, colon, value = text.partition(":")
    if not (name.strip() and colon):
        raise click.BadParameter(f"{text!r} is not 'NAME: VALUE'")
    return name.strip().lower().encode(), value.strip().encode()


@click.command()
@function_argument(metavar="NAME|URL")
@body_options
@click.option("--path", default="/", help="The path after the function's URL, with its query.")
@click.option("--method", help="The HTTP method (default: POST with data, GET without).")
@click.option(
    "-H", "--header", "headers", multiple=True, type=header, metavar="'NAME: VALUE'", help="A header. Repeatable."
)
@click.option("--event", "event_type", metavar="TYPE", help="Send a CloudEvent of this type.")
@event_options
@click.option("--structured", is_flag=True, help="Send the event in structured mode (one JSON document).")
@click.option("-i", "--include", is_flag=True, help="Print status and headers too.")
@click.option("--ingress", metavar="ADDR", default="", help="A cluster's ingress, where its domain does not resolve.")
@click.option("--timeout", type=float, help="Seconds to wait for the answer (default: as long as it takes).")
@target_option
@click.pass_obj
def invoke(
    session: Session,
    name: str,
    body: Body,
    path: str,
    method: str | None,
    headers: tuple[Header, ...],
    event_type: str | None,
    attributes: Attributes,
    structured: bool,
    include: bool,
    ingress: str,
    timeout: float | None,
    target: str,
) -> None:
    """Call a function and print its answer.

    The answer's body goes to stdout as it is; JSON is indented on a terminal. A status that is not 2xx ends with
    exit code 22.

    \b
    trimtab invoke hello -d '{"x": 1}'
    trimtab invoke classify -d @flower.json --path /predict -i
    trimtab invoke audit -d '{"x": 1}' --event com.example.made --source /me --ext k=v
    trimtab invoke http://127.0.0.1:8080/ -d -
    trimtab invoke hello --target knative --ingress localhost:8080
    """
    from trimtab.runtime.http import join, request

    address, more = _address(session, name, target, ingress)
    made, content = _message(event_type, attributes, body, structured)
    said = {name for name, _ in headers}
    added = [*made, *((name.encode(), value.encode()) for name, value in more.items())]
    sent = [*headers, *(header for header in added if header[0] not in said)]
    verb = method or ("POST" if event_type or body.data is not None else "GET")
    with request(verb.upper(), join(address, path), sent, content, timeout=timeout) as response:
        _answer(name, response, include)


def _address(session: Session, name: str, target: str, ingress: str) -> tuple[str, dict[str, str]]:
    """Give where to send, and the headers that go with it."""
    if "://" in name:
        return session.target(target).reach(name, ingress) if ingress else (name, {})
    place = session.target(target)
    with looking_for(place, name):
        function = place.get(name)
    return place.reach(function.url, ingress)


def _message(
    type: str | None, attributes: Attributes, body: Body, structured: bool
) -> tuple[list[Header], bytes | None]:
    if type is None:
        if structured or attributes != Attributes():
            raise click.UsageError(
                "--source, --id, --subject, --ext and --structured describe an event: add --event TYPE"
            )
        return ([(b"content-type", body.content_type.encode())] if body.content_type else []), body.data
    from trimtab.runtime.binding import write_binary, write_structured

    return (write_structured if structured else write_binary)(event(type, attributes, body))


def _answer(name: str, response: HTTPResponse, include: bool) -> None:
    if include:
        click.echo(f"HTTP/1.1 {response.status} {response.reason}")
        for header, value in response.getheaders():
            click.echo(f"{header}: {value}")
        click.echo()
    ok = 200 <= response.status < 300
    body = _print(response, whole=not ok)
    if not ok:
        message = f"{name} answered {response.status} {response.reason}"
        raise InvocationFailed(message + _where(name, body), response.status, body)


def _print(response: HTTPResponse, *, whole: bool) -> bytes:
    """Print the body: as it comes, unless it must be seen `whole`, or be indented; give what was kept."""
    output = sys.stdout.buffer
    pretty = sys.stdout.isatty() and "json" in (response.getheader("content-type") or "")
    kept = response.read() if whole or pretty else b""
    if kept:
        output.write(_indented(kept) if pretty else kept)
    while chunk := response.read1(65536):
        output.write(chunk)
        output.flush()
    if sys.stdout.isatty() and not kept.endswith(b"\n"):
        output.write(b"\n")
    output.flush()
    return kept


def _indented(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError:
        return body


def _where(name: str, body: bytes) -> str:
    """Point at the log when the answer names an error's id."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    identity = found.get("id") if isinstance(found, dict) else None
    return f"; `trimtab logs {name}` has the reason under id {identity}" if identity and "://" not in name else ""
