"""CloudEvents over HTTP: binary, structured and batched, in and out, against the specification and the library."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings import http as library
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import EventError
from trimtab.events import Envelope, from_cloudevent, to_cloudevent, validate
from trimtab.runtime.binding import (
    Header,
    Mode,
    is_event,
    read,
    read_batch,
    write_batch,
    write_binary,
    write_structured,
)

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/me", "type": "com.example.made"}
HEADERS: list[Header] = [(b"ce-" + name.encode(), value.encode()) for name, value in REQUIRED.items()]
STRUCTURED: list[Header] = [(b"content-type", b"application/cloudevents+json; charset=utf-8")]


def structured(**members: Any) -> bytes:
    return json.dumps({**REQUIRED, **members}).encode()


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        ([], Mode.NONE),
        ([(b"content-type", b"application/json")], Mode.NONE),
        ([(b"ce-custom", b"x")], Mode.NONE),
        (HEADERS, Mode.BINARY),
        ([(b"ce-id", b"1")], Mode.BINARY),
        ([(b"content-type", b"Application/CloudEvents+JSON")], Mode.STRUCTURED),
        ([(b"content-type", b" application/cloudevents+avro")], Mode.STRUCTURED),
        ([*HEADERS, (b"content-type", b"application/cloudevents+json; charset=utf-8")], Mode.STRUCTURED),
        ([(b"content-type", b"application/cloudevents-batch+json")], Mode.BATCH),
    ],
)
def test_the_mode_is_told_by_the_headers(headers: list[Header], mode: Mode) -> None:
    assert is_event(headers) is mode


def test_binary_keeps_unknown_extensions_and_takes_the_content_type() -> None:
    headers = [*HEADERS, (b"ce-anything1", b"x"), (b"content-type", b"text/plain"), (b"x-other", b"y")]
    assert read(headers, b"\xff") == Envelope({**REQUIRED, "anything1": "x", "datacontenttype": "text/plain"}, b"\xff")


def test_an_empty_body_is_an_event_without_data() -> None:
    assert read(HEADERS, b"").data is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"Euro%20%e2%82%ac", "Euro €"),
        (b"%41%42", "AB"),
        (b"100%", "100%"),
        (b"100%zz", "100%zz"),
        (b"%2541", "%41"),
        (b'"with space"', "with space"),
        (rb'"a \"b\" \\ c"', 'a "b" \\ c'),
        (b'"%E2%82%AC"', "€"),
        (b'5" disk', '5" disk'),
        (b'"a" b "c"', '"a" b "c"'),
        ("bjørn".encode(), "bjørn"),
        (b"", ""),
    ],
)
def test_header_values_are_unquoted_and_percent_decoded_once(header: bytes, value: str) -> None:
    assert read([*HEADERS, (b"ce-ext", header)], b"").attributes["ext"] == value


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("Euro € 😀", b"Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ('"%"', b"%22%25%22"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", b"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_header_values_are_percent_encoded_as_section_3_1_3_2_says(value: str, header: bytes) -> None:
    headers, _ = write_binary(Envelope({**REQUIRED, "ext": value}))
    assert dict(headers)[b"ce-ext"] == header


@pytest.mark.parametrize(
    ("extra", "attribute"),
    [
        ([(b"ce-ext", b"%C0%A0")], "ext"),
        ([(b"ce-ext", b"%ED%A0%80")], "ext"),
        ([(b"ce-ext", b"\xff")], "ext"),
        ([(b"ce-ext", b"%00")], "ext"),
        ([(b"ce-ext", b"%0D%0A")], "ext"),
        ([(b"ce-id", b"2")], "id"),
        ([(b"ce-my-ext", b"x")], "my-ext"),
        ([(b"ce-data", b"x")], "data"),
        ([(b"ce-", b"x")], ""),
        ([(b"ce-datacontenttype", b"text/plain")], "datacontenttype"),
        ([(b"ce-datacontenttype", b"text/plain"), (b"content-type", b"text/html")], "datacontenttype"),
        ([(b"content-type", b"text/plain"), (b"content-type", b"text/html")], "datacontenttype"),
        ([(b"content-type", b"nonsense")], "datacontenttype"),
        ([(b"ce-time", b"noon")], "time"),
        ([(b"ce-subject", b"")], "subject"),
    ],
)
def test_a_malformed_binary_event_names_its_attribute(extra: list[Header], attribute: str) -> None:
    with pytest.raises(EventError) as caught:
        read([*HEADERS, *extra], b"{}")
    assert caught.value.attribute == attribute


@pytest.mark.parametrize("name", list(REQUIRED))
def test_a_missing_required_attribute_is_named_in_each_mode(name: str) -> None:
    headers = [header for header in HEADERS if header[0] != b"ce-" + name.encode()]
    assert is_event(headers) is Mode.BINARY
    for call in (
        lambda: read(headers, b""),
        lambda: read(STRUCTURED, structured(**{name: None})),
        lambda: read_batch(b"[" + structured(**{name: None}) + b"]"),
    ):
        with pytest.raises(EventError, match=f"{name}': found nothing") as caught:
            call()
        assert caught.value.attribute == name


def test_a_ce_datacontenttype_that_repeats_the_content_type_is_tolerated() -> None:
    headers = [*HEADERS, (b"ce-datacontenttype", b"text/plain"), (b"content-type", b"text/plain")]
    assert read(headers, b"x").attributes["datacontenttype"] == "text/plain"


def test_structured_typed_extensions_become_canonical_strings() -> None:
    event = read(STRUCTURED, structured(flag=True, other=False, count=-5, unset=None, text="x"))
    assert event.attributes == {**REQUIRED, "flag": "true", "other": "false", "count": "-5", "text": "x"}
    assert event.data is None


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        ('{"b":1,"a":2.50, "n":123456789012345678901234567890}', "application/json", None),
        ('{"b":1}', None, None),
        ('"just a string"', "application/json", None),
        ('"{\\"a\\":1}"', "application/vnd.x+json", None),
        ("null", "application/json", None),
        ('"<much wow=\\"xml\\"/>"', "application/xml", b'<much wow="xml"/>'),
        ('"bj\\u00f8rn"', "text/plain; charset=ISO-8859-1", b"bj\xf8rn"),
        ('"text"', "application/octet-stream", b"text"),
    ],
)
def test_structured_data_is_a_json_value_or_text_by_its_content_type(
    data: str, content_type: str | None, expected: bytes | None
) -> None:
    members = json.dumps({**REQUIRED, **({"datacontenttype": content_type} if content_type else {})})
    event = read(STRUCTURED, f'{members[:-1]}, "data": {data}}}'.encode())
    assert event.data == (expected or data.encode())
    assert event.attributes["datacontenttype"] == (content_type or "application/json")
    headers, body = write_structured(event)
    assert read(headers, body) == event


def test_structured_null_for_data_that_is_no_json_is_no_data() -> None:
    assert read(STRUCTURED, structured(datacontenttype="text/plain", data=None)).data is None


def test_structured_base64_data() -> None:
    event = read(STRUCTURED, structured(datacontenttype="image/png", data_base64="AP8="))
    assert event.data == b"\x00\xff"
    headers, body = write_structured(event)
    assert json.loads(body)["data_base64"] == "AP8="
    assert read(headers, body) == event


def test_data_that_is_not_the_json_it_claims_to_be_still_travels() -> None:
    event = Envelope({**REQUIRED, "datacontenttype": "application/json"}, b'{"a":"\xff"}')
    headers, body = write_structured(event)
    assert read(headers, body) == event


@pytest.mark.parametrize(
    ("body", "attribute", "text"),
    [
        (b"", "", "not a JSON object"),
        (b"[]", "", "not a JSON object"),
        (b"{", "", "not a JSON object"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "nested too deeply"),
        (b'{"a":"\xff"}', "", "UTF-8"),
        (structured(data_base64="!"), "data_base64", "Base64"),
        (structured(data_base64="AP8"), "data_base64", "Base64"),
        (structured(data_base64=5), "data_base64", "Base64"),
        (structured(data_base64="AP8=", data=1), "data_base64", "only one of"),
        (structured(datacontenttype="text/plain", data={"a": 1}), "data", "a string where datacontenttype"),
        (structured(datacontenttype="text/plain; charset=koi8-r", data="x"), "datacontenttype", "charset"),
        (structured(datacontenttype="text/plain; charset=us-ascii", data="ø"), "data", "ascii"),
        (structured(id=5), "id", "found 5, allowed: a string"),
        (structured(specversion=1.0), "specversion", "found 1.0, allowed: a string"),
        (structured(time=True), "time", "a string"),
        (structured(count=2**31), "count", "whole number from"),
        (structured()[:-1] + b',"count":' + b"1" * 5000 + b"}", "count", "whole number"),
        (structured(score=0.5), "score", "whole number"),
        (structured(ext={"a": 1}), "ext", "a string, a bool or a whole number"),
        (structured(ext=[]), "ext", "a string, a bool or a whole number"),
        (structured(Ext="x"), "Ext", "a-z"),
    ],
)
def test_a_malformed_structured_event_names_its_attribute(body: bytes, attribute: str, text: str) -> None:
    with pytest.raises(EventError, match=re.escape(text)) as caught:
        read(STRUCTURED, body)
    assert caught.value.attribute == attribute


def test_a_repetition_of_attributes_in_the_headers_of_a_structured_event_is_not_looked_at() -> None:
    assert read([(b"ce-id", b"\xff"), *STRUCTURED], structured()).id == "1"


def test_an_unknown_event_format_is_refused_by_name() -> None:
    with pytest.raises(EventError, match=re.escape("found 'application/cloudevents+avro'")):
        read([(b"content-type", b"application/cloudevents+avro")], b"")
    with pytest.raises(EventError, match="one event"):
        read([(b"content-type", b"application/cloudevents-batch+json")], b"[]")


def test_batch_there_and_back() -> None:
    events = [
        Envelope({**REQUIRED, "id": "1"}),
        Envelope({**REQUIRED, "id": "2", "datacontenttype": "application/json"}, b"[1]"),
        Envelope({**REQUIRED, "id": "3", "datacontenttype": "image/png"}, b"\xff"),
    ]
    headers, body = write_batch(events)
    assert is_event(headers) is Mode.BATCH
    assert read_batch(body) == events
    assert read_batch(b"[]") == []


def test_the_bad_item_of_a_batch_is_told_by_its_position() -> None:
    with pytest.raises(EventError, match="item 1 of the batch: event attribute 'time'") as caught:
        read_batch(b"[" + structured() + b"," + structured(time="noon") + b"]")
    assert caught.value.attribute == "time"
    with pytest.raises(EventError, match="a JSON array of objects"):
        read_batch(b"[1]")


# Strategies of valid events.


def _valid(attributes: dict[str, str]) -> bool:
    try:
        validate(attributes)
    except EventError:
        return False
    return True


texts = st.text(max_size=30).filter(lambda text: _valid({**REQUIRED, "ext": text}))
names = st.text("abcxyz0189", min_size=1, max_size=20).filter(
    lambda name: name not in {*REQUIRED, "data", "datacontenttype"}
)
json_bytes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aø😀\n"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
payloads = st.one_of(
    st.none().map(lambda _: (None, None)),
    st.tuples(st.just("application/json"), json_bytes),
    st.tuples(st.just("application/vnd.x+json; charset=utf-8"), json_bytes),
    st.tuples(st.just("application/json"), st.binary(min_size=1)),
    st.tuples(st.sampled_from(["text/plain", "application/xml", "text/plain;charset=latin-1"]), st.binary(min_size=1)),
    st.tuples(st.just("text/plain; charset=iso-8859-1"), st.binary(min_size=1)),
    st.tuples(st.just("text/plain"), st.text(min_size=1).map(lambda text: text.encode())),
    st.tuples(st.just("image/png"), st.binary(min_size=1)),
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    attributes = {
        "specversion": "1.0",
        "id": draw(texts.filter(bool)),
        "source": draw(st.sampled_from(["/me", "urn:x:ø", "https://example.com/%20?a=b#c"])),
        "type": draw(texts.filter(bool)),
    }
    attributes |= draw(st.dictionaries(names, texts, max_size=3))
    if draw(st.booleans()):
        attributes["time"] = draw(st.datetimes()).isoformat() + "Z"
    if draw(st.booleans()):
        attributes["subject"] = draw(texts.filter(bool))
    content_type, data = draw(payloads)
    if content_type:
        attributes["datacontenttype"] = content_type
    return Envelope(attributes, data)


@given(envelopes())
def test_any_event_survives_each_mode(envelope: Envelope) -> None:
    headers, body = write_binary(envelope)
    assert all(re.fullmatch(rb"[!-~]*", value) for name, value in headers if name != b"content-type")
    assert is_event(headers) is Mode.BINARY
    assert read(headers, body) == envelope
    headers, body = write_structured(envelope)
    assert is_event(headers) is Mode.STRUCTURED
    assert read(headers, body) == envelope
    _, body = write_batch([envelope, envelope])
    assert read_batch(body) == [envelope, envelope]


@given(st.lists(st.tuples(st.sampled_from([b"ce-id", b"ce-x", b"ce-time", b"content-type"]), st.binary())), st.binary())
def test_whatever_comes_gives_an_event_or_an_event_error(extra: list[Header], body: bytes) -> None:
    for headers in ([*HEADERS[2:], *extra], STRUCTURED):
        with contextlib.suppress(EventError):
            validate(read(headers, body).attributes)
    with contextlib.suppress(EventError):
        read_batch(body)


# Differential tests: the library reads what we write and we read what it writes.


def message(headers: list[Header], body: bytes) -> library.HTTPMessage:
    return library.HTTPMessage({name.decode(): value.decode() for name, value in headers}, body)


def raw(message: library.HTTPMessage) -> list[Header]:
    return [(name.encode(), value.encode()) for name, value in message.headers.items()]


def same(ours: CloudEvent, theirs: Any) -> bool:
    return bool(ours.get_attributes() == theirs.get_attributes() and ours.get_data() == theirs.get_data())


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@st.composite
def library_events(draw: st.DrawFn) -> CloudEvent:
    data = draw(st.dictionaries(st.text(), st.integers(-(2**63), 2**63) | st.text(), min_size=1, max_size=3))
    attributes: dict[str, Any] = {
        "id": draw(texts.filter(bool)),
        "source": "/me",
        "type": draw(texts.filter(bool)),
        "datacontenttype": "application/json",
        "time": draw(st.datetimes(timezones=offsets)),
    }
    attributes |= draw(st.dictionaries(names.filter(lambda name: name not in {"time", "subject"}), texts, max_size=3))
    return CloudEvent(attributes, data)


@given(library_events())
def test_the_library_reads_what_we_write(event: CloudEvent) -> None:
    envelope = from_cloudevent(event)
    for written in (write_binary(envelope), write_structured(envelope)):
        assert same(event, library.from_http_event(message(*written)))


@given(library_events())
def test_we_read_what_the_library_writes(event: CloudEvent) -> None:
    for written in (library.to_binary_event(event), library.to_structured_event(event)):
        assert same(to_cloudevent(read(raw(written), written.body)), event)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_header_values_are_encoded_as_the_library_encodes_them(value: str) -> None:
    event = CloudEvent({"type": "t", "source": "/s", "ext": value})
    theirs = library.to_binary_event(event).headers["ce-ext"]
    ours = dict(write_binary(Envelope({**REQUIRED, "ext": value}))[0])[b"ce-ext"]
    assert ours.decode() == theirs
