"""A trigger's own dead letter sink: events that cannot be delivered are sent there, as Knative does."""

from __future__ import annotations

import base64
import random

from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.runtime.retry import retried
from trimtab.triggers.broker.attempt import Answer, attempt
from trimtab.triggers.broker.clock import Clock
from trimtab.triggers.broker.entries import TTL, Delivery
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.retry import backoff

TRIES = 3
_DATA = 1024
"""Bytes of the function's answer that travel in `knativeerrordata`, as on Knative."""


async def forward(client: Client, clock: Clock, line: Line, delivery: Delivery, answer: Answer, url: str) -> str | None:
    """Send a dead event to the trigger's sink, in up to three tries; None, or why the sink has not taken it.

    It carries Knative's `knativeerrordest`, `knativeerrorcode` and `knativeerrordata` (base64), and the hops it has left:
    a sink that is a broker whose trigger fails in turn would go round for ever.
    """
    sink = line.policy.dead_letter or ""
    envelope = marked(delivery.envelope, url, answer.status, answer.body)
    envelope = Envelope(envelope.attributes | {TTL: str(delivery.ttl)}, envelope.data)
    for number in range(1, TRIES + 1):
        result = await attempt(client, sink, envelope, line.policy.timeout)
        if result.taken:
            return None
        if number == TRIES or not retried(result.status):
            break
        await clock.sleep(backoff(line.policy, number, random.random()))
    return result.text


def marked(envelope: Envelope, url: str, status: int, body: bytes) -> Envelope:
    """Say on a dead event where it was sent last, and what came back."""
    attributes = envelope.attributes | {"knativeerrordest": url, "knativeerrorcode": str(status)}
    if body:
        attributes["knativeerrordata"] = base64.b64encode(body[:_DATA]).decode()
    return Envelope(attributes, envelope.data)
