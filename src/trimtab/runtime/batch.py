"""The answer to a batch of events: one status for all of them, and what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trimtab.runtime import binding
from trimtab.runtime.answer import Answer, Wish
from trimtab.runtime.codec import to_json
from trimtab.runtime.event import Event
from trimtab.runtime.failure import JSON

WISH = Wish(reply=True)
_DETAIL = 500
"""Characters of what went wrong with one event."""


async def respond(
    calls: list[Event], handle: Callable[[Event, Wish], Awaitable[Answer]], over: Callable[[], bool]
) -> Answer:
    """Handle one event after the other; once `over` says that the time is, the rest counts as failed."""
    answers: list[Answer] = []
    for call in calls:
        answers.append(await handle(call, WISH))
        if over():
            answers += [answers[-1]] * (len(calls) - len(answers))
            break
    return together(calls, answers)


def together(calls: list[Event], answers: list[Answer]) -> Answer:
    """Make one answer: 202 if every event was taken, or 200 with a batch of the events that the handler replied with.

    Otherwise the worst status, and a list, in the events' order, of each one's status, with `retryAfter`, `error` and
    `reply` where it has them: who repeats only those that failed has lost no reply.
    """
    worst = max((answer.status for answer in answers), default=202)
    if worst >= 300:
        return Answer(
            worst, [JSON], to_json({"events": [_row(call, a) for call, a in zip(calls, answers, strict=True)]})
        )
    replies = [binding.read(answer.headers, answer.body) for answer in answers if answer.status == 200]
    return Answer(200, *binding.write_batch(replies)) if replies else Answer(202, [])


def outcomes(value: Any, count: int) -> list[Any]:
    """Read what a handler of batches returned for `count` events: None or True (all taken), or a list with one outcome for
    each. True is taken, False failed; an exception is what the handler would have raised for that one alone.

    Errors: ValueError for anything else.
    """
    if value is None or value is True:
        return [None] * count
    if not isinstance(value, list | tuple) or len(value) != count:
        found = f"a list of {len(value)}" if isinstance(value, list | tuple) else repr(value)
        raise ValueError(f"a handler of {count} events returned {found[:100]}, allowed: None, or a list of {count}")
    return [None if each is True else RuntimeError("it said False") if each is False else each for each in value]


def _row(call: Event, answer: Answer) -> dict[str, Any]:
    assert call.envelope is not None
    row: dict[str, Any] = {"source": call.envelope.source, "id": call.envelope.id, "status": answer.status}
    if answer.status >= 300:
        row["error"] = answer.body.decode("utf-8", "replace")[:_DETAIL]
        if after := [value.decode() for name, value in answer.headers if name == b"retry-after"]:
            row["retryAfter"] = after[0]
    elif answer.status == 200:
        row["reply"] = msgspec.to_builtins(binding.to_json(binding.read(answer.headers, answer.body)))
    return row
