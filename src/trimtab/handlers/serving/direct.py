"""A request to the built-in class: from the body's bytes to a table, through the model's queue, to the answer's bytes.

This is the hot path. A body is tried first as what the last one to this model was, and only what fits no known form is
looked at value by value, to say what is wrong with it.
"""

from __future__ import annotations

import time
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import EventError, PermanentError
from trimtab.handlers.serving import oip, rows, tensors
from trimtab.handlers.serving.oip import Infer
from trimtab.handlers.serving.tracker import Row
from trimtab.runtime.answer import Answer, wish
from trimtab.runtime.codec import decode, parse_json, to_json
from trimtab.runtime.event import Event

if TYPE_CHECKING:
    from trimtab.handlers.serving.entry import Entry
    from trimtab.handlers.serving.server import Server

_JSON = (b"content-type", b"application/json")
_BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for a body that is not what it should be."""


async def answer(server: Server, entry: Entry, event: Event, operation: str) -> Any:
    """Answer a prediction in the protocol it was asked in. Errors: PermanentError (400); what the model raises."""
    began = perf_counter()
    content_type, header, msgpack = _headers(event)
    features: Any = entry.server.features  # type: ignore[attr-defined]
    if event.envelope is None and not msgpack and b"msgpack" not in content_type:
        asked, body = _json(entry, event.raw, header, numbers=features.numeric and not operation.endswith("_dict"))
    else:
        asked, body = None, rows.check_body(body_of(event))
    if asked is not None:
        table = features.tensors(body)
        return await _tensors(server, entry, event, asked, table, began)
    table, identity, ids = _table(features, body, operation)
    identity = str(identity) if identity else server.identity(event)
    outputs = await _predict(server, entry, table, identity, ids, began)
    found = outputs["predict"]
    if msgpack:
        return rows.response(identity, entry.name, entry.version, found)
    said = rows.response(identity, entry.name, entry.version, tensors.listed(found))
    return said if event.envelope is not None else Answer(200, [_JSON], to_json(said))


def _table(features: Any, body: Any, operation: str) -> tuple[Any, Any, list[str] | None]:
    """Read rows: the table, the request's id and the rows' own. Errors: PermanentError (400)."""
    if isinstance(body, rows.Rows):
        table = features.fast(body.inputs) if body.columns is None else features.rows(body.inputs, body.columns)
        ids = None if body.ids is None else rows.check_ids({"ids": body.ids}, len(table))
        return table, body.id, ids
    inputs = body.get("inputs")
    if operation.endswith("_dict") and isinstance(inputs, list):
        table = features.records(inputs)
    else:
        table = features.rows(inputs, body.get("columns"))
    return table, body.get("id"), rows.check_ids(body, len(table))


async def _tensors(server: Server, entry: Entry, event: Event, asked: Infer, table: Any, began: float) -> Answer:
    names = ["predict", *["predict_proba"] * entry.server.has_probabilities]  # type: ignore[attr-defined]
    chosen = oip.choose(asked, names, ["predict"])
    identity = asked.id or server.identity(event)
    ids = rows.check_ids(asked.parameters, len(table)) if asked.parameters else None
    outputs = await _predict(server, entry, table, identity, ids, began, probabilities="predict_proba" in chosen)
    if missing := [name for name in chosen if name not in outputs]:
        raise PermanentError(f"outputs: found {missing[0]!r}, allowed: {', '.join(map(repr, outputs))}")
    return oip.answer(asked, identity, entry.name, entry.version, {name: outputs[name] for name in chosen})


async def _predict(
    server: Server,
    entry: Entry,
    table: Any,
    identity: str,
    ids: list[str] | None,
    began: float,
    *,
    probabilities: bool = False,
) -> dict[str, Any]:
    """Have the built-in class predict, and keep what is to be tracked."""
    tracked = server.tracker is not None and server.tracker.wanted()
    model: Any = entry.server
    probabilities = probabilities or (tracked and model.has_probabilities and not model.probabilities_later)
    assert entry.batcher is not None
    outputs: dict[str, Any] = await entry.batcher.submit((table, probabilities), len(table))
    taken = perf_counter() - began
    entry.rows += len(table)
    entry.seconds += taken
    if tracked:
        row = Row(table, outputs["predict"], outputs.get("predict_proba"), identity, ids, int(taken * 1e6), time.time())
        server.tracker.record(entry, row)  # type: ignore[union-attr]
    return outputs


def _json(entry: Entry, raw: bytes, header: bytes | None, *, numbers: bool) -> tuple[Infer | None, Any]:
    """Read a JSON body of either protocol: (request, tensors), or (None, the body). Errors: PermanentError (400)."""
    if header is not None:
        return oip.read(raw, header)
    if numbers and entry.table_form != "tensors":
        try:
            return None, rows.read_numbers(raw)
        except _BROKEN:
            pass  # tensors, or something that is to be looked at value by value
    try:
        asked = oip.read_json(raw)
    except _BROKEN as exc:
        entry.table_form = ""
        return None, _any_json(raw, exc)
    entry.table_form = "tensors"
    return asked, oip.arrays(asked, memoryview(b""))


def _any_json(raw: bytes, why: Exception) -> dict[str, Any]:
    """Read a body that is neither all numbers nor all tensors; what looks like tensors is told what is wrong with them."""
    try:
        body = rows.check_body(parse_json(raw) if raw else b"")
    except _BROKEN as exc:
        raise PermanentError(f"body: not JSON: {exc}") from exc
    inputs = body.get("inputs")
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict) and {"datatype", "shape"} & inputs[0].keys():
        raise PermanentError(f"body: not an inference request: {why}") from why
    return body


def body_of(event: Event) -> Any:
    """Give a request's body as a value. Errors: PermanentError (400)."""
    if event.envelope is not None:
        return event.body
    content_type = event.headers.get("content-type", "")
    try:
        return decode(event.raw, content_type if "msgpack" in content_type else "application/json")
    except EventError as exc:
        raise PermanentError(str(exc)) from exc


def _headers(event: Event) -> tuple[bytes, bytes | None, bool]:
    """Give the content type, the length of the JSON before a binary part, and whether the answer is to be msgpack."""
    content_type, header, accept = b"", None, b""
    for name, value in event.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"accept":
            accept = value
        elif name == oip.HEADER:
            header = value
    if b"msgpack" in content_type or b"msgpack" in accept:
        return content_type, header, wish({b"content-type": content_type, b"accept": accept}).msgpack
    return content_type, header, False
