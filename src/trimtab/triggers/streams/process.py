"""A consumer in a process of its own, which the daemon starts: `python -m trimtab.triggers.streams.process`.

So a broker's client library, a slow broker, or a million messages an hour are nothing to the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import uvloop

from trimtab.errors import TrimtabError
from trimtab.runtime.client import Client
from trimtab.spec.stream import StreamUrl, parse
from trimtab.triggers.streams.abc import Stream
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.channel import Channel, Orders
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.dead import SinkDead, StreamDead
from trimtab.triggers.streams.figures import Figures
from trimtab.triggers.streams.plan import Plan, plan, start

logger = logging.getLogger("trimtab.streams")

REPORT_EVERY = 0.5
CONNECTIONS = 512


class Allowance:
    """The function's slots as the daemon tells them (`triggers.abc.Slots`)."""

    def __init__(self, url: str) -> None:
        self.consumer: Consumer
        self._url = url
        self._capacity, self._others, self._before = 0, 0, 0

    def tell(self, capacity: int, busy: int) -> None:
        """Take note. What is busy and not ours is others' work; the less of two looks, because ours changes meanwhile."""
        others = max(0, busy - self.consumer.figures.in_flight)
        self._capacity, self._others, self._before = capacity, min(others, self._before), others
        self.consumer.notify()

    def url(self, function: str) -> str | None:
        """Where the function is."""
        return self._url

    def free(self, function: str) -> int:
        """How many more calls may be sent now."""
        return min(self._capacity - self._others, CONNECTIONS) - self.consumer.figures.in_flight


def graves(url: StreamUrl, letters: str, home: Path, client: Client, timeout: float) -> SinkDead | StreamDead:
    """Give the place that `retry.deadLetter` names: a URL, an embedded stream, or one of the same broker. Errors: TargetError (a missing extra)."""
    if "://" in letters:
        return SinkDead(client, letters, timeout)
    place = parse(letters, "deadLetter") if letters.startswith("local:") else url.named(letters)
    return StreamDead(open_publisher(place, home))


async def main() -> None:
    """Consume until the daemon says so, or is gone."""
    channel = Channel()
    orders = await channel.open()
    client = Client(connections=CONNECTIONS)
    slots = Allowance(orders.url)
    try:
        work = plan(orders.id, orders.trigger, orders.environ, orders.timeout, orders.consumer)
        stream, dead = _parts(work, orders, client)
    except TrimtabError as exc:
        channel.report(Figures(state="broken", error=str(exc)))
        logger.error("%s: %s", orders.id, exc)
        await asyncio.sleep(REPORT_EVERY)
        return
    consumer = slots.consumer = Consumer(work, stream, client, slots, dead or channel, replies=channel.reply)
    consumer.pause(orders.paused)
    tasks = [asyncio.create_task(_obey(channel, consumer, slots)), asyncio.create_task(_report(channel, consumer))]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: tasks.append(loop.create_task(consumer.stop())))
    await consumer.run()
    channel.report(consumer.figures)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(dead, StreamDead):
        await dead.close()
    await client.aclose()


def _parts(work: Plan, orders: Orders, client: Client) -> tuple[Stream, SinkDead | StreamDead | None]:
    home = Path(orders.home)
    letters = work.policy.dead_letter
    dead = None if letters is None else graves(work.url, letters, home, client, work.policy.timeout)
    return open_stream(work.url, work.options(min(orders.slots, CONNECTIONS)), home), dead


async def _obey(channel: Channel, consumer: Consumer, slots: Allowance) -> None:
    seeks: set[asyncio.Task[None]] = set()
    while (said := await channel.listen()) is not None:
        if said["do"] == "slots":
            slots.tell(said["capacity"], said["busy"])
        elif said["do"] == "pause":
            consumer.pause(said["paused"])
        elif said["do"] == "seek":
            seeks.add(task := asyncio.create_task(_seek(channel, consumer, said["number"], said["start"])))
            task.add_done_callback(seeks.discard)
    await consumer.stop()


async def _seek(channel: Channel, consumer: Consumer, number: int, text: str) -> None:
    try:
        await consumer.seek(start(text))
    except TrimtabError as exc:
        channel.answer(number, exc)
    else:
        channel.answer(number, None)


async def _report(channel: Channel, consumer: Consumer) -> None:
    """Report now and then, and soon whenever the state changes."""
    loop = asyncio.get_running_loop()
    while True:
        state, due = consumer.figures.state, loop.time() + REPORT_EVERY
        channel.report(consumer.figures)
        while consumer.figures.state == state and loop.time() < due:
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
