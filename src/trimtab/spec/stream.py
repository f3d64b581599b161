"""The address of a stream: one URL, with `$(NAME)` where a variable's value belongs, so that no secret stands in it.

    local:orders
    redis://user:$(PASSWORD)@host:6379/0?stream=orders&group=g
    nats://$(TOKEN)@host:4222?stream=ORDERS&subject=orders.>
    kafka://one:9092,two:9092?stream=orders
    amqp://user:$(PASSWORD)@host/vhost?stream=orders
    mqtt://host?stream=sensors/%23

With TLS: rediss, nats+tls, kafka+tls, amqps, mqtts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import SpecError

_TLS = frozenset({"tls_ca", "tls_cert", "tls_key"})
_COMMON = frozenset({"stream", "group"})
KINDS: dict[str, tuple[str, bool]] = {
    "local": ("local", False),
    "redis": ("redis", False),
    "rediss": ("redis", True),
    "nats": ("nats", False),
    "nats+tls": ("nats", True),
    "kafka": ("kafka", False),
    "kafka+tls": ("kafka", True),
    "amqp": ("rabbitmq", False),
    "amqps": ("rabbitmq", True),
    "mqtt": ("mqtt", False),
    "mqtts": ("mqtt", True),
}
"""What each scheme means: the kind of broker, and whether the connection is encrypted."""
_MORE = {
    "local": frozenset[str](),
    "redis": frozenset({"maxlen"}),
    "nats": frozenset({"subject"}),
    "kafka": frozenset({"sasl"}),
    "rabbitmq": frozenset({"exchange", "key"}),
    "mqtt": frozenset({"session"}),
}
PORTS = {"redis": 6379, "nats": 4222, "kafka": 9092, "rabbitmq": 5672, "mqtt": 1883}
_TLS_PORTS = {"rabbitmq": 5671, "mqtt": 8883, "kafka": 9093}
_reference = re.compile(r"\$\(([^()]*)\)")
_scheme = re.compile(r"([a-z]+(?:\+[a-z]+)?):")


class StreamUrl(Struct, frozen=True, kw_only=True):
    """A stream's address, taken apart. Its text, and its `repr`, show no password that stands in the URL itself."""

    kind: str
    """local, redis, nats, kafka, rabbitmq or mqtt."""
    tls: bool = False
    hosts: tuple[str, ...] = ()
    """`host:port` each."""
    user: str = ""
    password: str = ""
    path: str = ""
    """What stands between host and question mark: a database's number, a virtual host."""
    stream: str = ""
    group: str = ""
    options: dict[str, str] = {}

    @property
    def scheme(self) -> str:
        """The URL's scheme."""
        return next(name for name, meaning in KINDS.items() if meaning == (self.kind, self.tls))

    @property
    def source(self) -> str:
        """The address without user and options: the `source` of events that come from here."""
        if self.kind == "local":
            return f"/streams/{quote(self.stream, safe='')}"
        parts = [part for part in (self.path, self.stream) if part]
        return f"{self.scheme}://{','.join(self.hosts)}/" + "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        """The address for people and logs."""
        return self.source if self.kind != "local" else f"local:{self.stream}"

    def __repr__(self) -> str:
        return f"StreamUrl({self})"

    @property
    def secret(self) -> bool:
        """Whether a password or token stands in it literally."""
        token = self.user if self.kind == "nats" and not self.password else self.password
        return bool(token) and not _reference.search(token)

    def named(self, stream: str) -> StreamUrl:
        """Give another stream of the same broker."""
        kept = {name: text for name, text in self.options.items() if name not in {"subject", "exchange", "key"}}
        return replace(self, stream=stream, group="", options=kept)

    def resolved(self, environ: Mapping[str, str]) -> StreamUrl:
        """Put in the variables. Errors: SpecError naming one that is not set."""

        def put(text: str) -> str:
            return _reference.sub(lambda match: _value(match[1], environ), text)

        return replace(
            self,
            hosts=tuple(_with_port(host, self) for text in self.hosts for host in put(text).split(",")),
            user=put(self.user),
            password=put(self.password),
            path=put(self.path),
            stream=put(self.stream),
            group=put(self.group),
            options={name: put(text) for name, text in self.options.items()},
        )


def is_stream_url(text: str) -> bool:
    """Tell a stream's address from an event's type."""
    found = _scheme.match(text)
    return found is not None and found[1] in KINDS


def parse(text: str, path: str = "stream") -> StreamUrl:
    """Read an address. Errors: SpecError at `path`, without any password."""
    found = _scheme.match(text)
    if found is None or found[1] not in KINDS:
        raise SpecError(path, masked(text), f"a URL that begins with {', '.join(name + ':' for name in KINDS)}")
    kind, tls = KINDS[found[1]]
    rest, _, query = text[found.end() :].partition("?")
    options = _options(query, kind, tls, text, path)
    user = password = where = ""
    hosts: tuple[str, ...] = ()
    if kind == "local":
        stream = unquote(rest)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", stream):
            raise SpecError(path, text, "local:NAME, NAME of letters, digits, '.', '_' and '-'")
    else:
        user, password, hosts, where = _authority(rest, kind, tls, text, path)
        stream = options.pop("stream", "")
        if not stream:
            raise SpecError(path, masked(text), f"a URL that names the stream: {found[1]}://HOST?stream=NAME")
    group = options.pop("group", "")
    return StreamUrl(
        kind=kind,
        tls=tls,
        hosts=hosts,
        user=user,
        password=password,
        path=where,
        stream=stream,
        group=group,
        options=options,
    )


def masked(text: str) -> str:
    """Give a URL with whatever stands before its `@` taken out."""
    return re.sub(r"//[^/?]*@", "//***@", text)


def references(text: str) -> list[str]:
    """Name the variables that an address needs."""
    return _reference.findall(text)


def _options(query: str, kind: str, tls: bool, text: str, path: str) -> dict[str, str]:
    allowed = _COMMON | _MORE[kind] | (_TLS if tls else frozenset[str]())
    if kind == "local":
        allowed -= {"stream"}
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed or name in options or not value:
            what = "each once, with a value: " + ", ".join(sorted(allowed))
            raise SpecError(path, masked(text), f"after the question mark, {what} (found {name}={value!r})")
        options[name] = value
    return options


def _authority(rest: str, kind: str, tls: bool, text: str, path: str) -> tuple[str, str, tuple[str, ...], str]:
    if not rest.startswith("//"):
        raise SpecError(path, masked(text), f"a URL with a host, such as {kind}://HOST?stream=NAME")
    authority, _, where = rest[2:].partition("/")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    found = StreamUrl(kind=kind, tls=tls)
    try:
        names = tuple(host if "$(" in host else _with_port(host, found) for host in hosts.split(","))
    except SpecError as exc:
        raise SpecError(path, masked(text), exc.allowed) from None
    return unquote(user), unquote(password), names, unquote(where)


def _with_port(host: str, url: StreamUrl) -> str:
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, str((_TLS_PORTS if url.tls else PORTS).get(url.kind, PORTS.get(url.kind, 0)))
    if not name or not port.isdecimal() or not 0 < int(port) < 65536 or re.search(r"\s", name):
        raise SpecError("stream", host, "a host, or HOST:PORT")
    return f"{name}:{port}"


def _value(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise SpecError("stream", f"$({name})", f"a variable that is set: {name} is not")
    return environ[name]
