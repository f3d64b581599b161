"""A request to a class of the user's own, through its steps: preprocess, validate, predict or explain, postprocess."""

from __future__ import annotations

import time
from time import perf_counter
from typing import TYPE_CHECKING, Any

from trimtab.errors import PermanentError, TemporaryError
from trimtab.handlers.serving import oip, rows, tensors
from trimtab.handlers.serving.direct import body_of
from trimtab.handlers.serving.model import ModelServer
from trimtab.handlers.serving.tracker import Row
from trimtab.runtime.answer import wish
from trimtab.runtime.event import Event
from trimtab.runtime.invoke import plan, settle

if TYPE_CHECKING:
    from trimtab.handlers.serving.entry import Entry
    from trimtab.handlers.serving.oip import Infer
    from trimtab.handlers.serving.server import Server


async def answer(server: Server, entry: Entry, event: Event, operation: str) -> Any:
    """Answer a prediction in the protocol it was asked in. Errors: PermanentError; what the model raises."""
    began = perf_counter()
    asked, body = _read(event)
    if asked is not None:
        return await _answer_tensors(server, entry, event, asked, body, began)
    if operation.endswith("_dict"):
        body = {**body, "inputs": _listed(entry, body.get("inputs"))}
    response, request = await _steps(server, entry, body, operation, event)
    _track(server, entry, request, response, operation, began)
    return await _sent(server, entry, response, event)


async def operation(server: Server, entry: Entry, event: Event, name: str) -> Any:
    """Answer `explain`, or an operation of the class's own (`op_NAME`). Errors: PermanentError (404)."""
    body: Any = body_of(event) if event.raw or event.envelope is not None else {}
    own = getattr(entry.server, f"op_{name}", None)
    entry.requests += 1
    try:
        if own is not None:
            return await _do(server, own, body)
        if name != "explain":
            raise PermanentError(f"model {entry.key!r} has no operation {name!r}", status=404)
        response, _ = await _steps(server, entry, rows.check_body(body), "explain", event)
        return await _sent(server, entry, response, event)
    except NotImplementedError as exc:
        raise PermanentError(str(exc), status=501) from exc


def _read(event: Event) -> tuple[Infer | None, Any]:
    header = event.get_header("inference-header-content-length")
    if header is not None:
        asked, found = oip.read(event.raw, header.encode("latin-1"))
        return asked, found
    body = rows.check_body(body_of(event))
    inputs = body.get("inputs")
    if (
        isinstance(inputs, list)
        and inputs
        and isinstance(inputs[0], dict)
        and {"datatype", "shape"} <= inputs[0].keys()
    ):
        return oip.read(event.raw, None)
    return None, body


async def _answer_tensors(
    server: Server, entry: Entry, event: Event, asked: Infer, found: dict[str, Any], began: float
) -> Any:
    """Give a class tensors as rows: one tensor's own, or of several one row made of each one's item."""
    given = next(iter(found.values())).tolist() if len(found) == 1 else _across(found)
    body = {"id": asked.id, "inputs": given, "tensors": found, **(asked.parameters or {})}
    response, request = await _steps(server, entry, body, "infer", event)
    _track(server, entry, request, response, "infer", began)
    if not isinstance(response, dict) or "outputs" not in response:
        return response
    outputs = response["outputs"]
    by_name = outputs if isinstance(outputs, dict) else {"predict": outputs}
    chosen = oip.choose(asked, list(by_name), list(by_name))
    return oip.answer(asked, response["id"], entry.name, entry.version, {name: by_name[name] for name in chosen})


