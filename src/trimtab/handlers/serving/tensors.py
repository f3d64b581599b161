"""Tensors of the Open Inference Protocol v2: typed data in JSON or binary, to arrays and back.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, and for binary data
the extension that Triton and KServe have
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md). JSON knows neither
NaN nor infinities: here null and "NaN" are NaN, "Infinity" and "-Infinity" the infinities; out go null and these two.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from trimtab.errors import PermanentError

DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""By datatype; BYTES is an array of objects."""
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<I")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHOWN = 60


class Tensor(Struct, omit_defaults=True):
    """One tensor as JSON says it; without `data` its content stands behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


def read(tensor: Tensor, binary: memoryview | None = None) -> Any:
    """Make an array of a tensor; `binary` is its content where it is not in JSON. Errors: PermanentError (400)."""
    where = f"input {tensor.name!r}"
    if tensor.datatype != "BYTES" and tensor.datatype not in DTYPES:
        raise _refuse(f"{where}: datatype", tensor.datatype, f"BYTES, {', '.join(DTYPES)}")
    if any(length < 0 for length in tensor.shape):
        raise _refuse(f"{where}: shape", tensor.shape, "lengths of 0 and more")
    count = math.prod(tensor.shape)
    if binary is not None:
        found = _binary(tensor.datatype, binary, where)
    elif tensor.data is None:
        raise PermanentError(f"{where}: found neither data nor a parameter binary_data_size")
    else:
        found = _json(tensor.datatype, tensor.data, where)
    if found.size != count:
        raise PermanentError(
            f"{where}: found {found.size} elements, allowed: {count}, as the shape {tensor.shape} says"
        )
    return found.reshape(tensor.shape)


def _json(datatype: str, data: list[Any], where: str) -> Any:
    if datatype == "BYTES":
        return _texts(list(_flattened(data)), where)
    found: Any = None
    try:
        found = np.array(data)
    except (ValueError, OverflowError):
        found = None
    dtype: Any = np.dtype(DTYPES[datatype])
    if found is None or not _fits(found.dtype.kind, dtype.kind):
        found = _by_value(list(_flattened(data)), datatype, where)
    if dtype.kind in "iu" and found.size:
        _check_range(found, dtype, where)
    with np.errstate(over="ignore"):
        return found.astype(dtype).ravel()


def _fits(found: str, wanted: str) -> bool:
    """Tell whether JSON's values, as numpy took them, are of the datatype's kind."""
    return found in {"b": "b", "f": "iuf"}.get(wanted, "iu")


def _by_value(data: list[Any], datatype: str, where: str) -> Any:
    """Read values one by one, for what numpy does not take at once; the first that does not fit is named."""
    dtype = np.dtype(DTYPES[datatype])
    if not data:
        return np.empty(0, dtype)
    kinds: Any = {"b": bool, "f": (int, float)}.get(dtype.kind, int)
    values = []
    for index, value in enumerate(data):
        if dtype.kind == "f" and (value is None or (isinstance(value, str) and value in _WORDS)):
            values.append(_WORDS[value or "NaN"])
        elif not isinstance(value, kinds) or (isinstance(value, bool) and dtype.kind != "b"):
            raise _refuse(f"{where}: element {index}", value, f"a value of datatype {datatype}")
        else:
            values.append(value)
    return np.array(values, dtype=object if dtype.kind in "iu" else dtype)


def _check_range(found: Any, dtype: Any, where: str) -> None:
    bounds = np.iinfo(dtype)
    low, high = found.min(), found.max()
    if low < bounds.min or high > bounds.max:
        raise _refuse(f"{where}: a value", int(low if low < bounds.min else high), f"{bounds.min} to {bounds.max}")


def _texts(values: list[Any], where: str) -> Any:
    found = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise _refuse(f"{where}: element {index}", value, "text, for datatype BYTES")
        found[index] = value
    return found


def _flattened(data: list[Any]) -> Iterator[Any]:
    for value in data:
        if isinstance(value, list):
            yield from _flattened(value)
        else:
            yield value


def _binary(datatype: str, content: memoryview, where: str) -> Any:
    if datatype == "BYTES":
        return _read_bytes(content, where)
    dtype = np.dtype(DTYPES[datatype])
    if len(content) % dtype.itemsize:
        raise PermanentError(
            f"{where}: found {len(content)} bytes, allowed: a multiple of {dtype.itemsize} for {datatype}"
        )
    return np.frombuffer(content, dtype)


def _read_bytes(content: memoryview, where: str) -> Any:
    """Read elements that each have their length in front (u32, little-endian); text where it is UTF-8."""
    values: list[Any] = []
    offset = 0
    while offset < len(content):
        if offset + _LENGTH.size > len(content):
            raise PermanentError(f"{where}: the length of element {len(values)} is cut short")
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += _LENGTH.size
        piece = bytes(content[offset : offset + length])
        if len(piece) < length:
            raise PermanentError(f"{where}: element {len(values)} is cut short: {len(piece)} of {length} bytes")
        values.append(_text(piece))
        offset += length
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _text(piece: bytes) -> str | bytes:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return piece


# Out


def write(name: str, value: Any, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """Make an output tensor of an array or a list: its JSON, and its content where that is binary. Errors: TypeError."""
    array = np.asarray(value)
    if array.dtype not in _NAMES:
        array = _as_bytes(array) if array.dtype.kind in "OUS" else _as_known(array)
    datatype = _NAMES.get(array.dtype, "BYTES")
    said: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
    if binary:
        content = _write_bytes(array) if datatype == "BYTES" else np.ascontiguousarray(array).tobytes()
        said["parameters"] = {"binary_data_size": len(content)}
        return said, content
    said["data"] = listed(array.ravel())
    return said, b""


def listed(array: Any) -> Any:
    """Write an array as lists that JSON can hold: NaN as null, infinities by name."""
    values = array.tolist()
    if array.dtype.kind == "f" and np.isinf(array).any():
        return _named(values)
    if array.dtype.kind == "O":
        return _named(values)
    return values


def _named(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return listed(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def named(value: Any) -> Any:
    """Give a JSON-like value with its infinities by name; NaN is written as null anyway."""
    return _named(value) if isinstance(value, list | tuple | dict | float) else value


def _as_known(array: Any) -> Any:
    """Bring what the protocol does not know (big-endian, float128, dates) to what it does."""
    if array.dtype.kind in "iufb":
        size = min(array.dtype.itemsize, 8)
        return array.astype(np.dtype(f"<{array.dtype.kind}{size}") if array.dtype.kind != "b" else "?")
    return _as_bytes(array.astype(str))


def _as_bytes(array: Any) -> Any:
    found = np.empty(array.shape, dtype=object)
    for index, item in np.ndenumerate(array):
        found[index] = item if isinstance(item, str | bytes) else _json_text(item)
    return found


def _json_text(item: Any) -> str:
    from trimtab.runtime.codec import to_json

    return to_json(item).decode()


def _write_bytes(array: Any) -> bytes:
    pieces = [item.encode() if isinstance(item, str) else item for item in array.ravel()]
    return b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)


def _refuse(where: str, found: Any, allowed: str) -> PermanentError:
    shown = repr(found)
    return PermanentError(
        f"{where}: found {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}, allowed: {allowed}"
    )
