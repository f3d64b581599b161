"""Posts one event and waits for the sink's answer: for what must be known to have arrived before it counts as done."""

from __future__ import annotations

from trimtab.errors import TargetUnreachable
from trimtab.events import Envelope
from trimtab.runtime.binding import write_binary
from trimtab.runtime.http import request

TIMEOUT = 15.0
"""Seconds; a broker answers when the event is on its disk."""


def post(sink: str, event: Envelope, *, timeout: float = TIMEOUT) -> None:
    """Send an event. Errors: TargetUnreachable, when the sink did not say that it took it."""
    headers, body = write_binary(event)
    with request("POST", sink, headers, body, timeout=timeout) as answer:
        said = answer.read()[:200].decode("utf-8", "replace")
        if not 200 <= answer.status < 300:
            raise TargetUnreachable(f"{sink} answered {answer.status} to an event {event.type!r}: {said}")
