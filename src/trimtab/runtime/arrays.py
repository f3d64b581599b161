"""numpy arrays inside msgpack, read without a copy.

An array is an extension of type 78 ("N") whose content is, little-endian: the offset of the data (u32), the length of
the header (u32), eight zero bytes, the header - msgpack of [dtype, shape, order] -, padding, and the data as it lies in
memory. `dtype` is numpy's `dtype.str`, or the list of fields of a structured one; `order` is "C" or "F". A writer pads
so that the data begins at a multiple of 16 from the message's first byte, which is where the memory of `bytes` is
aligned. The convention of the `msgpack-numpy` package is read as well. numpy is imported by the first array.
"""

from __future__ import annotations

import os
import re
import struct
from typing import Any, Literal

import msgspec

from trimtab.errors import EventError

CODE = 78
Order = Literal["C", "F"]
ALIGNMENT = 16

_PREFIX = struct.Struct("<II8s")
_NONCE = os.urandom(8)
_ZEROS = bytes(8)
# Plain dtypes by letter and size (and unit, for times): no objects, and none of the many spellings numpy would parse.
_simple = re.compile(r"[<>|][biufcSUVmM][0-9]{1,6}(\[[0-9]{0,6}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?").fullmatch
_OLD_MARKS = (b"\xc4\x02nd", b"\xa2nd")


def encode(value: Any) -> Any:
    """Give the msgpack form of arrays and data frames, NotImplemented for anything else.

    Errors: TypeError for an array of objects.
    """
    root = type(value).__module__.partition(".")[0]
    if root == "pandas" and hasattr(value, "columns"):
        return {str(name): _column(value[name]) for name in value.columns}
    if root == "pandas" and hasattr(value, "tolist"):
        return _column(value)
    if root == "numpy" and _is_scalar(value):
        return NotImplemented
    if hasattr(value, "__array__"):
        return _extension(value)
    return NotImplemented


def _is_scalar(value: Any) -> bool:
    import numpy as np

    return isinstance(value, np.generic)


def _column(series: Any) -> Any:
    array = series.__array__()
    if not array.dtype.hasobject:
        return array
    return [None if missing else item for item, missing in zip(series.tolist(), series.isna(), strict=True)]


def _extension(value: Any) -> msgspec.msgpack.Ext:
    import numpy as np

    array = np.asarray(value)
    dtype: Any = array.dtype
    if dtype.hasobject or dtype.itemsize == 0:
        raise TypeError(f"arrays of dtype {dtype.str!r} are not sent: their items are Python objects or hold nothing")
    order: Order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    header = msgspec.msgpack.encode([dtype.str if dtype.names is None else dtype.descr, array.shape, order])
    # Room for any shift, so that `align` can move the data without changing the message's length. Until then the
    # place of the data's offset holds the length of the whole.
    total = _PREFIX.size + len(header) + array.nbytes + ALIGNMENT - 1
    prefix = _PREFIX.pack(total, len(header), _NONCE)
    content = b"".join((prefix, header, array.tobytes(order), bytes(ALIGNMENT - 1)))
    return msgspec.msgpack.Ext(CODE, content)


def align(message: bytes) -> bytes:
    """Move the data of every array that this process has just encoded to an aligned place within the message."""
    if _NONCE not in message:
        return message
    moved = bytearray(message)
    at = moved.find(_NONCE)
    while at >= 0:
        begin = at - _PREFIX.size + len(_NONCE)
        total, length, _ = _PREFIX.unpack_from(moved, begin)
        start, end = begin + _PREFIX.size + length, begin + total
        shift = -start % ALIGNMENT
        moved[start + shift : end] = moved[start : end - shift]
        moved[start : start + shift] = bytes(shift)
        _PREFIX.pack_into(moved, begin, start + shift - begin, length, _ZEROS)
        at = moved.find(_NONCE, end)
    return bytes(moved)


def decode(code: int, content: memoryview) -> Any:
    """Msgspec's hook for extensions: an array that looks into the message, read-only. Errors: EventError."""
    if code != CODE:
        return msgspec.msgpack.Ext(code, bytes(content))
    if len(content) < _PREFIX.size:
        raise EventError(f"an array is cut off: its extension holds {len(content)} bytes")
    start, length, _ = _PREFIX.unpack_from(content)
    header = content[_PREFIX.size : _PREFIX.size + length]
    try:
        dtype, shape, order = msgspec.msgpack.decode(header, type=tuple[Any, tuple[int, ...], str])
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise EventError(f"an array's header is malformed: {exc}") from exc
    return _array(dtype, shape, order, content, start)


def revive(value: Any, raw: bytes) -> Any:
    """Turn the maps by which `msgpack-numpy` writes arrays into arrays; other values stay as they are."""
    if any(mark in raw for mark in _OLD_MARKS):
        return _revived(value)
    return value


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return [_revived(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name.decode("latin-1") if isinstance(name, bytes) else name: item for name, item in value.items()}
    if "nd" not in fields or "type" not in fields or not isinstance(fields.get("data"), bytes | memoryview):
        return {name: _revived(item) for name, item in value.items()}
    array = _array(_text(fields["type"]), fields.get("shape", ()), "C", memoryview(fields["data"]), 0)
    return array if fields["nd"] else array[()]


def _text(dtype: Any) -> Any:
    if isinstance(dtype, bytes):
        return dtype.decode("latin-1")
    return [tuple(_text(part) for part in field) for field in dtype] if isinstance(dtype, list) else dtype


def _array(dtype: Any, shape: Any, order: Any, content: memoryview, start: int) -> Any:
    try:
        import numpy as np
    except ImportError as exc:
        raise EventError("an array: this function does not have numpy, so it takes none") from exc
    # numpy reads a single -1 as "whatever fits", which would take padding, or a message cut short, for data.
    if not isinstance(shape, list | tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise EventError(f"an array's shape: found {shape!r}, allowed: a list of lengths, each 0 or more")
    if order not in ("C", "F"):
        raise EventError(f"an array's order: found {order!r}, allowed: 'C', 'F'")
    try:
        parsed = np.dtype(_dtype(dtype))
        if parsed.hasobject or parsed.itemsize == 0:
            raise EventError(f"an array's dtype: found {dtype!r}, allowed: dtypes whose items are plain memory")
        return np.ndarray(tuple(shape), parsed, content, start, order=order)
    except (TypeError, ValueError, OverflowError, MemoryError) as exc:
        found = f"dtype {dtype!r}, shape {shape!r}, {len(content) - start} bytes"
        raise EventError(f"an array does not fit its data ({found}): {exc}") from exc


def _dtype(dtype: Any) -> Any:
    if isinstance(dtype, str) and _simple(dtype):
        return dtype
    if isinstance(dtype, list | tuple) and dtype:
        return [_field(field) for field in dtype]
    raise EventError(f"an array's dtype: found {dtype!r}, allowed: numpy's dtype.str, or a list of fields, no objects")


def _field(field: Any) -> tuple[Any, ...]:
    if not isinstance(field, list | tuple) or len(field) not in (2, 3) or not isinstance(field[0], str):
        raise EventError(f"an array's field: found {field!r}, allowed: [name, dtype] or [name, dtype, shape]")
    return (field[0], _dtype(field[1]), *(tuple(shape) for shape in field[2:]))
