"""Which backend speaks to which broker. Client libraries are extras, and are imported when one is needed."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from trimtab.errors import TargetError
from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams.abc import Options, Publisher, Stream

_MODULES = {
    "local": ("embedded", "Embedded", "", ""),
    "redis": ("redis", "Redis", "redis", "redis"),
    "nats": ("nats", "Nats", "nats", "nats"),
    "kafka": ("kafka", "Kafka", "aiokafka", "kafka"),
    "rabbitmq": ("rabbitmq", "RabbitMQ", "aio_pika", "rabbitmq"),
    "mqtt": ("mqtt", "Mqtt", "paho.mqtt", "mqtt"),
}
"""By kind: module, prefix of its classes, the library that it imports, and the extra that installs it."""

_LOUD = ("aio_pika", "aiokafka", "aiormq", "nats")


def open_stream(url: StreamUrl, options: Options, home: Path) -> Stream:
    """Give the consumer's side. `home` is where the embedded streams are. Errors: TargetError naming a missing extra."""
    made: Stream = _load(url, "Stream")(url, options, *_place(url, home))
    return made


def open_publisher(url: StreamUrl, home: Path) -> Publisher:
    """Give the sender's side. Errors: TargetError naming a missing extra."""
    made: Publisher = _load(url, "Publisher")(url, *_place(url, home))
    return made


def check_extra(kind: str) -> None:
    """Say whether the library for a kind of broker is installed. Errors: TargetError naming the extra."""
    _, _, library, extra = _MODULES[kind]
    if not library:
        return
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as exc:
        raise TargetError(
            f"{kind} streams need the extra {extra!r}, and {exc.name!r} is not installed: "
            f"pip install 'trimtab[{extra}]'"
        ) from exc


def _load(url: StreamUrl, side: str) -> type:
    check_extra(url.kind)
    module, prefix, _, _ = _MODULES[url.kind]
    for name in _LOUD:
        # What they say of a broken connection the consumer says too: once, and without a password for sure.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    found: type = getattr(importlib.import_module(f"trimtab.triggers.streams.{module}"), f"{prefix}{side}")
    return found


def _place(url: StreamUrl, home: Path) -> tuple[Path, ...]:
    return (home / "streams.db",) if url.kind == "local" else ()
