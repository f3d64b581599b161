"""Posts one tick to its function and leaves: what the pod of a CronJob runs.

`python -m trimtab.triggers.cron.post`. The tick is an event like the local target's, with an id made of trigger and
moment, so that a pod that is started twice posts the same event. It is tried again as the trigger says; the exit code
says whether it was delivered.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from trimtab.errors import SpecError
from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.runtime.retry import retry_after
from trimtab.spec import CronTrigger
from trimtab.spec.quantity import seconds
from trimtab.triggers.broker.attempt import Answer, attempt
from trimtab.triggers.broker.deadsink import marked
from trimtab.triggers.broker.retry import Dead, Policy, decide, policy_of
from trimtab.triggers.cron.event import envelope, written

TIMEOUT = 300.0
"""Seconds of one try where the trigger says nothing."""


def tick(environ: Mapping[str, str]) -> tuple[CronTrigger, Envelope, str]:
    """Read what the CronJob says: the trigger, its event, and where it goes. Errors: SpecError naming the variable."""
    text = _needed(environ, "TRIMTAB_TICK")
    try:
        trigger = msgspec.json.decode(text, type=CronTrigger)
    except msgspec.DecodeError as exc:
        raise SpecError("environment variable TRIMTAB_TICK", text, "a cron trigger as JSON") from exc
    moment = written(due(_needed(environ, "TRIMTAB_TICK_JOB")))
    source = _needed(environ, "TRIMTAB_TICK_SOURCE")
    function = _needed(environ, "TRIMTAB_FUNCTION")
    identity = f"{function}/{trigger.name}/{moment}"
    event = envelope(trigger, id=identity, source=source, time=datetime.fromisoformat(moment))
    return trigger, event, _needed(environ, "TRIMTAB_TICK_URL")


def due(job: str) -> datetime:
    """When a CronJob's Job was due: its name ends in the minutes since the epoch. Errors: SpecError."""
    minutes = job.rpartition("-")[2]
    if not minutes.isdecimal():
        raise SpecError("environment variable TRIMTAB_TICK_JOB", job, "the name of a CronJob's Job, '<name>-<minutes>'")
    return datetime.fromtimestamp(int(minutes) * 60, UTC)


async def post(client: Client, url: str, event: Envelope, policy: Policy) -> Answer:
    """Send the event until it is taken or its retries are used up; give the last answer."""
    tries = 0
    while True:
        tries += 1
        answer = await attempt(client, url, event, policy.timeout)
        if answer.success:
            return answer
        print(f"try {tries}: {answer.text}", file=sys.stderr, flush=True)
        now = time.time()
        wish = retry_after(answer.retry_after, now)
        decision = decide(policy, tries=tries, status=answer.status, retry_after=wish, now=now, chance=random.random())
        if isinstance(decision, Dead):
            if policy.dead_letter is not None:
                await attempt(
                    client, policy.dead_letter, marked(event, url, answer.status, answer.body), policy.timeout
                )
            return answer
        await asyncio.sleep(decision.due - now)


async def _main(environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    try:
        trigger, event, url = tick(environ)
    except SpecError as exc:
        say(str(exc))
        return 2
    timeout = seconds(trigger.retry.timeout) if trigger.retry.timeout is not None else TIMEOUT
    client = Client()
    try:
        answer = await post(client, url, event, policy_of(trigger.retry, timeout))
    finally:
        await client.aclose()
    say(f"{event.id}: {answer.text}")
    return 0 if answer.success else 1


def _needed(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise SpecError(f"environment variable {name}", None, "what the CronJob sets")
    return environ[name]


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main(os.environ, lambda text: print(text, flush=True))))
