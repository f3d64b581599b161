"""The Open Inference Protocol v2: requests of tensors in, responses of tensors out, each in JSON with or without a binary
part behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import PermanentError
from trimtab.handlers.serving import tensors
from trimtab.handlers.serving.tensors import Tensor
from trimtab.runtime.answer import Answer
from trimtab.runtime.codec import to_json

HEADER = b"inference-header-content-length"
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")


class Wanted(Struct):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class Infer(Struct):
    """A request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Wanted] | None = None


read_json = msgspec.json.Decoder(Infer).decode


def read(raw: bytes, header: bytes | None) -> tuple[Infer, dict[str, Any]]:
    """Read a request and its tensors as arrays; `header` is the length of the JSON where a binary part follows.

    Errors: PermanentError (400).
    """
    length = _length(header, raw)
    try:
        asked = read_json(raw[:length])
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise PermanentError(f"body: not an inference request: {exc}") from exc
    return asked, arrays(asked, memoryview(raw)[length:])


def arrays(asked: Infer, binary: memoryview) -> dict[str, Any]:
    """Give the tensors of a request by name. Errors: PermanentError (400)."""
    found: dict[str, Any] = {}
    offset = 0
    for tensor in asked.inputs:
        if tensor.name in found:
            raise PermanentError(f"input {tensor.name!r}: found twice, allowed: once")
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            found[tensor.name] = tensors.read(tensor)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - offset:
            raise PermanentError(
                f"input {tensor.name!r}: binary_data_size: found {size!r}, allowed: 0 to {len(binary) - offset}, "
                f"the bytes that are left behind the JSON"
            )
        found[tensor.name] = tensors.read(tensor, binary[offset : offset + size])
        offset += size
    if not found:
        raise PermanentError("inputs: found no tensor, allowed: at least one")
    if offset != len(binary):
        raise PermanentError(f"body: found {len(binary) - offset} bytes behind the last tensor, allowed: none")
    return found


def _length(header: bytes | None, raw: bytes) -> int:
    if header is None:
        return len(raw)
    if not header.isdigit() or int(header) > len(raw):
        text = header.decode("latin-1")
        raise PermanentError(
            f"Inference-Header-Content-Length: found {text!r}, allowed: a length up to the body's, {len(raw)}"
        )
    return int(header)


def choose(asked: Infer, names: Sequence[str], default: Sequence[str]) -> list[str]:
    """Choose the outputs: those asked for, else `default`. Errors: PermanentError (400)."""
    if not asked.outputs:
        return list(default)
    for wanted in asked.outputs:
        if wanted.name not in names:
            raise PermanentError(f"outputs: found {wanted.name!r}, allowed: {', '.join(map(repr, names))}")
    return [wanted.name for wanted in asked.outputs]


def answer(asked: Infer, identity: str, name: str, version: str, outputs: dict[str, Any]) -> Answer:
    """Write a response; each output binary where the request asks for it. Errors: TypeError."""
    everything = bool(asked.parameters and asked.parameters.get("binary_data_output"))
    by_name = {wanted.name: wanted.parameters or {} for wanted in asked.outputs or ()}
    said, pieces = [], []
    for key, value in outputs.items():
        one, content = tensors.write(key, value, binary=bool(by_name.get(key, {}).get("binary_data", everything)))
        said.append(one)
        pieces.append(content)
    response = {"model_name": name, "id": identity, "outputs": said}
    if version:
        response["model_version"] = version
    body = to_json(response)
    if not any("parameters" in one for one in said):
        return Answer(200, [_JSON], body)
    return Answer(200, [_BINARY, (HEADER, b"%d" % len(body))], b"".join([body, *pieces]))


def describe(entry: Any, versions: list[str]) -> dict[str, Any]:
    """Give a model's metadata."""
    features, server = getattr(entry.server, "features", None), entry.server
    said: dict[str, Any] = {
        "name": entry.name,
        "versions": versions,
        "platform": f"trimtab_{type(server).__name__}",
        "inputs": [],
        "outputs": [],
        "path": entry.uri,
    }
    if entry.version:
        said["version"] = entry.version
    if features is not None:
        said["platform"] = f"{type(server.model).__module__.partition('.')[0]}_{type(server.model).__name__}"
        said["inputs"] = _inputs(features)
        classes = [] if not server.has_probabilities else [len(server.classes or ()) or -1]
        said["outputs"] = [{"name": "predict", "datatype": _datatype(server), "shape": [-1]}]
        if server.has_probabilities:
            said["outputs"].append({"name": "predict_proba", "datatype": "FP64", "shape": [-1, *classes]})
    return said


def _inputs(features: Any) -> list[dict[str, Any]]:
    if features.numeric and not features.frame:
        one = {"name": "input-0", "datatype": "FP64", "shape": [-1, features.count]}
        return [{**one, "parameters": {"columns": features.names}} if features.names is not None else one]
    if features.names is None:
        return [{"name": "input-0", "datatype": "BYTES", "shape": [-1]}]
    dtypes = features.dtypes or ["float64"] * len(features.names)
    return [
        {"name": name, "datatype": _feature_type(dtype), "shape": [-1]}
        for name, dtype in zip(features.names, dtypes, strict=True)
    ]


def _feature_type(dtype: str) -> str:
    if dtype.startswith("bool"):
        return "BOOL"
    return "FP64" if dtype.lower().startswith(("float", "int", "uint")) else "BYTES"


def _datatype(server: Any) -> str:
    if server.classes is None:
        return "FP64"
    first = server.classes[0] if server.classes else 0
    return (
        "BOOL"
        if isinstance(first, bool)
        else "INT64"
        if isinstance(first, int)
        else "BYTES"
        if isinstance(first, str)
        else "FP64"
    )
