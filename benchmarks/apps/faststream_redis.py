"""FastStream takes a Redis stream in process, with acks, until it has had COUNT messages; prints messages a second."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub

COUNT, BATCH = int(os.environ["COUNT"]), int(os.environ["BATCH"])
broker = RedisBroker(os.environ["REDIS"])
app = FastStream(broker, logger=None)
stream = StreamSub(
    "bench", group="faststream", consumer="one", last_id=">", batch=BATCH > 1, max_records=max(BATCH, 100)
)
taken = 0
began = 0.0


@broker.subscriber(stream=stream, ack_policy=AckPolicy.NACK_ON_ERROR)
async def take(message: Any) -> None:
    global taken, began
    taken += len(message) if BATCH > 1 else 1
    if not began and taken >= COUNT // 20:
        began = time.perf_counter()
    if taken >= COUNT:
        print((COUNT - COUNT // 20) / (time.perf_counter() - began), flush=True)
        app.exit()


async def main() -> None:
    async with asyncio.timeout(120):
        await app.run()


logging.disable(logging.WARNING)
uvloop.run(main())
