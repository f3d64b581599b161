"""From an accepted event to its end: order, slots, retries, replies, hop limit, restarts. Time is virtual."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from trimtab.errors import Conflict, SpecError
from trimtab.spec import Retry
from trimtab.triggers.abc import Subscription

pytestmark = pytest.mark.anyio

T = Subscription(id="f/t", broker="default")


def subscription(id: str = "f/t", **fields: Any) -> Subscription:
    return Subscription(**({"id": id, "broker": "default"} | fields))


async def test_an_event_reaches_the_matching_function_with_its_attributes_and_data(world: Any, kit: Any) -> None:
    await world.begin(subscription(path="/in", filters=[{"exact": {"type": "a"}}]))
    await world.broker.publish("default", [kit.event("1", type="a", color="blue", data="hello"), kit.event("2")])
    await world.until(lambda: world.stats().delivered == 1)
    (call,) = world.functions.calls
    assert call.url == "http://f.test/in"
    assert call.envelope == kit.event("1", type="a", color="blue", data="hello")
    assert call.headers[b"prefer"] == b"reply"
    assert world.stats().outcome == "202"
    assert world.broker.counters().unmatched == 1


async def test_each_matching_subscription_gets_the_event_once(world: Any) -> None:
    await world.begin(subscription("f/a"), subscription("f/b"), subscription("g/c"), subscription("g/d", broker="x"))
    await world.publish("1")
    await world.quiet()
    await world.until(lambda: world.stats("g/c").delivered)
    assert sorted(call.url for call in world.functions.calls) == ["http://f.test/", "http://f.test/", "http://g.test/"]


async def test_one_slot_means_one_at_a_time_in_order_of_acceptance(world: Any, kit: Any) -> None:
    most = 0

    async def slow(call: Any) -> Any:
        nonlocal most
        most = max(most, world.broker.in_flight("f"))
        await asyncio.sleep(0)
        return kit.reply(202)

    world.functions.answer = slow
    world.capacity.slots["f"] = 1
    await world.begin(subscription("f/a"))
    ids = [str(number) for number in range(700)]  # more than the window, so that pages are read
    await world.publish(*ids)
    await world.until(lambda: world.stats("f/a").delivered == 700)
    assert world.functions.ids == ids
    assert most == 1


async def test_slots_are_shared_by_turns_between_the_subscriptions_of_a_function(world: Any) -> None:
    world.capacity.slots["f"] = 0
    await world.begin(subscription("f/a", path="/a"), subscription("f/b", path="/b"))
    await world.publish("1", "2", "3")
    assert world.broker.wanted("f") == 6
    assert not world.functions.calls
    world.capacity.slots["f"] = 1
    world.broker.notify("f")
    await world.quiet()
    assert [call.url[-1] for call in world.functions.calls] == ["a", "b", "a", "b", "a", "b"]


async def test_events_wait_for_a_function_that_is_not_there_yet_without_using_up_tries(world: Any) -> None:
    del world.capacity.slots["f"]
    await world.begin(T)
    await world.publish("1")
    for _ in range(20):
        world.clock.advance(60)
        await asyncio.sleep(0)
    assert world.broker.wanted("f") == 1
    world.capacity.slots["f"] = 1
    world.broker.notify()
    await world.until(lambda: world.stats().delivered == 1)
    assert world.stats().failed == 0


async def test_a_slot_that_nobody_announces_is_found_all_the_same(world: Any) -> None:
    world.capacity.slots["f"] = 0
    await world.begin(T)
    await world.publish("1")
    world.capacity.slots["f"] = 1
    await world.advance_until(lambda: world.stats().delivered == 1, step=0.1)


async def test_a_failed_event_is_tried_again_when_its_backoff_is_over_and_blocks_nobody(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(500 if call.envelope.id == "bad" and len(bad()) < 4 else 202)

    def bad() -> list[float]:
        return [call.at for call in world.functions.calls if call.envelope.id == "bad"]

    world.capacity.slots["f"] = 1
    await world.begin(subscription(retry=Retry(backoff="linear", delay="10s")))
    await world.publish("bad", "1", "2", "3")
    await world.until(lambda: world.stats().delivered == 3)
    assert world.functions.ids == ["bad", "1", "2", "3"]
    assert (world.broker.wanted("f"), world.stats().pending, world.stats().failed) == (0, 1, 1)
    await world.advance_until(lambda: world.stats().delivered == 4, step=0.5)
    waits = [later - earlier for earlier, later in zip(bad(), bad()[1:], strict=False)]
    assert [10 <= waits[0] <= 14, 20 <= waits[1] <= 27, 30 <= waits[2] <= 40] == [True] * 3
    assert world.broker.counters().retried == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_of_the_function_is_honoured(world: Any, kit: Any, form: str) -> None:
    def answer(call: Any) -> Any:
        if len(world.functions.calls) > 1:
            return kit.reply(202)
        after = "120" if form == "seconds" else formatdate(call.at + 120, usegmt=True)
        return kit.reply(503, retry_after=after)

    world.functions.answer = answer
    await world.begin(T)
    await world.publish("1")
    await world.advance_until(lambda: world.stats().delivered == 1)
    first, second = (call.at for call in world.functions.calls)
    assert 120 <= second - first <= 123


async def test_an_event_is_given_up_after_its_retries_with_the_whole_history(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: (
        kit.reply(500, b"oh no") if len(world.functions.calls) < 3 else kit.refuse(call)
    )
    await world.begin(subscription(retry=Retry(attempts=2, delay="1s")))
    await world.publish("1")
    await world.advance_until(lambda: world.stats().dead == 1)
    (letter,) = await world.broker.letters()
    assert (letter.function, letter.trigger, letter.event["id"]) == ("f", "t", "1")
    assert letter.reason == "3 tries failed, the last with no answer"
    assert [(status, detail) for _, status, detail in letter.history] == [
        (500, "oh no"),
        (500, "oh no"),
        (0, "no connection to http://f.test/"),
    ]
    assert [at for at, _, _ in letter.history] == [call.at for call in world.functions.calls]
    assert world.stats().pending == 0


@pytest.mark.parametrize("status", [301, 400, 401, 422])
async def test_a_final_status_goes_to_the_dead_letters_at_once(world: Any, kit: Any, status: int) -> None:
    world.functions.answer = lambda call: kit.reply(status, b"never")
    await world.begin(T)
    await world.publish("1")
    await world.until(lambda: world.stats().dead == 1)
    assert len(world.functions.calls) == 1
    assert (await world.broker.letters())[0].reason == f"status {status} is final"


async def test_a_success_with_a_body_that_is_no_event_is_tried_again(world: Any, kit: Any) -> None:
    bodies = iter([kit.reply(200, b"{}"), kit.reply(200, b"{}", ce_id="x", ce_type="t"), kit.reply(200)])
    world.functions.answer = lambda call: next(bodies)
    await world.begin(T)
    await world.publish("1")
    await world.advance_until(lambda: world.stats().delivered == 1)
    assert world.stats().failed == 2
    assert len(world.functions.calls) == 3


async def test_a_reply_enters_the_broker_and_is_delivered_to_whom_it_matches(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: (
        kit.event_reply("r", type="answer", data="{}") if call.envelope.type == "question" else kit.reply(202)
    )
    await world.begin(
        subscription("f/t", filters=[{"exact": {"type": "question"}}]),
        subscription("g/t", filters=[{"exact": {"type": "answer"}}]),
    )
    await world.publish("q", type="question")
    await world.until(lambda: world.stats("g/t").delivered == 1)
    assert world.functions.ids == ["q", "r"]
    assert [item["id"] async for item in world.broker.events()] == ["q", "r"]
    assert world.broker.counters().replies == 1


async def test_a_loop_of_replies_is_cut_by_the_hop_limit(world: Any, kit: Any) -> None:
    """A function that answers with an event which its own trigger matches gets 255 of them and not one more."""
    world.functions.answer = lambda call: kit.event_reply(f"{len(world.functions.calls)}")
    await world.begin(T)
    await world.publish("0")
    await world.until(lambda: world.stats().dead == 1)
    await world.quiet()
    assert len(world.functions.calls) == 255
    assert all("knativebrokerttl" not in call.envelope.attributes for call in world.functions.calls)
    (letter,) = await world.broker.letters()
    assert (letter.reason, letter.event["id"], letter.history) == ("hop limit", "255", [])
    assert world.broker.counters().hop_limit == 1


async def test_hops_that_an_event_brings_along_count(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.event_reply(f"{len(world.functions.calls)}", knativebrokerttl="200")
    await world.begin(T)
    await world.publish("0", knativebrokerttl="5")
    await world.until(lambda: world.stats().dead == 1)
    assert len(world.functions.calls) == 4


async def test_a_redriven_hop_limit_letter_gets_new_hops(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.event_reply(f"{len(world.functions.calls)}")
    await world.begin(T)
    await world.publish("0", knativebrokerttl="2")
    await world.until(lambda: world.stats().dead == 1)
    world.functions.answer = lambda call: kit.reply(202)
    assert await world.broker.redrive() == 1
    await world.until(lambda: world.stats().delivered == 2)
    assert world.functions.ids == ["0", "1"]


async def test_a_paused_subscription_collects_and_delivers_when_it_is_resumed(world: Any) -> None:
    await world.begin(subscription(paused=True))
    await world.publish(*map(str, range(300)))
    assert (world.stats().pending, world.broker.wanted("f")) == (300, 0)
    await world.broker.subscribe([T])
    await world.until(lambda: world.stats().delivered == 300)
    assert world.functions.ids == [str(number) for number in range(300)]


async def test_pausing_keeps_what_is_pending(world: Any) -> None:
    world.capacity.slots["f"] = 0
    await world.begin(T)
    await world.publish("1", "2")
    await world.broker.subscribe([subscription(paused=True)])
    world.capacity.slots["f"] = 5
    world.broker.notify()
    await world.publish("3")
    assert (world.stats().pending, world.stats().dead, world.functions.calls) == (3, 0, [])


async def test_what_is_pending_for_a_removed_subscription_goes_to_the_dead_letters(world: Any) -> None:
    world.capacity.slots["f"] = 0
    await world.begin(T)
    await world.publish("1", "2")
    await world.broker.subscribe([])
    letters = await world.broker.letters()
    assert [(letter.event["id"], letter.reason) for letter in letters] == [
        ("1", "subscription removed"),
        ("2", "subscription removed"),
    ]
    with pytest.raises(Conflict, match="was for trigger 'f/t', which is gone: deploy it again"):
        await world.broker.redrive([letters[0].id])
    assert await world.broker.redrive() == 0
    world.capacity.slots["f"] = 5
    await world.broker.subscribe([T])
    assert world.stats().dead == 2
    assert await world.broker.redrive(function="f") == 2
    await world.until(lambda: world.stats().delivered == 2)
    assert await world.broker.letters() == []


async def test_a_delivery_in_flight_while_its_subscription_goes_gets_its_own_end(world: Any, kit: Any) -> None:
    answered = asyncio.Event()

    async def answer(call: Any) -> Any:
        await answered.wait()
        return kit.reply(202)

    world.functions.answer = answer
    await world.begin(T)
    await world.publish("1")
    await world.until(lambda: world.functions.calls)
    await world.broker.subscribe([])
    assert len(await world.broker.letters()) == 1
    answered.set()
    await world.until(lambda: world.broker.counters().delivered == 1)
    assert await world.broker.letters() == []


async def test_a_bad_filter_is_refused_and_changes_nothing(world: Any) -> None:
    await world.begin(T)
    with pytest.raises(SpecError, match=r"f/t\.filters\[0\]"):
        await world.broker.subscribe([subscription(filters=[{"exactly": {"type": "a"}}])])
    with pytest.raises(SpecError, match=r"f/t\.retry\.delay"):
        await world.broker.subscribe([subscription(retry=Retry(delay="soon"))])
    with pytest.raises(Conflict, match="two subscriptions have the same id"):
        await world.broker.subscribe([T, T])
    await world.publish("1")
    await world.until(lambda: world.stats().delivered == 1)


async def test_retries_wait_on_after_a_restart(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(500)
    retry = subscription(retry=Retry(attempts=3, backoff="linear", delay="100s", max_delay="100s"))
    await world.begin(retry)
    await world.publish("1")
    await world.until(lambda: world.stats().failed == 1)
    await world.end()
    await world.begin(retry)
    await asyncio.sleep(0.02)
    assert len(world.functions.calls) == 1
    assert (world.stats().pending, world.broker.wanted("f")) == (1, 0)
    await world.advance_until(lambda: world.stats().dead == 1, step=10)
    (letter,) = await world.broker.letters()
    assert [status for _, status, _ in letter.history] == [500] * 4
    assert world.stats().failed == 4


async def test_what_was_in_flight_is_delivered_again_after_a_restart(world: Any, kit: Any) -> None:
    async def never(call: Any) -> Any:
        await asyncio.Event().wait()

    world.functions.answer = never
    await world.begin(T)
    await world.publish("1", "2")
    await world.until(lambda: len(world.functions.calls) == 2)
    await world.end(grace=0)
    world.functions.answer = lambda call: kit.reply(202)
    await world.begin(T)
    await world.until(lambda: world.stats().delivered == 2)
    assert world.functions.ids == ["1", "2", "1", "2"]


async def test_closing_waits_for_what_is_in_flight_and_sends_nothing_more(world: Any, kit: Any) -> None:
    release = asyncio.Event()

    async def answer(call: Any) -> Any:
        await release.wait()
        return kit.reply(202)

    world.functions.answer = answer
    world.capacity.slots["f"] = 1
    await world.begin(T)
    await world.publish("1", "2")
    await world.until(lambda: world.functions.calls)
    closing = asyncio.create_task(world.end(grace=10))
    await asyncio.sleep(0)
    release.set()
    await closing
    assert world.functions.ids == ["1"]
    await world.begin(subscription(paused=True))
    assert (world.stats().pending, world.stats().delivered) == (1, 1)


async def test_a_backlog_of_retries_larger_than_the_window_is_worked_off(world: Any, kit: Any) -> None:
    failing = True
    world.functions.answer = lambda call: kit.reply(503 if failing else 202)
    await world.begin(subscription(retry=Retry(attempts=9, backoff="linear", delay="60s", max_delay="60s")))
    await world.publish(*map(str, range(900)))
    await world.until(lambda: world.stats().failed == 900)
    assert world.broker.wanted("f") == 0
    failing = False
    world.clock.advance(75)
    await world.until(lambda: world.stats().delivered == 900)
    assert (world.stats().pending, world.broker.wanted("f")) == (0, 0)


async def test_fresh_events_and_due_retries_take_turns(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(503)
    world.capacity.slots["f"] = 4
    await world.begin(subscription(retry=Retry(delay="1s")))
    await world.publish("a", "b")
    await world.until(lambda: world.stats().failed == 2)
    world.capacity.slots["f"] = 0
    await world.publish("1", "2")
    world.functions.answer = lambda call: kit.reply(202)
    world.clock.advance(60)
    await world.until(lambda: world.broker.wanted("f") == 4 and world.loaded("f/t") == 4)
    world.capacity.slots["f"] = 1
    world.broker.notify()
    await world.until(lambda: world.stats().delivered == 4)
    kinds = ["retry" if name in "ab" else "fresh" for name in world.functions.ids[2:]]
    assert kinds in (["retry", "fresh"] * 2, ["fresh", "retry"] * 2)


async def test_duplicates_within_the_window_are_suppressed_and_later_ones_are_not(world: Any, kit: Any) -> None:
    await world.begin(subscription("f/t", deduplicate=60.0), subscription("g/t"))
    await world.publish("1", "1")
    await world.publish("1")
    await world.publish("1", source="/elsewhere")
    await world.until(lambda: (world.stats().delivered, world.stats("g/t").delivered) == (2, 4))
    assert world.broker.counters().suppressed == 2
    world.clock.advance(61)
    await world.publish("1")
    await world.until(lambda: world.stats().delivered == 3)


async def test_a_duplicate_of_a_pending_event_is_suppressed_however_long_it_waits(world: Any) -> None:
    world.capacity.slots["f"] = 0
    await world.begin(subscription(deduplicate=1.0))
    await world.publish("1")
    world.clock.advance(1000)
    await world.publish("1")
    assert world.stats().pending == 1


async def test_an_event_that_died_may_be_sent_again(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(400)
    await world.begin(subscription(deduplicate=1000.0))
    await world.publish("1")
    await world.until(lambda: world.stats().dead == 1)
    world.functions.answer = lambda call: kit.reply(202)
    await world.publish("1")
    await world.until(lambda: world.stats().delivered == 1)


async def test_statistics_survive_a_restart(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(400 if call.envelope.id == "2" else 202)
    await world.begin(T)
    await world.publish("1", "2", "3")
    await world.until(lambda: world.stats().delivered == 2 and world.stats().dead == 1)
    before = msgspec.structs.asdict(world.stats())
    await world.end()
    await world.begin(T)
    after = msgspec.structs.asdict(world.stats())
    assert after == before
    assert (after["failed"], after["pending"]) == (1, 0)
