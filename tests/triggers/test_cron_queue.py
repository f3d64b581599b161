"""What cron asks of a queue, over the twin in memory and over the broker; and cron on the broker, killed for real."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.spec import CronTrigger
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue
from trimtab.triggers.cron import CronQueue, CronScheduler
from trimtab.triggers.cron.memory import MemoryQueue, VirtualClock

pytestmark = pytest.mark.anyio

SUBSCRIPTIONS = [Subscription(id="f/t"), Subscription(id="f/u")]


class Nowhere:
    """Slots of no functions: nothing is delivered."""

    def url(self, function: str) -> str | None:
        return None

    def free(self, function: str) -> int:
        return 0


async def started(path: Path) -> Broker:
    broker = Broker(Queue(path), Client(), Nowhere())
    await broker.start()
    await broker.subscribe(SUBSCRIPTIONS)
    return broker


@pytest.fixture(params=["memory", "broker"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CronQueue]:
    if request.param == "memory":
        yield MemoryQueue()
        return
    broker = await started(tmp_path / "broker.db")
    yield broker
    await broker.close(0)


def tick(id: str = "1", source: str = "/s") -> Envelope:
    return Envelope({"specversion": "1.0", "id": id, "source": source, "type": "t"}, b"1")


async def test_an_event_is_taken_once(queue: CronQueue) -> None:
    assert await queue.enqueue("f/t", tick())
    assert not await queue.enqueue("f/t", tick())
    assert await queue.enqueue("f/t", tick("2"))
    assert await queue.enqueue("f/t", tick(source="/other"))
    assert await queue.outstanding("f/t") == 3


async def test_subscriptions_have_their_own_events(queue: CronQueue) -> None:
    assert await queue.enqueue("f/t", tick())
    assert await queue.enqueue("f/u", tick())
    assert await queue.outstanding("f/u") == 1
    assert await queue.outstanding("f/v") == 0


async def test_an_event_that_was_put_in_is_pending_and_any_other_is_unknown(queue: CronQueue) -> None:
    await queue.enqueue("f/t", tick())
    outcome = await queue.outcome("f/t", "/s", "1")
    assert outcome is not None
    assert (outcome.state, outcome.attempts, outcome.finished) == ("pending", 0, None)
    assert await queue.outcome("f/t", "/s", "2") is None
    assert await queue.outcome("f/t", "/other", "1") is None
    assert await queue.outcome("f/u", "/s", "1") is None
    assert await queue.outcome("f/v", "/s", "1") is None


async def test_on_the_broker_ticks_are_neither_lost_nor_doubled_by_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock(1_800_000_000.0)
    for _ in range(3):
        broker = await started(tmp_path / "broker.db")
        cron = CronScheduler(broker, tmp_path / "cron.db", clock)
        await cron.set_triggers("f", [CronTrigger(name="t", schedule="@every 10s", catch_up="all")])
        running = asyncio.create_task(cron.run())
        await clock.advance(25)
        running.cancel()
        await asyncio.wait([running])
        firings = await cron.firings("f", "t")
        outstanding = await broker.outstanding("f/t")
        cron.close()
        await broker.close(0)
        clock.now += 25
    assert [firing.due - 1_800_000_000 for firing in firings] == [10.0 * n for n in range(12, 0, -1)]
    assert {firing.state for firing in firings} == {"pending"}
    assert outstanding == 12


PROGRAM = """
    import asyncio, json, sys, time
    from pathlib import Path
    from trimtab.runtime.client import Client
    from trimtab.spec import CronTrigger
    from trimtab.triggers.abc import Subscription
    from trimtab.triggers.broker import Broker, Queue
    from trimtab.triggers.cron import CronScheduler

    class Nowhere:
        def url(self, function): return None
        def free(self, function): return 0

    async def main(home, seconds):
        broker = Broker(Queue(home / "broker.db"), Client(), Nowhere())
        await broker.start()
        await broker.subscribe([Subscription(id="f/t")])
        cron = CronScheduler(broker, home / "cron.db")
        await cron.set_triggers("f", [CronTrigger(name="t", schedule="@every 1s", catch_up="all")])
        print("ready", flush=True)
        try:
            async with asyncio.timeout(seconds):
                await cron.run()
        except TimeoutError:
            firings = await cron.firings("f", "t", limit=1000)
            print(json.dumps([[f.due, f.state] for f in firings]), await broker.outstanding("f/t"), flush=True)
        cron.close()
        await broker.close(0)

    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
"""


def cron_process(home: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(home), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.chaos
def test_killed_at_random_every_second_still_has_one_event(tmp_path: Path) -> None:
    """Real processes, the real clock, SIGKILL; `all` makes up for the seconds in which nothing ran."""
    chance = random.Random(20260310)
    for _ in range(5):
        with cron_process(tmp_path, 60) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # How long it lives is the experiment, not a wait for something.
            time.sleep(chance.uniform(0.2, 1.6))
            process.kill()
    with cron_process(tmp_path, 1.2) as process:
        output = process.communicate(timeout=60)[0]
    firings, outstanding = output.removeprefix("ready\n").rsplit(" ", 1)
    dues = [due for due, state in reversed(json.loads(firings)) if state == "pending"]
    assert dues == [dues[0] + second for second in range(len(dues))]
    assert len(dues) == int(outstanding) >= 3
