"""Tells the broker of every run that ended, so that what waits for it can go on."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from trimtab.deploy.abc import RunInfo
from trimtab.deploy.local.runs import Runs
from trimtab.errors import TrimtabError
from trimtab.events import Envelope
from trimtab.runtime.ended import ended
from trimtab.triggers.broker import Broker
from trimtab.triggers.broker.routes import DEFAULT

logger = logging.getLogger("trimtab.announce")

_AGAIN = 1.0
"""Seconds until a broker that did not take an event is asked again."""


def event(info: RunInfo) -> Envelope:
    """Make the event of a run's end."""
    return ended(info.function, info.id, info.state, info.cause, msgspec.to_builtins(info, enc_hook=str))


async def announce(runs: Runs, broker: Broker) -> None:
    """Post the end of each run to the broker `default`, for ever. A run whose event is on the disk is not told again."""
    while True:
        runs.ended.clear()
        for info in runs.untold():
            try:
                await broker.publish(DEFAULT, [event(info)])
            except TrimtabError as exc:
                logger.warning("run %s ended, and the broker does not take the event: %s", info.id, exc)
                await asyncio.sleep(_AGAIN)
                runs.ended.set()
                break
            runs.told(info.id)
        await runs.ended.wait()
