"""Dead letters of a stream, put back where they came from."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

from msgspec.structs import replace

from trimtab.errors import EventError
from trimtab.spec.stream import StreamUrl, parse
from trimtab.triggers.streams.abc import Message, Options, Publisher, Record, Start, Stream
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.cloudevent import to_event, to_record
from trimtab.triggers.streams.dead import revived
from trimtab.triggers.streams.plan import Plan

GROUP = "trimtab-redrive"
OPTIONS = Options(consumer=GROUP, start=Start(at="earliest"), prefetch=200, ordered=False)
_BATCH = 100
_QUIET = 2.0
"""Seconds without another letter after which there is none."""


def dead_name(url: StreamUrl) -> str:
    """Name the stream of a stream's dead letters where nothing else is said: a name that every broker takes."""
    return re.sub(r"[/#+*>. ]+", "-", url.stream).strip("-") + "-dead"


def redrive_all(plan: Plan, home: Path) -> int:
    """Put the dead letters of a plan's stream back into it. Errors: StreamError."""
    name = plan.policy.dead_letter or dead_name(plan.url)
    letters = parse(name, "deadLetter") if name.startswith("local:") else plan.url.named(name)

    async def move() -> int:
        stream, to = open_stream(replace(letters, group=GROUP), OPTIONS, home), open_publisher(plan.url, home)
        try:
            await stream.open()
            await to.open()
            return await redrive(stream, to, letters.source)
        finally:
            await stream.close()
            await to.close()

    return asyncio.run(move())


async def redrive(letters: Stream, to: Publisher, source: str) -> int:
    """Move every dead letter to the stream `to`; a letter leaves its own only when it is there. Gives their number.

    Those that die again meanwhile are left, where the broker says how many there were. Errors: StreamError; what was moved
    until then is moved.
    """
    count, lag = 0, await letters.lag()
    most = lag.waiting + lag.pending or math.inf
    while count < most and (messages := await letters.receive(int(min(_BATCH, most - count)), _QUIET)):
        await to.publish([_record(message, source) for message in messages])
        await letters.ack(messages)
        count += len(messages)
    return count


def _record(message: Message, source: str) -> Record:
    try:
        return to_record(revived(to_event(message, source)), message.key)
    except EventError:  # it was given up for not being the CloudEvent that it says it is
        return Record(body=message.body, headers=message.headers, key=message.key)
