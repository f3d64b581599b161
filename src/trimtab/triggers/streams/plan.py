"""What one consumer is to do: a stream trigger with its words made numbers and its variables put in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from trimtab.errors import SpecError
from trimtab.spec import StreamTrigger
from trimtab.spec.quantity import seconds
from trimtab.spec.stream import StreamUrl, parse
from trimtab.triggers.broker.retry import Policy
from trimtab.triggers.streams.abc import Options, Start

WAITING = 1000
"""Messages of a partition that may wait, for their next try or behind another of their key, before no new ones are taken."""
MOST = 65_535
"""What AMQP and MQTT can say of messages that are lent at a time."""
BATCH_BYTES = 8 * 2**20
"""A batch ends when its data is larger: well below what a function accepts (`limits.body`)."""


class Plan(Struct, frozen=True, kw_only=True):
    """A consumer's orders. Durations are seconds."""

    id: str
    """`<function>/<trigger>`, or whatever a consumer of its own is called."""
    url: StreamUrl
    path: str = "/"
    batch: int = 1
    wait: float = 0.0
    concurrency: int = 0
    order: Literal["key", "partition", "none"] = "key"
    start: Start = field(default_factory=lambda: Start(at="latest"))
    lease: float = 30.0
    policy: Policy = field(default_factory=Policy)
    consumer: str = "trimtab"

    def options(self, slots: int) -> Options:
        """What the backend is told; `slots` is how many calls the function takes at a time, with all the replicas it may have."""
        calls = min(slots, self.concurrency or slots)
        return Options(
            consumer=self.consumer,
            start=self.start,
            prefetch=max(1, min(calls * self.batch, MOST)),
            lease=self.lease,
            ordered=self.order != "none",
        )


def plan(id: str, trigger: StreamTrigger, environ: Mapping[str, str], timeout: float, consumer: str) -> Plan:
    """Read a trigger. Errors: SpecError (a variable that is not set)."""
    url = parse(trigger.url).resolved(environ)
    retry = trigger.retry
    return Plan(
        id=id,
        url=url if url.group else _grouped(url, id),
        path=trigger.path,
        batch=trigger.batch,
        wait=seconds(trigger.wait),
        concurrency=trigger.concurrency,
        order=trigger.order,
        start=start(trigger.start),
        lease=seconds(trigger.lease),
        policy=Policy(
            attempts=retry.attempts,
            backoff=retry.backoff,
            delay=seconds(retry.delay),
            max_delay=seconds(retry.max_delay),
            timeout=timeout if retry.timeout is None else seconds(retry.timeout),
            dead_letter=retry.dead_letter,
        ),
        consumer=consumer,
    )


def _grouped(url: StreamUrl, id: str) -> StreamUrl:
    """Give the group its default name, which every kind of broker takes."""
    return replace(url, group=id.replace("/", "-"))


def start(text: str) -> Start:
    """Read where to begin. Errors: SpecError."""
    if text in ("earliest", "latest"):
        return Start(at=text)
    if "T" not in text.upper() or "-" not in text:
        return Start(offset=text)
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        allowed = "latest, earliest, an offset, or a time with its zone such as '2026-01-01T00:00:00Z'"
        raise SpecError("start", text, allowed) from None
    return Start(time=moment.timestamp())
