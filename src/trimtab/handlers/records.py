"""The records that travel between the model server and whoever watches models: what was asked and answered, and what was
true in the end.

Each is the data of a CloudEvent, as JSON. JSON knows neither NaN nor infinities: NaN is written as null (a missing
value), an infinity as the text "Infinity" or "-Infinity", which is read back in columns that hold nothing but numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import EventError
from trimtab.events import Envelope, make
from trimtab.runtime.codec import to_json

INFERENCE = "dev.trimtab.inference"
LABEL = "dev.trimtab.label"
INFERENCE_SCHEMA = "urn:trimtab:inference:1"
"""`dataschema`: the number goes up when a reader of the old form would misread the new one."""
LABEL_SCHEMA = "urn:trimtab:label:1"

_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}
_VALUES = {name: value for value, name in _NAMES.items()}


class Inference(Struct, kw_only=True):
    """Some consecutive rows that one model answered, by columns: everything that is a list has one item a row."""

    endpoint: str
    """`FUNCTION/KEY`, with `:VERSION` behind it where the model has versions."""
    model: str
    """The model's `store://` URI, or the path it was loaded from."""
    model_version: str = ""
    model_class: str = ""
    function: str = ""
    revision: str = ""
    columns: list[str]
    """Names of the inputs' columns."""
    inputs: list[list[Any]]
    """One list for each column."""
    predictions: list[Any]
    """One value a row; a list for each row of a model with several outputs."""
    probabilities: list[list[float | None]] | None = None
    """For each row the probability of each of `classes`; what is no number is None."""
    classes: list[Any] | None = None
    ids: list[str]
    """One for each row; a label that arrives later is joined by it."""
    requests: list[str]
    """The id of the request that a row came with."""
    latency_us: list[int]
    """Microseconds from the request's arrival to its prediction."""
    times: list[float]
    """When the row was answered, in seconds since the epoch."""
    sample: float = 1.0
    """The share of requests that is recorded."""
    errors: int = 0
    """Requests, of those sampled, that the model failed to answer since the record before."""
    metrics: dict[str, Any] = {}
    """What `set_metric` was last given."""

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.ids)


class Label(Struct, kw_only=True):
    """What turned out to be true: one label for each of the ids of an endpoint's rows."""

    endpoint: str
    ids: list[str]
    labels: list[Any]


_inferences = msgspec.json.Decoder(Inference)
_labels = msgspec.json.Decoder(Label)


def encode(record: Inference | Label) -> bytes:
    """Write a record as JSON. Errors: TypeError for values that have no JSON form."""
    if isinstance(record, Label):
        return to_json(msgspec.structs.replace(record, labels=_written(record.labels)))
    return to_json(
        msgspec.structs.replace(
            record,
            inputs=[_written(column) for column in record.inputs],
            predictions=_written(record.predictions),
        )
    )


def decode(data: bytes) -> Inference:
    """Read what `encode` wrote of an Inference; NaN has become None. Errors: EventError that says what does not fit."""
    try:
        record = _inferences.decode(data)
    except msgspec.MsgspecError as exc:
        raise EventError(f"the data of a {INFERENCE} event: {exc}") from exc
    record.inputs = [_read(column) for column in record.inputs]
    record.predictions = _read(record.predictions)
    _check(record)
    return record


def decode_label(data: bytes) -> Label:
    """Read what `encode` wrote of a Label. Errors: EventError that says what does not fit."""
    try:
        record = _labels.decode(data)
    except msgspec.MsgspecError as exc:
        raise EventError(f"the data of a {LABEL} event: {exc}") from exc
    if len(record.labels) != len(record.ids):
        raise EventError(f"the data of a {LABEL} event: {len(record.labels)} labels for {len(record.ids)} ids")
    record.labels = _read(record.labels)
    return record


def to_event(record: Inference) -> Envelope:
    """Make the event that carries a record; what filters are to see of it is in extensions."""
    return make(
        INFERENCE,
        f"/functions/{record.function}",
        encode(record),
        datacontenttype="application/json",
        dataschema=INFERENCE_SCHEMA,
        subject=record.endpoint,
        endpoint=record.endpoint,
        model=record.model,
    )


def label_event(record: Label, source: str) -> Envelope:
    """Make the event that carries labels; `source` says who found them out (a URI reference)."""
    return make(
        LABEL,
        source,
        encode(record),
        datacontenttype="application/json",
        dataschema=LABEL_SCHEMA,
        subject=record.endpoint,
        endpoint=record.endpoint,
    )


def from_event(event: Envelope) -> Inference | Label:
    """Read the record an event carries. Errors: EventError for another type, a newer form, or data that does not fit."""
    known = {INFERENCE: INFERENCE_SCHEMA, LABEL: LABEL_SCHEMA}
    if event.type not in known:
        raise EventError(f"type: found {event.type!r}, allowed: {', '.join(map(repr, known))}", "type")
    written = event.attributes.get("dataschema", known[event.type])
    if written != known[event.type]:
        raise EventError(f"dataschema: found {written!r}, allowed: {known[event.type]!r}", "dataschema")
    return (decode if event.type == INFERENCE else decode_label)(event.data or b"")


def _written(values: Sequence[Any]) -> list[Any]:
    """Name the infinities; msgspec itself writes them as null, like NaN."""
    if values and isinstance(values[0], list):
        return [_written(row) if isinstance(row, list) else row for row in values]
    if math.inf in values or -math.inf in values:
        return [_NAMES.get(value, value) if _is_float(value) else value for value in values]
    return list(values)


def _is_float(value: Any) -> bool:
    """Tell Python's floats, and numpy's, from what may have no hash."""
    return isinstance(value, float) or type(value).__name__.startswith("float")


def _read(values: list[Any]) -> list[Any]:
    if values and isinstance(values[0], list):
        return [_read(row) if isinstance(row, list) else row for row in values]
    if ("Infinity" in values or "-Infinity" in values) and all(map(_is_number, values)):
        return [_VALUES[value] if isinstance(value, str) else value for value in values]
    return values


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and value in _VALUES)


def _check(record: Inference) -> None:
    rows = record.rows
    if len(record.inputs) != len(record.columns):
        raise EventError(f"an inference record has {len(record.inputs)} inputs for {len(record.columns)} columns")
    parts: list[tuple[str, Sequence[Any] | None]] = [
        *((f"column {name!r}", column) for name, column in zip(record.columns, record.inputs, strict=True)),
        *(
            (name, getattr(record, name))
            for name in ("predictions", "probabilities", "requests", "latency_us", "times")
        ),
    ]
    for name, values in parts:
        if values is not None and len(values) != rows:
            raise EventError(f"an inference record has {rows} ids, and {len(values)} values of {name}")
