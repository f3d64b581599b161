"""The answer to a batch of events: one status for all of them, and what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trimtab.runtime import binding
from trimtab.runtime.answer import Answer, Wish
from trimtab.runtime.codec import to_json
from trimtab.runtime.event import Event
from trimtab.runtime.failure import JSON

_WISH = Wish(reply=True)


async def respond(
    calls: list[Event], handle: Callable[[Event, Wish], Awaitable[Answer]], over: Callable[[], bool]
) -> Answer:
    """Handle one event after the other; once `over` says that the time is, the rest counts as failed.

    202 if every event was taken, or 200 with a batch of the events that the handler replied with. Otherwise the worst
    status, and a list that says which events failed: a sender that repeats the batch gets the replies again.
    """
    answers: list[Answer] = []
    for call in calls:
        answers.append(await handle(call, _WISH))
        if over():
            answers += [answers[-1]] * (len(calls) - len(answers))
            break
    worst = max((answer.status for answer in answers), default=202)
    if worst >= 300:
        rows = [{**_identity(call), "status": answer.status} for call, answer in zip(calls, answers, strict=True)]
        return Answer(worst, [JSON], to_json({"events": rows}))
    replies = [binding.read(answer.headers, answer.body) for answer in answers if answer.status == 200]
    return Answer(200, *binding.write_batch(replies)) if replies else Answer(202, [])


def _identity(call: Event) -> dict[str, str]:
    assert call.envelope is not None
    return {"source": call.envelope.source, "id": call.envelope.id}
