"""The pure parts of a consumer: lanes, offsets, verdicts, messages as events, addresses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import EventError, SpecError
from trimtab.events import Envelope, make, to_json
from trimtab.runtime.binding import write_batch
from trimtab.runtime.client import Reply
from trimtab.spec.stream import parse
from trimtab.triggers.broker.attempt import Answer
from trimtab.triggers.broker.retry import Policy
from trimtab.triggers.streams.abc import Lag, Message
from trimtab.triggers.streams.call import Called, judged
from trimtab.triggers.streams.cloudevent import to_event, to_record
from trimtab.triggers.streams.dead import revived
from trimtab.triggers.streams.figures import Figures, metrics
from trimtab.triggers.streams.lanes import Item, Lanes
from trimtab.triggers.streams.offsets import Offsets
from trimtab.triggers.streams.outcome import judge, letter
from trimtab.triggers.streams.plan import start
from trimtab.triggers.streams.redrive import dead_name

NOW = 1000.0
EVENT = Envelope(
    {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, b"1"
)


def item(number: int, lane: str | None = None, partition: str = "") -> Item:
    return Item(Message(body=b"%d" % number, position=str(number), partition=partition), EVENT, lane, NOW)


# Lanes


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 9), st.randoms())
def test_a_lane_keeps_its_order_whatever_fails_and_however_batches_end(
    pushed: list[tuple[str, bool]], most: int, dice: object
) -> None:
    lanes, now = Lanes(), NOW
    seen: list[int] = []
    running: list[list[Item]] = []
    for number, (lane, _) in enumerate(pushed):
        lanes.push(item(number, lane))
    fails = {number for number, (_, failing) in enumerate(pushed) if failing}
    while lanes.size or running:
        now += 1
        batch = lanes.take(most, 10**9, now)
        if batch:
            running.append(batch)
        if running and (not batch or dice.random() < 0.5):  # type: ignore[attr-defined]
            ended = running.pop(dice.randrange(len(running)))  # type: ignore[attr-defined]
            again, blocked = [], set()
            for each in ended:
                number = int(each.message.body)
                if number in fails or each.lane in blocked:
                    fails.discard(number)
                    blocked.add(each.lane)
                    each.due = now + 3
                    again.append(each)
                else:
                    seen.append(number)
            lanes.finish(ended, again)
    assert sorted(seen) == list(range(len(pushed)))
    for lane in "abc":
        mine = [number for number in seen if pushed[number][0] == lane]
        assert mine == sorted(mine)


def test_one_that_waits_blocks_its_lane_and_no_other() -> None:
    lanes = Lanes()
    for number, lane in enumerate("aabb"):
        lanes.push(item(number, lane))
    first = lanes.take(1, 10**9, NOW)
    first[0].due = NOW + 60
    lanes.finish(first, first)
    assert [each.message.body for each in lanes.take(9, 10**9, NOW)] == [b"2", b"3"]
    assert lanes.take(9, 10**9, NOW) == []
    assert lanes.next_due() == NOW + 60
    assert [each.message.body for each in lanes.take(9, 10**9, NOW + 61)] == [b"0", b"1"]


def test_a_message_that_is_to_go_alone_goes_alone() -> None:
    lanes = Lanes()
    for number in range(4):
        lanes.push(item(number))
    batch = lanes.take(2, 10**9, NOW)
    for each in batch:
        each.alone = True
    lanes.finish(batch, batch)
    sizes = [len(lanes.take(9, 10**9, NOW)) for _ in range(3)]
    assert sizes == [2, 1, 1]


def test_a_batch_ends_at_its_bytes() -> None:
    lanes = Lanes()
    for number in range(4):
        lanes.push(item(number, "a"))
    assert len(lanes.take(9, 2 * item(0).weight, NOW)) == 2


def test_what_a_lost_partition_had_is_forgotten() -> None:
    lanes = Lanes()
    for number in range(6):
        lanes.push(item(number, f"k{number % 2}", str(number % 3)))
    assert len(lanes.forget("1")) == 2
    assert sorted(each.message.partition for each in lanes.take(9, 10**9, NOW)) == ["0", "0", "2", "2"]


# Offsets


@given(st.lists(st.integers(0, 30), unique=True), st.randoms())
def test_an_offset_is_committed_when_everything_before_it_is_done(offsets: list[int], dice: object) -> None:
    given_, tracker = sorted(offsets), Offsets()
    for offset in given_:
        tracker.give(offset)
    order = list(given_)
    dice.shuffle(order)  # type: ignore[attr-defined]
    done: set[int] = set()
    for offset in order:
        tracker.finish(offset)
        done.add(offset)
        open_ = [each for each in given_ if each not in done]
        before = [each for each in given_ if not open_ or each < open_[0]]
        assert tracker.commit == (before[-1] + 1 if before else None)
        assert tracker.open == len(open_)


# Verdicts


def _judge(called: Called, items: list[Item], attempts: int = 2) -> object:
    return judge(Policy(attempts=attempts), "f/t", items, called, began=NOW, now=NOW, url="http://f/")


def test_a_failure_of_a_whole_batch_gives_up_nobody_and_tries_each_alone() -> None:
    items = [item(0), item(1)]
    for status in (0, 500, 400, 413):
        for each in items:
            each.tries = 9
        verdict = _judge(Called(answers=[Answer(status=status)] * 2, whole=True), items)
        assert verdict.dead == []  # type: ignore[attr-defined]
        assert verdict.again == items  # type: ignore[attr-defined]
        assert all(each.alone and each.due > NOW for each in items)


def test_each_message_has_an_outcome_of_its_own() -> None:
    items = [item(number) for number in range(4)]
    answers = [Answer(status=202), Answer(status=400), Answer(status=503, retry_after="60"), Answer(status=500)]
    items[3].tries = 2
    verdict = _judge(Called(answers=answers), items)
    assert verdict.done == items[:1]  # type: ignore[attr-defined]
    assert [given.letter.reason for given in verdict.dead] == [  # type: ignore[attr-defined]
        "status 400 is final",
        "3 tries failed, the last with status 500",
    ]
    assert verdict.again == [items[2]]  # type: ignore[attr-defined]
    assert items[2].due == NOW + 60


def test_what_comes_after_one_that_is_tried_again_in_its_lane_is_called_again_too() -> None:
    items = [item(0, "a"), item(1, "b"), item(2, "a"), item(3, "b")]
    answers = [Answer(status=500), Answer(status=202), Answer(status=202), Answer(status=202)]
    verdict = _judge(Called(answers=answers), items)
    assert verdict.again == [items[0], items[2]]  # type: ignore[attr-defined]
    assert verdict.done == [items[1], items[3]]  # type: ignore[attr-defined]
    assert (items[2].tries, items[2].due) == (0, 0.0)


def _rows(*rows: dict[str, object]) -> Reply:
    return Reply(500, [(b"content-type", b"application/json")], msgspec.json.encode({"events": rows}))


def test_the_functions_rows_are_read_in_order_and_anything_else_is_the_whole_batch() -> None:
    called = judged(
        _rows({"status": 202}, {"status": 503, "retryAfter": "7"}, {"status": 200, "reply": to_json(EVENT)}), 3
    )
    assert [answer.status for answer in called.answers] == [202, 503, 200]
    assert called.answers[1].retry_after == "7"
    assert called.replies == [EVENT]
    assert not called.whole
    assert judged(_rows({"status": 202}), 3).whole
    assert judged(Reply(500, [], b"oops"), 3).whole
    assert judged(Reply(202, [], b""), 3).answers[2].success
    headers, body = write_batch([EVENT])
    assert judged(Reply(200, headers, body), 3).replies == [EVENT]
    assert judged(Reply(200, [(b"content-type", b"text/plain")], b"hm"), 3).answers[0].status == 502


# Messages


def test_a_plain_message_becomes_an_event_whose_id_is_its_place() -> None:
    found = to_event(
        Message(body=b'{"a":1}', key="k", partition="2", position="2-7", offset="7", time=1_700_000_000.5), "/s"
    )
    assert found.attributes == {
        "specversion": "1.0",
        "id": "2-7",
        "source": "/s",
        "type": "dev.trimtab.stream.message",
        "time": "2023-11-14T22:13:20.500000Z",
        "datacontenttype": "application/json",
        "subject": "k",
        "partitionkey": "k",
        "partition": "2",
        "offset": "7",
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"[1]", "application/json"), (b"text", "text/plain; charset=utf-8"), (b"\xff\x00", "application/octet-stream")],
)
def test_a_message_without_a_content_type_gets_that_of_its_look(body: bytes, content_type: str) -> None:
    assert to_event(Message(body=body, position="1"), "/s").attributes["datacontenttype"] == content_type


def test_structured_events_pass_through_with_and_without_a_content_type() -> None:
    sent = make("com.example.made", "/tests", {"x": 1}, drifted=True)
    body = msgspec.json.encode(to_json(sent))
    for headers in ({"content-type": "application/cloudevents+json"}, {}):
        assert to_event(Message(body=body, headers=headers), "/s") == sent
    mentions = b'{"specversion": "9", "of": "something else"}'
    assert to_event(Message(body=mentions, position="1"), "/s").type == "dev.trimtab.stream.message"


def test_a_malformed_event_is_refused_and_says_what_is_wrong() -> None:
    for message in (
        Message(body=b"", headers={"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s"}),
        Message(body=b"{", headers={"content-type": "application/cloudevents+json"}),
        Message(body=b"1", key="a\nb", position="1"),
    ):
        with pytest.raises(EventError):
            to_event(message, "/s")


@given(st.binary(max_size=20), st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_an_event_survives_being_a_message(data: bytes, subject: str) -> None:
    sent = make("t", "/s", data or None, subject=subject, datacontenttype="application/octet-stream")
    record = to_record(sent)
    assert to_event(Message(body=record.body, headers=record.headers), "/other") == sent


def test_a_dead_letter_is_what_it_was_when_it_is_revived() -> None:
    from trimtab.triggers.streams.dead import _buried

    grave = letter("f/t", item(0), "it\nfailed", NOW)
    buried = _buried(grave)
    assert buried.attributes["deadreason"] == "it?failed"
    assert revived(buried) == EVENT


# Addresses


def test_a_password_in_an_address_is_shown_nowhere() -> None:
    url = parse("redis://me:hunter2@host:1/3?stream=orders&group=g")
    assert url.secret
    assert "hunter2" not in f"{url} {url!r} {url.source}"
    assert (url.hosts, url.path, url.stream, url.group) == (("host:1",), "3", "orders", "g")
    with pytest.raises(SpecError) as caught:
        parse("redis://me:hunter2@host?strm=orders")
    assert "hunter2" not in str(caught.value)
    assert "found 'redis://***@host?strm=orders'" in str(caught.value)


def test_variables_are_put_in_and_a_missing_one_is_named() -> None:
    url = parse("amqp://$(USER):$(PASSWORD)@$(HOST)/v%2Fh?stream=$(QUEUE)")
    assert not url.secret
    found = url.resolved({"USER": "me", "PASSWORD": "a@b/c", "HOST": "one:1,two", "QUEUE": "q"})
    assert (found.user, found.password, found.hosts, found.path, found.stream) == (
        "me",
        "a@b/c",
        ("one:1", "two:5672"),
        "v/h",
        "q",
    )
    with pytest.raises(SpecError, match=r"found '\$\(HOST\)', allowed: a variable that is set: HOST is not"):
        url.resolved({"USER": "me", "PASSWORD": "x", "QUEUE": "q"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://host", "a URL that begins with local:, redis:"),
        ("redis://host", "a URL that names the stream: redis://HOST?stream=NAME"),
        ("redis:host?stream=o", "a URL with a host"),
        ("redis://host:0?stream=o", "a host, or HOST:PORT"),
        ("local:a/b", "local:NAME"),
        ("nats://host?stream=o&exchange=x", "group, stream, subject"),
        ("redis://host?stream=o&tls_ca=x", "group, maxlen, stream"),
    ],
)
def test_an_impossible_address_is_refused_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(SpecError, match="allowed: ") as caught:
        parse(text, "url")
    assert message in str(caught.value)


def test_starts_are_words_times_and_offsets() -> None:
    assert start("earliest").at == "earliest"
    assert start("2026-01-01T00:00:00Z").time == 1767225600.0
    assert start("1700000000000-0").offset == "1700000000000-0"
    with pytest.raises(SpecError, match="a time with its zone"):
        start("2026-01-01T00:00:00")


def test_the_stream_of_dead_letters_has_a_name_that_every_broker_takes() -> None:
    assert dead_name(parse("mqtt://host?stream=sensors/%2B/%23")) == "sensors-dead"
    assert dead_name(parse("redis://host?stream=orders")) == "orders-dead"


# What others read


def test_figures_are_prometheus_text() -> None:
    text = metrics({"f/t": Figures(state="consuming", delivered=3, lag=Lag(waiting=7, pending=1))})
    assert 'trimtab_stream_up{function="f",trigger="t"} 1' in text
    assert 'trimtab_stream_delivered_total{function="f",trigger="t"} 3' in text
    assert 'trimtab_stream_lag_waiting{function="f",trigger="t"} 7' in text
