"""What follows from a call: which messages are done with, which are tried again and when, which are given up.

The rules for one message are the broker's (`broker.retry`). Two more are for batches. When a batch fails as a whole, nobody
knows whose fault it was: no message is given up for it, and each is tried alone next. And in a lane, what comes after a
message that is tried again is called again too, so that the function sees a lane's messages in order to the last.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec import Struct

from trimtab.runtime.retry import retry_after
from trimtab.triggers.broker.attempt import Answer
from trimtab.triggers.broker.retry import Dead, Policy, backoff, decide
from trimtab.triggers.streams.call import Called
from trimtab.triggers.streams.dead import Letter
from trimtab.triggers.streams.lanes import Item


class GivenUp(Struct, frozen=True):
    """A message that goes to the dead letters."""

    item: Item
    letter: Letter


class Verdict(Struct, frozen=True, kw_only=True):
    """What becomes of each message of a call; `again` are in their order, with their `due`."""

    done: list[Item]
    again: list[Item]
    dead: list[GivenUp]
    failed: int


def judge(
    policy: Policy, trigger: str, items: Sequence[Item], called: Called, *, began: float, now: float, url: str
) -> Verdict:
    """Judge a call that began at `began` and ended at `now`."""
    done: list[Item] = []
    again: list[Item] = []
    dead: list[GivenUp] = []
    blocked: set[str] = set()
    failed = 0
    whole = called.whole and len(items) > 1
    for item, answer in zip(items, called.answers, strict=True):
        if item.lane in blocked:
            item.due = 0.0
            again.append(item)
            continue
        if answer.success:
            done.append(item)
            continue
        failed += 1
        item.tries += 1
        item.history.append((began, answer.status, answer.detail))
        reason = _decide(policy, item, answer, now, whole=whole)
        if reason is not None:
            dead.append(GivenUp(item, letter(trigger, item, reason, now, url, answer)))
            continue
        again.append(item)
        if item.lane is not None:
            blocked.add(item.lane)
    return Verdict(done=done, again=again, dead=dead, failed=failed)


def letter(trigger: str, item: Item, reason: str, now: float, url: str = "", answer: Answer | None = None) -> Letter:
    """Make the dead letter of a message."""
    return Letter(
        trigger=trigger,
        envelope=item.envelope,
        key=item.message.key,
        reason=reason,
        died=now,
        history=tuple(item.history),
        url=url,
        status=answer.status if answer else 0,
        body=answer.body if answer else b"",
    )


def _decide(policy: Policy, item: Item, answer: Answer, now: float, *, whole: bool) -> str | None:
    """Set when the message is due again, or say why it is given up."""
    chance = random.random()
    if whole:
        item.alone = True
        item.due = now + backoff(policy, min(item.tries, max(policy.attempts, 1)), chance)
        return None
    wish = retry_after(answer.retry_after, now)
    decision = decide(policy, tries=item.tries, status=answer.status, retry_after=wish, now=now, chance=chance)
    if isinstance(decision, Dead):
        return decision.reason
    item.due = decision.due
    return None
