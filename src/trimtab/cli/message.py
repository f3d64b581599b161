"""The body and the event that a command line describes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from trimtab.cli import output as out
from trimtab.cli.options import add_options, gather, pair

if TYPE_CHECKING:
    from trimtab.events import Envelope

SOURCE = "/trimtab/cli"
_OWN_OPTIONS = {"id": "--id", "source": "--source", "subject": "--subject", "datacontenttype": "--content-type"}
_FIXED = {"specversion", "type", "data"}


class Body(msgspec.Struct, frozen=True):
    """What is sent: None where no `-d` was given."""

    data: bytes | None = None
    content_type: str | None = None


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """The event's attributes as options give them."""

    source: str = SOURCE
    id: str | None = None
    subject: str | None = None
    ext: tuple[tuple[str, str], ...] = ()


_BODY = (
    click.option("-d", "--data", metavar="TEXT|@FILE|-", help="What to send: the text, a file's content, or stdin."),
    click.option("--content-type", help="What the data is (default: what it looks like: JSON, text or bytes)."),
)
_ATTRIBUTES = (
    click.option("--source", default=SOURCE, show_default=True, help="The event's source."),
    click.option("--id", help="The event's id (default: a random one)."),
    click.option("--subject", help="The event's subject."),
    click.option("--ext", multiple=True, type=pair, metavar="KEY=VALUE", help="An extension attribute. Repeatable."),
)


def body_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-d` and `--content-type`, read into one `Body`, parameter `body`."""
    return add_options(gather(command, "body", _body, ("data", "content_type")), _BODY)


def event_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The event's attributes, as one `Attributes`, parameter `attributes`."""
    return add_options(gather(command, "attributes", Attributes, Attributes.__struct_fields__), _ATTRIBUTES)


def event(type: str, attributes: Attributes, body: Body) -> Envelope:
    """Make the event. Errors: EventError naming the attribute, click.UsageError for an option that is another one's."""
    from trimtab.events import make

    extensions = dict(attributes.ext)
    for name in extensions:
        if name in _OWN_OPTIONS or name in _FIXED:
            instead = f": say {_OWN_OPTIONS[name]}" if name in _OWN_OPTIONS else ""
            raise click.UsageError(f"--ext {name}: that is no extension{instead}")
    return make(
        type,
        attributes.source,
        body.data,
        id=attributes.id,
        subject=attributes.subject,
        datacontenttype=body.content_type,
        **extensions,
    )


def _body(data: str | None, content_type: str | None) -> Body:
    if data is None:
        return Body(None, content_type)
    name = data[1:] if data.startswith("@") else None
    if data == "-" or name == "-":
        content = sys.stdin.buffer.read()
    elif name is not None:
        content = _content(Path(name))
    else:
        content = data.encode()
    return Body(content, content_type or (name and _by_name(name)) or _by_look(content))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{str(path)!r}: {error.strerror}", param_hint="-d") from error


def _by_name(name: str) -> str | None:
    from mimetypes import guess_type

    return guess_type(name)[0]


def _by_look(content: bytes) -> str:
    try:
        msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        if content.lstrip().startswith((b"{", b"[")):
            out.warn(f"-d looks like JSON and is not ({error}); --content-type says what it is")
    else:
        return "application/json"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"
