"""Nuclio's triggers on brokers as stream triggers.

One of Nuclio's may name several topics; here each stream has a trigger of its own. A password never stands in a trigger: it
becomes a variable of the function that comes from a secret, and the list of what was not carried over says which. What
Nuclio drops (a message whose handler raised) is tried again here and then a dead letter.

Reference: nuclio/nuclio 1.14, docs/reference/triggers, pkg/processor/trigger/{kafka,rabbitmq,mqtt,nats}/types.go
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from msgspec import Struct, field

from trimtab.errors import SpecError
from trimtab.spec.foreign import Remains
from trimtab.spec.scalars import as_label
from trimtab.spec.stream import masked

OTHERS = {
    "v3ioStream": "Iguazio's own; it speaks Kafka's protocol too, or move the stream to Kafka, Redis or NATS",
    "kinesis": "have it call the function's URL from EventBridge or a Lambda, or move the stream to Kafka",
    "eventhub": "it speaks Kafka's protocol: a trigger of kind 'kafka-cluster' on port 9093",
    "pubsub": "let a push subscription call the function's URL",
}
"""Kinds of triggers that there is nothing for, and what to use."""
_MECHANISMS = {"PLAIN": "plain", "SCRAM-SHA-256": "scram-sha-256", "SCRAM-SHA-512": "scram-sha-512"}


class Taken(Struct):
    """What became of one trigger: those of ours, the variables that they need, and what is to be said."""

    triggers: list[dict[str, Any]]
    env: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Address(Struct):
    """Where a broker is; `password`: there is one, in the variable `variable`."""

    hosts: str
    tls: bool = False
    user: str = ""
    variable: str = ""
    path: str = ""

    def url(self, scheme: str, **options: str) -> str:
        """Write a stream's URL."""
        login = quote(self.user, safe="") + (f":$({self.variable})" if self.variable else "")
        query = urlencode({name: text for name, text in options.items() if text}, safe="$()/", quote_via=quote)
        return f"{scheme}://{login}{'@' if login else ''}{self.hosts}{self.path}?{query}"


def take_stream(name: str, kind: str, rest: Remains) -> Taken:
    """Take a trigger of a kind in STREAMS; nothing is taken where it names no broker, or nothing to take from it."""
    label = as_label(name) or "stream"
    taken = Taken([])
    streams = _KINDS[kind](label, rest, taken)
    if not streams:
        return taken
    shared = _shared(rest)
    for suffix, url, more in streams:
        own = label if len(streams) == 1 else as_label(f"{label}-{suffix}")
        taken.triggers.append({"kind": "stream", "name": own, "url": url, **shared, **more})
    taken.notes = [f"spec.triggers.{name}: {note}" for note in taken.notes]
    return taken


_Streams = list[tuple[str, str, dict[str, Any]]]


def _kafka(label: str, rest: Remains, taken: Taken) -> _Streams:
    brokers, topics = _texts(rest, "attributes.brokers"), _texts(rest, "attributes.topics")
    url, hosts = rest.take("url", str, ""), ",".join(brokers)
    if not (hosts or url) or not topics:
        _back(rest, {"attributes.brokers": brokers, "url": url, "attributes.topics": topics})
        return []
    where = _Address(hosts or url, tls=rest.take("attributes.tls.enable", bool, False))
    options = {"group": rest.take("attributes.consumerGroup", str, ""), **_sasl(label, rest, taken, where)}
    more = {"start": rest.take("attributes.initialOffset", str, "latest").lower(), "order": "partition"}
    if session := rest.take("attributes.sessionTimeout", str):
        more["lease"] = session
    rest.take("attributes.workerAllocationMode")  # either way a partition's messages are worked on one after the other
    scheme = "kafka+tls" if where.tls else "kafka"
    return [(topic, where.url(scheme, stream=topic, **options), more) for topic in topics]


def _sasl(label: str, rest: Remains, taken: Taken, where: _Address) -> dict[str, str]:
    mechanism = rest.take("attributes.sasl.mechanism", str, "PLAIN")
    if not rest.take("attributes.sasl.enable", bool, False):
        return {}
    if mechanism.upper() not in _MECHANISMS:
        rest.put_back("attributes.sasl.mechanism", mechanism)
        return {}
    rest.take("attributes.sasl.handshake")
    where.user = rest.take("attributes.sasl.user", str, "")
    _password(label, rest.take("attributes.sasl.password", str, ""), taken, where)
    return {"sasl": _MECHANISMS[mechanism.upper()]}