def _across(found: dict[str, Any]) -> list[dict[str, Any]]:
    lengths = {len(array) if array.ndim else 0 for array in found.values()}
    if len(lengths) != 1:
        raise PermanentError(f"inputs: found tensors of {sorted(lengths)} rows, allowed: the same number in each")
    columns = {name: array.tolist() for name, array in found.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _listed(entry: Entry, inputs: Any) -> list[list[Any]]:
    """Turn mappings into rows, in the order of the logged schema. Errors: PermanentError (400)."""
    from trimtab.handlers.serving.features import Features

    artifact = entry.server.artifact
    schema = artifact.model.schema if artifact is not None else None
    features = Features.of(entry.server.model, schema)
    if not isinstance(inputs, list) or not inputs:
        raise PermanentError(f"inputs: found {str(inputs)[:80]!r}, allowed: a list of mappings, at least one")
    table = features.records(inputs)
    return table.values.tolist() if hasattr(table, "columns") else table.tolist()  # type: ignore[no-any-return]


async def _steps(
    server: Server, entry: Entry, body: dict[str, Any], operation: str, event: Event
) -> tuple[Any, dict[str, Any]]:
    """Run a request through its steps; give the response before `postprocess`, and the request as it was predicted."""
    model = entry.server
    body = {**body, "id": str(body.get("id") or server.identity(event))}
    request = await _do(server, model.preprocess, body, operation)
    request = request if isinstance(request, dict) else {**body, "inputs": request}
    request.setdefault("id", body["id"])
    request = await _validated(server, model, request, operation)
    if operation == "explain":
        outputs = await _do(server, model.explain, request)
    elif entry.batcher is not None and isinstance(request.get("inputs"), list):
        outputs = await entry.batcher.submit(request, len(request["inputs"]))
    else:
        outputs = await _do(server, model.predict, request)
    return rows.response(str(request["id"]), entry.name, entry.version, outputs), request


async def _validated(server: Server, model: ModelServer, request: dict[str, Any], operation: str) -> dict[str, Any]:
    try:
        found = await _do(server, model.validate, request, operation)
    except (PermanentError, TemporaryError):
        raise
    except Exception as exc:  # whatever it raises is its verdict about the request
        raise PermanentError(str(exc) or f"refused: {type(exc).__name__}") from exc
    return found if isinstance(found, dict) else request


async def _do(server: Server, function: Any, *arguments: Any) -> Any:
    """Call a step: in a thread where it is the user's and `def`, on the loop otherwise."""
    ours = getattr(function, "__func__", None) in _OURS
    if ours or not plan(function):
        return await settle(function(*arguments))
    assert server.threads is not None
    return await settle(await server.threads.call(function, *arguments))


_OURS = frozenset({ModelServer.preprocess, ModelServer.validate, ModelServer.postprocess})


async def _sent(server: Server, entry: Entry, response: Any, event: Event) -> Any:
    response = await _do(server, entry.server.postprocess, response)
    accept, content_type = (event.headers.get(name, "").encode("latin-1") for name in ("accept", "content-type"))
    if wish({b"accept": accept, b"content-type": content_type}).msgpack:
        return response
    if isinstance(response, dict) and "outputs" in response:
        outputs = response["outputs"]
        return {**response, "outputs": tensors.listed(outputs) if hasattr(outputs, "dtype") else tensors.named(outputs)}
    return response


def _track(server: Server, entry: Entry, request: dict[str, Any], response: Any, operation: str, began: float) -> None:
    """Keep a prediction for the sink; what cannot be kept is logged, and nobody else hears of it."""
    taken = perf_counter() - began
    entry.seconds += taken
    inputs: Any = request.get("inputs")
    count = len(inputs) if hasattr(inputs, "__len__") else 1
    entry.rows += count
    if server.tracker is None or not server.tracker.wanted():
        return
    try:
        row = _row(entry, request, response, operation, int(taken * 1e6))
        server.tracker.record(entry, row)
    except Exception as exc:
        server.tracker.dropped += count
        entry.server.logger.warn(f"a request to {entry.key!r} is not tracked: {exc}")


def _row(entry: Entry, request: dict[str, Any], response: Any, operation: str, latency_us: int) -> Row:
    """Make the record of a request, of what `logged_results` says, else of what went through. Errors: PermanentError."""
    said: tuple[Any, Any] = entry.server.logged_results(request, response, operation)
    inputs: Any = request.get("inputs") if said[0] is None else said[0]
    outputs: Any = response["outputs"] if said[1] is None else said[1]
    probabilities = None
    if isinstance(outputs, dict):
        probabilities = outputs.get("probabilities")
        others = [value for name, value in outputs.items() if name not in ("probabilities", "classes")]
        outputs = outputs.get("predict", others[0] if others else [])
    if not hasattr(inputs, "__len__") or not hasattr(outputs, "__len__") or len(inputs) != len(outputs):
        raise PermanentError("there is not one output for each row of inputs; logged_results can say what to keep")
    ids = rows.check_ids(request, len(inputs))
    return Row(inputs, outputs, probabilities, str(request["id"]), ids, latency_us, time.time())
