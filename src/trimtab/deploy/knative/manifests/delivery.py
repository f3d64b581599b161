"""How an event comes to a function again and again, and where it goes when it cannot: Knative's DeliverySpec."""

from __future__ import annotations

from typing import Any

from trimtab.spec import Retry
from trimtab.spec.quantity import Amount, seconds


def delivery(retry: Retry) -> dict[str, Any]:
    """Give a trigger's `delivery`."""
    found: dict[str, Any] = {
        "retry": retry.attempts,
        "backoffPolicy": retry.backoff,
        "backoffDelay": iso(retry.delay),
    }
    if retry.timeout is not None:
        found["timeout"] = iso(retry.timeout)
    if retry.dead_letter is not None:
        found["deadLetterSink"] = {"uri": retry.dead_letter}
    return found


def iso(duration: Amount) -> str:
    """Write a duration as ISO 8601 does: PT0.2S, PT5M."""
    total = seconds(duration)
    if total and total % 60 == 0:
        return f"PT{total / 60:g}M"
    return f"PT{total:g}S"