def _rabbitmq(label: str, rest: Remains, taken: Taken) -> _Streams:
    url, queue = rest.take("url", str, ""), rest.take("attributes.queueName", str, "")
    exchange, topics = rest.take("attributes.exchangeName", str, ""), _texts(rest, "attributes.topics")
    if not url or not (queue or exchange):
        _back(rest, {"url": url, "attributes.queueName": queue, "attributes.exchangeName": exchange})
        rest.put_back("attributes.topics", topics)
        return []
    where = _address(label, url, taken)
    if rest.take("attributes.prefetchCount") is not None:
        taken.notes.append("its prefetch is as many messages as the function has free slots for")
    if rest.take("attributes.durableQueue") is not True:
        taken.notes.append(
            "a queue that is missing is made as a quorum queue, which is durable; one that is there is taken as it is"
        )
    if exchange:
        taken.notes.append(f"the exchange {exchange!r} must be there; a queue that is made is bound to it")
        rest.take("attributes.durableExchange")
    if len(topics) > 1:
        rest.put_back("attributes.topics", topics[1:])  # a queue is bound by one key
    if not queue:
        queue = f"nuclio-{label}"
        taken.notes.append(f"its queue has no name, and is called {queue!r}")
    bound = {"exchange": exchange, "key": (topics or ["*"])[0]} if exchange else {}
    return [(queue, where.url("amqps" if where.tls else "amqp", stream=queue, **bound), {})]


def _mqtt(label: str, rest: Remains, taken: Taken) -> _Streams:
    url, wanted = rest.take("url", str, ""), rest.take("attributes.subscriptions", list, [])
    if not url or not wanted:
        _back(rest, {"url": url, "attributes.subscriptions": wanted})
        return []
    where = _address(label, url, taken)
    where.user = rest.take("username", str, where.user)
    _password(label, rest.take("password", str, ""), taken, where)
    if rest.take("attributes.clientID"):
        taken.notes.append("its client's name is the consumer's, which keeps a session of its own")
    if rest.take("attributes.protocolVersion") != 5:
        taken.notes.append("MQTT 5 is spoken, which the broker has to know")
    streams: _Streams = []
    for each in wanted:
        if not isinstance(each, dict):
            raise SpecError("attributes.subscriptions", each, "a mapping with topic and qos")
        topic, qos = str(each.get("topic") or ""), each.get("qos", 0)
        if qos != 1:
            taken.notes.append(f"{topic!r} is subscribed to at QoS 1 (found: {qos}), so that nothing is lost")
        streams.append((topic, where.url("mqtts" if where.tls else "mqtt", stream=topic), {}))
    return streams


def _nats(label: str, rest: Remains, taken: Taken) -> _Streams:
    url, topic = rest.take("url", str, ""), rest.take("attributes.topic", str, "")
    if not url or not topic:
        _back(rest, {"url": url, "attributes.topic": topic})
        return []
    where = _address(label, url, taken)
    group = rest.take("attributes.queueName", str, "")
    if "{{" in group:
        rest.put_back("attributes.queueName", group)
        group = ""
    stream = re.sub(r"[^A-Za-z0-9_-]+", "-", topic).strip("-") or label
    taken.notes.append(
        f"the JetStream stream {stream!r} keeps what is published to {topic!r}, and is made where it is missing"
    )
    options = {"stream": stream, "subject": topic, "group": group}
    return [(topic, where.url("nats+tls" if where.tls else "nats", **options), {})]


_KINDS: dict[str, Callable[[str, Remains, Taken], _Streams]] = {
    "kafka-cluster": _kafka,
    "rabbit-mq": _rabbitmq,
    "mqtt": _mqtt,
    "nats": _nats,
}
STREAMS = frozenset(_KINDS)
"""Kinds of triggers that `take_stream` takes."""


def _shared(rest: Remains) -> dict[str, Any]:
    """Take what every trigger has."""
    rest.take("name")
    rest.take("class")
    old = rest.take("maxWorkers", int)
    shared: dict[str, Any] = {"concurrency": rest.take("numWorkers", int, old) or 1}
    if rest.take("disabled", bool, False):
        shared["disabled"] = True
    if rest.take("batch.mode", str) == "enable":
        shared["batch"] = rest.take("batch.batchSize", int, 10)
        shared["wait"] = rest.take("batch.timeout", str, "1s")
    return shared


def _address(label: str, text: str, taken: Taken) -> _Address:
    """Read a broker's URL; a password in it becomes a variable."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
    except ValueError as error:
        raise SpecError("url", masked(text), "a broker's URL") from error
    hosts = parts.netloc.rpartition("@")[2]
    tls = parts.scheme in ("amqps", "ssl", "tls", "mqtts", "wss")
    where = _Address(hosts, tls=tls, user=unquote(parts.username or ""), path=parts.path.rstrip("/"))
    _password(label, parts.password or "", taken, where)
    return where


def _password(label: str, password: str, taken: Taken, where: _Address) -> None:
    if not password:
        return
    where.variable = f"{label.upper().replace('-', '_')}_PASSWORD"
    secret = {"name": where.variable, "valueFrom": {"secretKeyRef": {"name": label, "key": "password"}}}
    taken.env.append(secret)
    taken.notes.append(f"its password is not taken over: put it into the secret {label!r} under the key 'password'")


def _texts(rest: Remains, path: str) -> list[str]:
    found = rest.take(path, (list, str), [])
    return [found] if isinstance(found, str) else [str(each) for each in found]


def _back(rest: Remains, values: dict[str, Any]) -> None:
    for path, value in values.items():
        rest.put_back(path, value)
