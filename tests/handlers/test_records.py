"""Inference and label records: what is written can be read back, and what does not fit is refused by name."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import EventError
from trimtab.events import make
from trimtab.handlers.records import (
    Inference,
    Label,
    decode,
    decode_label,
    encode,
    from_event,
    label_event,
    to_event,
)

NUMBERS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
WORDS = st.none() | st.text().filter(lambda text: "nfinity" not in text)


def record(**changes: Any) -> Inference:
    """Give a record of two rows."""
    fields: dict[str, Any] = {
        "endpoint": "iris/rf:v2",
        "model": "store://models/flowers/rf#0:v2",
        "function": "iris",
        "columns": ["a", "b"],
        "inputs": [[1.0, 2.0], ["x", None]],
        "predictions": [0, 1],
        "ids": ["r1.0", "r1.1"],
        "requests": ["r1", "r1"],
        "latency_us": [1_500_000, 1_500_000],
        "times": [1.5, 1.5],
    }
    return Inference(**(fields | changes))


@given(st.lists(st.tuples(NUMBERS, WORDS, NUMBERS), max_size=6))
def test_what_is_written_is_read_back(rows: list[tuple[Any, Any, Any]]) -> None:
    inputs = [list(column) for column in zip(*[row[:2] for row in rows], strict=True)] or [[], []]
    ids = [str(index) for index in range(len(rows))]
    written = record(
        inputs=inputs,
        predictions=[row[2] for row in rows],
        ids=ids,
        requests=ids,
        latency_us=[1] * len(rows),
        times=[0.0] * len(rows),
    )
    assert decode(encode(written)) == written


def test_nan_becomes_null_and_infinities_keep_their_sign() -> None:
    written = record(inputs=[[math.nan, math.inf], [-math.inf, 1.0]], predictions=[[math.inf], [0.0]])
    data = msgspec.json.decode(encode(written))
    assert data["inputs"] == [[None, "Infinity"], ["-Infinity", 1.0]]
    read = decode(encode(written))
    assert read.inputs == [[None, math.inf], [-math.inf, 1.0]]
    assert read.predictions == [[math.inf], [0.0]]


def test_the_word_infinity_among_words_stays_a_word() -> None:
    read = decode(encode(record(inputs=[["Infinity", "love"], [1, 2]])))
    assert read.inputs[0] == ["Infinity", "love"]


def test_an_event_shows_endpoint_and_model_to_filters() -> None:
    event = to_event(record())
    shown = {name: event.attributes[name] for name in ("type", "source", "subject", "endpoint", "model", "dataschema")}
    assert shown == {
        "type": "dev.trimtab.inference",
        "source": "/functions/iris",
        "subject": "iris/rf:v2",
        "endpoint": "iris/rf:v2",
        "model": "store://models/flowers/rf#0:v2",
        "dataschema": "urn:trimtab:inference:1",
    }
    assert from_event(event) == record()


def test_labels_travel_the_same_way() -> None:
    label = Label(endpoint="iris/rf", ids=["r1.0", "r1.1"], labels=[1, math.inf])
    assert decode_label(encode(label)) == label
    assert from_event(label_event(label, "/people/ada")) == label


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["a"]}, "has 2 inputs for 1 columns"),
        ({"inputs": [[1.0], ["x", "y"]]}, "has 2 ids, and 1 values of column 'a'"),
        ({"predictions": [1]}, "has 2 ids, and 1 values of predictions"),
        ({"probabilities": [[0.5, 0.5]]}, "has 2 ids, and 1 values of probabilities"),
    ],
)
def test_lists_of_different_lengths_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EventError, match=message):
        decode(encode(record(**changes)))


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(EventError, match="missing required field `endpoint`"):
        decode(b"{}")
    with pytest.raises(EventError, match="1 labels for 2 ids"):
        decode_label(encode(Label(endpoint="e", ids=["1", "2"], labels=[1])))
    with pytest.raises(EventError, match=r"type: found 'other', allowed: 'dev.trimtab.inference', 'dev.trimtab.label'"):
        from_event(make("other", "/"))
    with pytest.raises(EventError, match="dataschema: found 'urn:trimtab:inference:2'"):
        from_event(make("dev.trimtab.inference", "/", b"{}", dataschema="urn:trimtab:inference:2"))
