"""What to do after a try that was not a success: again and when, or the dead letters.

The rules are those of Knative's delivery (knative.dev/pkg kncloudevents/retries.go and the DeliverySpec): no answer,
404, 408, 409, 429 and 5xx are tried again; every other 3xx and 4xx is final. Pure: time and chance are passed in.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from trimtab.runtime.retry import retried
from trimtab.spec import Retry
from trimtab.spec.quantity import seconds

JITTER = 0.25
LONGEST_RETRY_AFTER = 86400.0
"""A function cannot put an event off for more than a day at a time."""


class Policy(Struct, frozen=True, kw_only=True):
    """A trigger's `Retry` with its durations in seconds; the words are explained there."""

    attempts: int = 10
    backoff: Literal["linear", "exponential"] = "exponential"
    delay: float = 0.2
    max_delay: float = 300.0
    timeout: float = 300.0
    dead_letter: str | None = None


def policy_of(retry: Retry, timeout: float, path: str = "retry") -> Policy:
    """Give the policy of a trigger; `timeout` is the function's own. Errors: SpecError naming a field below `path`."""
    return Policy(
        attempts=retry.attempts,
        backoff=retry.backoff,
        delay=seconds(retry.delay, f"{path}.delay"),
        max_delay=seconds(retry.max_delay, f"{path}.maxDelay"),
        timeout=timeout if retry.timeout is None else seconds(retry.timeout, f"{path}.timeout"),
        dead_letter=retry.dead_letter,
    )


class Again(Struct, frozen=True):
    """Try again at `due`."""

    due: float


class Dead(Struct, frozen=True):
    """Give up."""

    reason: str


def decide(
    policy: Policy, *, tries: int, status: int, retry_after: float | None, now: float, chance: float
) -> Again | Dead:
    """Decide after try number `tries` (from 1) that ended with `status` (0: no answer).

    `retry_after` is the function's wish in seconds; `chance` in [0, 1) makes the jitter.
    """
    if not retried(status):
        return Dead(f"status {status} is final")
    if tries > policy.attempts:
        return Dead(f"{tries} {'try' if tries == 1 else 'tries'} failed, the last with {_said(status)}")
    return Again(now + max(backoff(policy, tries, chance), min(retry_after or 0.0, LONGEST_RETRY_AFTER)))


def backoff(policy: Policy, tries: int, chance: float) -> float:
    """Seconds to wait after `tries` tries: delay * n or delay * 2**n, up to a quarter more, at most `max_delay`."""
    factor = tries if policy.backoff == "linear" else 2.0 ** min(tries, 64)
    return min(policy.delay * factor * (1 + JITTER * chance), policy.max_delay)


def _said(status: int) -> str:
    return f"status {status}" if status else "no answer"
