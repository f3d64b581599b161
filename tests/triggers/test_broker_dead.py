"""Dead letters: shown, delivered again, dropped, and sent to a sink of their own."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from trimtab.errors import NotFound
from trimtab.spec import Retry
from trimtab.triggers.abc import Subscription

pytestmark = pytest.mark.anyio

SINK = "http://sink.test/dead"


async def bury(world: Any, kit: Any, *ids: str) -> None:
    world.functions.answer = lambda call: kit.reply(400, b"no")
    await world.begin(Subscription(id="f/t", broker="default"), Subscription(id="g/t", broker="default"))
    await world.publish(*ids)
    await world.until(lambda: world.stats("f/t").dead == world.stats("g/t").dead == len(ids))


async def test_letters_are_listed_oldest_first_by_function_and_by_id(world: Any, kit: Any) -> None:
    await bury(world, kit, "1", "2")
    letters = await world.broker.letters(function="g")
    assert [(letter.function, letter.trigger, letter.event["id"]) for letter in letters] == [
        ("g", "t", "1"),
        ("g", "t", "2"),
    ]
    assert await world.broker.letters([letters[1].id]) == [letters[1]]
    assert [letter.id for letter in await world.broker.letters()] == [1, 2, 3, 4]
    assert await world.broker.letters(function="gg") == []


async def test_redriven_letters_are_delivered_from_the_first_try_on_with_their_history(world: Any, kit: Any) -> None:
    await bury(world, kit, "1", "2")
    world.functions.calls.clear()
    world.functions.answer = lambda call: kit.reply(503, b"still no")
    assert await world.broker.redrive(function="f") == 2
    await world.until(lambda: world.stats("f/t").failed == 4)
    assert (world.stats("f/t").dead, world.stats("f/t").pending) == (0, 2)
    world.functions.answer = lambda call: kit.reply(400, b"never")
    await world.advance_until(lambda: world.stats("f/t").dead == 2)
    letter = next(letter for letter in await world.broker.letters(function="f") if letter.event["id"] == "1")
    assert [status for _, status, _ in letter.history] == [400, 503, 400]
    assert len(await world.broker.letters(function="g")) == 2


async def test_one_letter_is_redriven_by_its_id(world: Any, kit: Any) -> None:
    await bury(world, kit, "1", "2")
    world.functions.answer = lambda call: kit.reply(202)
    chosen = (await world.broker.letters(function="f"))[1]
    assert await world.broker.redrive([chosen.id]) == 1
    await world.until(lambda: world.stats("f/t").delivered == 1)
    assert world.functions.ids[-1] == "2"
    with pytest.raises(NotFound, match=f"no dead letter {chosen.id}"):
        await world.broker.redrive([chosen.id])


async def test_a_redriven_letter_survives_a_restart_before_it_is_delivered(world: Any, kit: Any) -> None:
    await bury(world, kit, "1")
    world.capacity.slots["f"] = 0
    assert await world.broker.redrive(function="f") == 1
    await world.end()
    world.functions.answer = lambda call: kit.reply(202)
    world.capacity.slots["f"] = 1
    await world.begin(Subscription(id="f/t", broker="default"), Subscription(id="g/t", broker="default"))
    await world.until(lambda: world.stats("f/t").delivered == 1)
    assert world.stats("g/t").dead == 1


async def test_dropped_letters_are_gone(world: Any, kit: Any) -> None:
    await bury(world, kit, "1", "2")
    first = (await world.broker.letters(function="f"))[0]
    assert await world.broker.drop([first.id]) == 1
    assert world.stats("f/t").dead == 1
    with pytest.raises(NotFound, match=f"no dead letter {first.id}, 77"):
        await world.broker.drop([first.id, 77])
    assert await world.broker.drop(function="g") == 2
    assert await world.broker.drop() == 1
    assert await world.broker.letters() == []


def to_sink(world: Any) -> list[Any]:
    return [call for call in world.functions.calls if call.url == SINK]


async def test_a_dead_event_goes_to_the_sink_of_its_trigger_with_knatives_extensions(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(200, b"thanks") if call.url == SINK else kit.reply(422, b"no good")
    await world.begin(Subscription(id="f/t", broker="default", path="/in", retry=Retry(dead_letter=SINK)))
    await world.publish("1", color="blue")
    await world.until(lambda: world.stats().failed == 1)
    (call,) = to_sink(world)
    attributes = call.envelope.attributes
    assert (attributes["id"], attributes["color"]) == ("1", "blue")
    assert attributes["knativeerrordest"] == "http://f.test/in"
    assert attributes["knativeerrorcode"] == "422"
    assert attributes["knativebrokerttl"] == "255"
    assert base64.b64decode(attributes["knativeerrordata"]) == b"no good"
    assert await world.broker.letters() == []
    assert (world.stats().dead, world.stats().pending) == (0, 0)


async def test_a_sink_that_fails_leaves_the_event_in_the_brokers_own_dead_letters(world: Any, kit: Any) -> None:
    world.functions.answer = lambda call: kit.reply(503 if call.url == SINK else 400)
    await world.begin(Subscription(id="f/t", broker="default", retry=Retry(dead_letter=SINK)))
    await world.publish("1")
    await world.advance_until(lambda: world.stats().dead == 1)
    assert len(to_sink(world)) == 3
    (letter,) = await world.broker.letters()
    assert letter.reason == "status 400 is final; the dead letter sink failed: 503"


async def test_a_broker_killed_before_the_sink_has_taken_the_event_tries_the_function_again(
    world: Any, kit: Any
) -> None:
    world.functions.answer = lambda call: kit.reply(503 if call.url == SINK else 400)
    await world.begin(Subscription(id="f/t", broker="default", retry=Retry(dead_letter=SINK, delay="1h")))
    await world.publish("1")
    await world.until(lambda: to_sink(world))
    await world.end(grace=0)
    world.functions.answer = lambda call: kit.reply(202)
    await world.begin(Subscription(id="f/t", broker="default"))
    await world.until(lambda: world.stats().delivered == 1)


async def test_what_others_tried_in_vain_is_a_dead_letter_and_is_delivered_when_it_is_redriven(
    world: Any, kit: Any
) -> None:
    await world.begin(Subscription(id="f/t"))
    await world.broker.bury("f/t", kit.event("e1"), "why", [(1.0, 500, "no")])
    (letter,) = await world.broker.letters()
    assert (letter.trigger, letter.reason, letter.event["id"], letter.history) == ("t", "why", "e1", [(1.0, 500, "no")])
    assert world.stats("f/t").dead == 1
    assert await world.broker.redrive() == 1
    await world.until(lambda: world.functions.ids == ["e1"])
    await world.until(lambda: world.stats("f/t").delivered == 1)
    with pytest.raises(NotFound, match="no trigger 'f/x'"):
        await world.broker.bury("f/x", kit.event("e2"), "why", [])
