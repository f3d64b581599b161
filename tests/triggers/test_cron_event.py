"""The event of a tick is that of Knative's PingSource."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.spec import CronTrigger
from trimtab.triggers.cron.event import encoded, envelope, source

TICK = datetime(2026, 3, 10, 10, 15, tzinfo=UTC)


def test_the_attributes_are_those_of_a_ping_source() -> None:
    trigger = CronTrigger(name="quarter", schedule="*/15 * * * *", data={"window": "15m"})
    made = envelope(trigger, id="drift/quarter/x", source=source("default", "drift", "quarter"), time=TICK)
    assert made.attributes == {
        "specversion": "1.0",
        "id": "drift/quarter/x",
        "source": "/apis/v1/namespaces/default/pingsources/drift-quarter",
        "type": "dev.knative.sources.ping",
        "time": "2026-03-10T10:15:00Z",
        "datacontenttype": "application/json",
    }
    assert made.data == b'{"window":"15m"}'


def test_without_data_there_is_no_content_type() -> None:
    made = envelope(CronTrigger(name="t", schedule="@daily"), id="1", source="/s", time=TICK)
    assert made.data is None
    assert "datacontenttype" not in made.attributes


DATA: list[tuple[Any, str, bytes]] = [
    ({"a": [1, None]}, "application/json", b'{"a":[1,null]}'),
    (7, "application/json", b"7"),
    (False, "application/json", b"false"),
    ('{"a": 1}', "application/json", b'{"a": 1}'),
    ('{"a": 1}', "application/vnd.x+json; charset=utf-8", b'{"a": 1}'),
    ("hello", "application/json", b'"hello"'),
    ("", "application/json", b'""'),
    ("hello", "text/plain", b"hello"),
    ("žluť", "text/plain; charset=utf-8", "žluť".encode()),
    ("<a/>", "application/xml", b"<a/>"),
    ({"a": 1}, "text/plain", b'{"a":1}'),
]


@pytest.mark.parametrize(("data", "content_type", "expected"), DATA)
def test_data_is_written_as_its_content_type_says(data: Any, content_type: str, expected: bytes) -> None:
    assert encoded(data, content_type) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_that_is_announced_as_json_is_always_json(text: str) -> None:
    msgspec.json.decode(encoded(text, "application/json"))
