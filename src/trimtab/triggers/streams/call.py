"""One call of the function with one message or with a batch, and what became of each.

A batch is CloudEvents' JSON batch; the function says in its answer which events failed (see `runtime.batch`). The rules
for one answer are the broker's (`broker.attempt`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import EventError, TrimtabError
from trimtab.events import Envelope, from_json
from trimtab.runtime.binding import Mode, is_event, read_batch, write_batch
from trimtab.runtime.client import Client, Reply
from trimtab.triggers.broker.attempt import NOT_AN_EVENT, Answer, attempt, judge

logger = logging.getLogger(__name__)


class Called(Struct, frozen=True, kw_only=True):
    """What a call came to: an answer for each event, in order. `whole`: it was one and the same failure for a batch, so
    nobody knows which event was at fault. `replies` are the events that the function answered with."""

    answers: list[Answer]
    whole: bool = False
    replies: list[Envelope] = []


class _Row(Struct):
    status: int
    retry_after: str | None = msgspec.field(name="retryAfter", default=None)
    error: str = ""
    reply: dict[str, Any] | None = None


class _Rows(Struct):
    events: list[_Row]


async def call(client: Client, url: str, envelopes: Sequence[Envelope], timeout: float) -> Called:
    """Send events once, and wait at most `timeout` seconds for the answer."""
    if len(envelopes) == 1:
        answer = await attempt(client, url, envelopes[0], timeout)
        return Called(answers=[answer], replies=[answer.reply] if answer.reply else [])
    return judged(await _send(client, url, list(envelopes), timeout), len(envelopes))


def judged(reply: Reply | Answer, count: int) -> Called:
    """Say what an HTTP answer (an `Answer`: there was none) means for each of `count` events."""
    if isinstance(reply, Answer):
        return Called(answers=[reply] * count, whole=True)
    if not 200 <= reply.status < 300:
        return _failed(reply, count)
    if is_event(reply.headers) is Mode.BATCH:
        try:
            return Called(answers=[Answer(status=reply.status, taken=True)] * count, replies=read_batch(reply.body))
        except EventError as exc:
            detail = f"answered {reply.status} with a malformed batch: {exc}"
            return Called(answers=[Answer(status=NOT_AN_EVENT, taken=True, detail=detail)] * count, whole=True)
    answer = judge(reply)
    return Called(answers=[answer] * count, whole=not answer.success, replies=[answer.reply] if answer.reply else [])


def _failed(reply: Reply, count: int) -> Called:
    try:
        rows = msgspec.json.decode(reply.body, type=_Rows).events
    except msgspec.MsgspecError:
        rows = []
    if len(rows) != count:
        return Called(answers=[judge(reply)] * count, whole=True)
    answers = [
        Answer(status=row.status, taken=row.status < 300, detail=row.error, retry_after=row.retry_after) for row in rows
    ]
    return Called(answers=answers, replies=[found for row in rows if (found := _reply(row)) is not None])


def _reply(row: _Row) -> Envelope | None:
    try:
        return from_json(row.reply) if row.reply is not None else None
    except EventError:
        return None


async def _send(client: Client, url: str, envelopes: list[Envelope], timeout: float) -> Reply | Answer:
    headers, body = write_batch(envelopes)
    headers.append((b"prefer", b"reply"))
    try:
        return await client.request("POST", url, headers, body, timeout=timeout)
    except TrimtabError as exc:
        return Answer(status=0, detail=str(exc))
    except Exception as exc:
        # A fault of ours must not lose the events: it counts as a try without an answer.
        logger.exception("sending a batch to %s failed", url)
        return Answer(status=0, detail=f"{type(exc).__name__}: {exc}")
