"""Envelopes: what is a valid event, how one is made, and the way to and from the `cloudevents` library's type."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from cloudevents.core.v03.event import CloudEvent as CloudEvent03
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import EventError
from trimtab.events import Envelope, canonical, from_cloudevent, from_json, make, to_cloudevent, to_json, validate
from trimtab.events.data import encode_json
from trimtab.events.jsonformat import decode_batch, decode_event

GOOD = {"specversion": "1.0", "id": "1", "source": "/me", "type": "com.example.made"}


@pytest.mark.parametrize(
    "extra",
    [
        {"time": "2018-04-05T17:31:00Z"},
        {"time": "2018-04-05t17:31:00.123456789z"},
        {"time": "2018-04-05T17:31:00+05:30"},
        {"time": "2016-12-31T23:59:60Z"},
        {"source": "https://example.com/a?b=c#d"},
        {"source": "mailto:a@example.com"},
        {"source": "1-555-123-4567"},
        {"source": "/bjørn"},
        {"subject": "Euro € 😀"},
        {"dataschema": "https://example.com/schema"},
        {"datacontenttype": "application/vnd.x+json; charset=utf-8"},
        {"a1": "", "comexampleextension1": "value"},
        {"id": 'anything "quoted" goes'},
    ],
)
def test_a_valid_event_passes(extra: dict[str, str]) -> None:
    validate({**GOOD, **extra})


@pytest.mark.parametrize(
    ("extra", "attribute", "text"),
    [
        ({"id": ""}, "id", "found '', allowed: a non-empty string"),
        ({"type": None}, "type", "found nothing, allowed: a non-empty string"),
        ({"specversion": "0.3"}, "specversion", "found '0.3', allowed: '1.0'"),
        ({"specversion": "1"}, "specversion", "found '1', allowed: '1.0'"),
        ({"source": "/a b"}, "source", "URI-reference"),
        ({"source": "/a%zz"}, "source", "URI-reference"),
        ({"source": "/a\nb"}, "source", "control characters"),
        ({"id": "a\x00"}, "id", "control characters"),
        ({"id": "a\ud800"}, "id", "surrogates"),
        ({"ext": "\x85"}, "ext", "control characters"),
        ({"ext": "\ufdd0"}, "ext", "noncharacters"),
        ({"ext": "\U0010ffff"}, "ext", "noncharacters"),
        ({"time": "yesterday"}, "time", "RFC 3339"),
        ({"time": "2018-04-05 17:31:00Z"}, "time", "RFC 3339"),
        ({"time": "2018-04-05T17:31:00"}, "time", "RFC 3339"),
        ({"time": "٢٠١٨-04-05T17:31:00Z"}, "time", "RFC 3339"),
        ({"time": "2018-02-30T17:31:00Z"}, "time", "a date and time that exist"),
        ({"time": "0000-01-01T00:00:00Z"}, "time", "a date and time that exist"),
        ({"time": "9999-12-31T23:59:60Z"}, "time", "a date and time that exist"),
        ({"subject": ""}, "subject", "non-empty"),
        ({"dataschema": "/relative"}, "dataschema", "absolute URI"),
        ({"datacontenttype": "json"}, "datacontenttype", "RFC 2046"),
        ({"datacontenttype": "text/plain; a=\u00f8"}, "datacontenttype", "RFC 2046"),
        ({"myExt": "x"}, "myExt", "only the letters a-z and the digits 0-9"),
        ({"my-ext": "x"}, "my-ext", "only the letters a-z and the digits 0-9"),
        ({"": "x"}, "", "only the letters a-z and the digits 0-9"),
        ({"data": "x"}, "data", "reserved"),
        ({"ext": 5}, "ext", "found 5, allowed: a string"),
    ],
)
def test_a_malformed_event_names_the_attribute_and_what_is_allowed(
    extra: dict[str, Any], attribute: str, text: str
) -> None:
    attributes = {name: value for name, value in {**GOOD, **extra}.items() if value is not None}
    with pytest.raises(EventError) as caught:
        validate(attributes)
    assert caught.value.attribute == attribute
    assert text in str(caught.value)
    assert repr(attribute) in str(caught.value)


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(EventError) as caught:
        validate({**GOOD, "time": "x" * 100_000})
    assert len(str(caught.value)) < 300


def test_make_fills_in_id_and_time_and_the_content_type() -> None:
    before = datetime.now(UTC)
    event = make("com.example.made", "/me", {"x": 1}, subject="s", drifted=True, count=3, missing=None)
    assert before <= datetime.fromisoformat(event.attributes["time"]) <= datetime.now(UTC)
    assert event.attributes["time"].endswith("Z")
    assert event.id != make("com.example.made", "/me").id
    assert (event.type, event.source, event.content_type) == ("com.example.made", "/me", "application/json")
    assert event.attributes["drifted"] == "true"
    assert event.attributes["count"] == "3"
    assert "missing" not in event.attributes
    assert event.data == b'{"x":1}'


@pytest.mark.parametrize(
    ("data", "given_type", "expected", "content_type"),
    [
        (None, None, None, None),
        (b"\x00\xff", None, b"\x00\xff", None),
        (bytearray(b"x"), "application/octet-stream", b"x", "application/octet-stream"),
        ("bjørn", None, "bjørn".encode(), "text/plain; charset=utf-8"),
        ("bjørn", "text/plain; charset=ISO-8859-1", "bjørn".encode("latin-1"), "text/plain; charset=ISO-8859-1"),
        ('{"a":1}', "application/json", b'{"a":1}', "application/json"),
        ([1, 2], None, b"[1,2]", "application/json"),
        ([1, 2], "application/vnd.x+json", b"[1,2]", "application/vnd.x+json"),
        (False, None, b"false", "application/json"),
    ],
)
def test_make_encodes_data_as_its_type_says(
    data: Any, given_type: str | None, expected: bytes | None, content_type: str | None
) -> None:
    event = make("t", "/s", data, datacontenttype=given_type)
    assert event.data == expected
    assert event.attributes.get("datacontenttype") == content_type


@pytest.mark.parametrize(
    ("data", "attributes", "attribute"),
    [
        ({"x": 1}, {"datacontenttype": "text/plain"}, "data"),
        ({"x": object()}, {}, "data"),
        ("\ud800", {}, "data"),
        ("ø", {"datacontenttype": "text/plain; charset=us-ascii"}, "data"),
        ("ø", {"datacontenttype": "text/plain; charset=koi8-r"}, "datacontenttype"),
        (None, {"count": 2**31}, "count"),
        (None, {"count": 10**5000}, "count"),
        (None, {"score": 0.5}, "score"),
        (None, {"id": ""}, "id"),
    ],
)
def test_make_refuses_what_cannot_travel(data: Any, attributes: dict[str, Any], attribute: str) -> None:
    with pytest.raises(EventError) as caught:
        make("t", "/s", data, **attributes)
    assert caught.value.attribute == attribute


def test_canonical_strings_of_typed_values() -> None:
    oslo = timezone(timedelta(hours=2))
    assert canonical("a", True) == "true"
    assert canonical("a", -(2**31)) == "-2147483648"
    assert canonical("a", b"\xff") == "/w=="
    assert canonical("a", datetime(2020, 1, 2, 3, 4, 5, tzinfo=oslo)) == "2020-01-02T03:04:05+02:00"
    assert canonical("a", datetime(2020, 1, 2, 3, 4, 5)) == "2020-01-02T03:04:05Z"


def test_to_cloudevent_gives_python_values() -> None:
    event = to_cloudevent(
        Envelope(
            {**GOOD, "time": "2016-12-31T23:59:60Z", "datacontenttype": "application/json", "ext": "5"}, b'{"a":[1]}'
        )
    )
    assert isinstance(event, CloudEvent)
    assert event.get_time() == datetime(2017, 1, 1, tzinfo=UTC)
    assert event.get_data() == {"a": [1]}
    assert event.get_extension("ext") == "5"


def test_to_cloudevent_invents_no_time() -> None:
    assert to_cloudevent(Envelope(dict(GOOD))).get_time() is None


def test_to_cloudevent_leaves_the_envelope_alone() -> None:
    envelope = Envelope({**GOOD, "time": "2020-01-01T00:00:00Z"})
    to_cloudevent(envelope).get_attributes()["id"] = "changed"
    assert envelope.attributes == {**GOOD, "time": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("content_type", "data", "expected"),
    [
        ("text/plain", "bjørn".encode(), "bjørn"),
        ("text/plain; charset=iso-8859-1", b"bj\xf8rn", "bjørn"),
        ("application/xml", b"<a/>", "<a/>"),
        ("application/octet-stream", b"text", b"text"),
        ("text/plain; charset=koi8-r", b"\xf8", b"\xf8"),
        (None, b"5", 5),
    ],
)
def test_to_cloudevent_decodes_by_content_type(content_type: str | None, data: bytes, expected: Any) -> None:
    attributes = dict(GOOD) if content_type is None else {**GOOD, "datacontenttype": content_type}
    assert to_cloudevent(Envelope(attributes, data)).get_data() == expected


@pytest.mark.parametrize(("content_type", "data"), [("application/json", b"{"), ("text/plain", b"\xff")])
def test_to_cloudevent_refuses_data_that_is_not_its_content_type(content_type: str, data: bytes) -> None:
    with pytest.raises(EventError, match=content_type) as caught:
        to_cloudevent(Envelope({**GOOD, "datacontenttype": content_type}, data))
    assert caught.value.attribute == "data"


def test_from_cloudevent_takes_typed_attributes() -> None:
    event = CloudEvent(
        {
            "type": "t",
            "source": "/s",
            "id": "1",
            "time": datetime(2020, 1, 1, tzinfo=UTC),
            "n": 5,
            "b": True,
            "no": None,
        },
        {"x": 1},
    )
    assert from_cloudevent(event) == Envelope(
        {
            "type": "t",
            "source": "/s",
            "id": "1",
            "time": "2020-01-01T00:00:00Z",
            "n": "5",
            "b": "true",
            "specversion": "1.0",
            "datacontenttype": "application/json",
        },
        b'{"x":1}',
    )


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        ('{"a": 1}', "application/json", b'{"a": 1}'),
        (" [1]", None, b" [1]"),
        ("hello", "application/json", b'"hello"'),
        ("{not json", "application/json", b'"{not json"'),
        ("hello", "text/plain", b"hello"),
        ([1, "a"], "application/json", b'[1,"a"]'),
        (b"\xff", "application/json", b"\xff"),
    ],
)
def test_from_cloudevent_writes_data_as_the_content_type_says(
    data: Any, content_type: str | None, expected: bytes
) -> None:
    attributes = {"type": "t", "source": "/s"} | ({"datacontenttype": content_type} if content_type else {})
    envelope = from_cloudevent(CloudEvent(attributes, data))
    assert envelope.data == expected
    assert envelope.content_type == (content_type or "application/json")


def test_from_cloudevent_takes_the_libraries_older_types() -> None:
    old = from_cloudevent(OldCloudEvent({"type": "t", "source": "/s", "id": "1"}, {"a": 1}))
    assert (old.type, old.data) == ("t", b'{"a":1}')
    oldest = from_cloudevent(
        CloudEvent03(
            {
                "type": "t",
                "source": "/s",
                "id": "1",
                "specversion": "0.3",
                "schemaurl": "https://example.com/s",
                "datacontentencoding": "base64",
                "datacontenttype": "application/octet-stream",
            },
            "/w==",
        )
    )
    assert oldest.attributes["specversion"] == "1.0"
    assert oldest.attributes["dataschema"] == "https://example.com/s"
    assert "datacontentencoding" not in oldest.attributes
    assert oldest.data == b"\xff"


def test_from_cloudevent_refuses_what_was_broken_after_the_library_checked_it() -> None:
    event = CloudEvent({"type": "t", "source": "/s"})
    event.get_attributes()["source"] = "a b"
    with pytest.raises(EventError) as caught:
        from_cloudevent(event)
    assert caught.value.attribute == "source"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_json_format_as_values_there_and_back(data: Any) -> None:
    members = {**GOOD, "n": 5, "b": False, "unset": None, "data": data}
    envelope = from_json(members)
    assert envelope.attributes == {**GOOD, "n": "5", "b": "false", "datacontenttype": "application/json"}
    again = to_json(envelope)
    assert again["data"] == data
    assert from_json(again) == envelope
    assert from_json(msgspec.json.decode(msgspec.json.encode(again))) == envelope


def test_json_format_keeps_bytes_in_base64() -> None:
    members = to_json(Envelope({**GOOD, "datacontenttype": "application/octet-stream"}, b"\x00\xff"))
    assert members["data_base64"] == "AP8="
    assert from_json(members).data == b"\x00\xff"


def test_the_library_is_not_imported_with_the_events() -> None:
    code = "import sys, trimtab.events, trimtab.runtime.binding; print([m for m in sys.modules if m.startswith('cloudevents')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


USUAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "partitionkey": "k", "data": {"x": 1.50}}


@pytest.mark.parametrize(
    "other",
    [{}, {"extra": "e"}, {"extra": 5}, {"time": None}, {"datacontenttype": "text/plain", "data": "a"}, {"data": None}],
)
def test_a_batch_of_usual_events_is_read_as_any_other(other: dict[str, Any]) -> None:
    one = {**USUAL, **other}
    alone = decode_event(encode_json(one))
    assert decode_batch(encode_json([one])) == [alone]
    assert decode_batch(encode_json([one, {**USUAL, "unusual": True}]))[0] == alone


def test_a_fault_of_a_usual_event_names_the_item_and_the_attribute() -> None:
    for wrong in ({"source": "a b"}, {"id": ""}, {"time": "soon"}, {"datacontenttype": "x"}, {"subject": ""}):
        for _ in range(2):  # what was found to be wrong once is wrong again
            with pytest.raises(EventError, match=f"item 1 of the batch: event attribute '{next(iter(wrong))}'"):
                decode_batch(encode_json([USUAL, {**USUAL, **wrong}]))
