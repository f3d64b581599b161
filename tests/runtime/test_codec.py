"""Bodies to values and back, arrays among them."""

from __future__ import annotations

import contextlib
import math
import sys
from datetime import UTC, datetime
from typing import Any

import msgpack
import msgspec
import numpy as np
import pandas as pd
import pytest
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import EventError
from trimtab.runtime import arrays
from trimtab.runtime.codec import Kind, Text, decode, kind, to_json, to_msgpack, wants_msgpack

MSGPACK = "application/msgpack"

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
DTYPES = ["?", "<i1", "<u8", "<i2", ">i4", "<f2", "<f4", ">f8", "<c16", "<M8[us]", "<m8[s]", "<U3", "|S4"]


@st.composite
def array(draw: Any) -> np.ndarray[Any, Any]:
    """Any array of plain memory: dtype, number of dimensions, empty ones, order, steps."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = math.prod(shape)
    if dtype.kind == "U":
        flat = np.array(draw(st.lists(st.text("abcé", max_size=3), min_size=size, max_size=size)), dtype)
    else:
        flat = np.frombuffer(draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize)), dtype)
    made = flat.reshape(shape)
    if draw(st.booleans()):
        made = np.asfortranarray(made)
    if made.ndim and draw(st.booleans()):
        made = made[::-1]
    return made


def same(one: Any, other: Any) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


# Round trips


@given(values)
def test_json_survives(value: Any) -> None:
    assert decode(to_json(value), "application/json") == value


@given(values)
def test_msgpack_survives(value: Any) -> None:
    assert decode(to_msgpack(value), MSGPACK) == value


@given(values)
def test_msgpack_is_the_same_as_other_libraries_write(value: Any) -> None:
    assert decode(msgpack.packb(value), MSGPACK) == value
    assert msgpack.unpackb(to_msgpack(value), strict_map_key=False) == value


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "UTF8"]))
def test_text_survives_in_its_character_set(text: str, charset: str) -> None:
    raw = text.encode(charset)
    found = decode(raw, f'text/plain; charset="{charset}"')
    assert found == (text if raw else b"")
    if raw:
        assert found.decode() == text
        assert found.decode("ascii", "ignore") == text


@given(st.lists(array(), min_size=1, max_size=4), st.binary(max_size=40))
def test_arrays_survive_with_dtype_shape_and_order(made: list[Any], noise: bytes) -> None:
    raw = to_msgpack({"noise": noise, "arrays": made})
    found = decode(raw, MSGPACK)
    assert bytes(found["noise"]) == noise
    for one, other in zip(made, found["arrays"], strict=True):
        assert same(one, other)
        contiguous = one.flags.f_contiguous and not one.flags.c_contiguous
        assert other.flags.f_contiguous if contiguous else other.flags.c_contiguous


@given(array())
def test_an_array_as_json_is_a_nested_list(made: Any) -> None:
    if made.dtype.kind in "biu":
        assert decode(to_json(made), "application/json") == made.tolist()


# Arrays


def test_decoding_copies_nothing_and_what_it_gives_cannot_be_written() -> None:
    raw = to_msgpack([np.arange(1000, dtype="<f8"), b"x", np.arange(7, dtype="<i4")])
    memory = np.frombuffer(raw, "u1")
    for found in decode(raw, MSGPACK)[::2]:
        assert np.shares_memory(found, memory)
        assert not found.flags.writeable
        assert found.flags.aligned
        address = found.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        assert address % arrays.ALIGNMENT == 0


def test_structured_arrays_survive() -> None:
    made = np.array([(1, 2.5, [1, 2]), (3, 4.5, [3, 4])], [("a", "<i4"), ("b", "<f8"), ("c", "<i2", (2,))])
    found = decode(to_msgpack(made), MSGPACK)
    assert found.dtype == made.dtype
    np.testing.assert_array_equal(found, made)


@pytest.mark.parametrize(
    "made", [np.array([object()]), np.array([1, "x"], object), np.array([(1, None)], [("a", "i4"), ("b", "O")])]
)
def test_arrays_of_objects_are_not_sent(made: Any) -> None:
    with pytest.raises(TypeError, match="Python objects"):
        to_msgpack({"x": made})


def extension(dtype: Any, shape: Any, order: Any, data: bytes, *, start: int | None = None) -> bytes:
    header = msgspec.msgpack.encode([dtype, shape, order])
    begin = 16 + len(header) if start is None else start
    content = begin.to_bytes(4, "little") + len(header).to_bytes(4, "little") + bytes(8) + header + data
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(arrays.CODE, content))


def test_an_array_as_the_format_is_described() -> None:
    found = decode(extension("<i2", [2, 2], "F", b"\x01\x00\x02\x00\x03\x00\x04\x00"), MSGPACK)
    assert found.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "raw",
    [
        extension("|O", [1], "C", bytes(8)),
        extension([["a", "|O"]], [1], "C", bytes(8)),
        extension("<i4", [3], "C", bytes(8)),
        extension("<i4", [2], "C", bytes(8), start=1 << 30),
        extension("<i4", [-1], "C", bytes(8)),
        extension("<i4", [1 << 40, 1 << 40], "C", bytes(8)),
        extension("<i4", [1] * 100, "C", bytes(8)),
        extension("<i4", [2], "X", bytes(8)),
        extension("i4,i4", [1], "C", bytes(8)),
        extension("datetime64[s]", [1], "C", bytes(8)),
        extension("<i4", "2", "C", bytes(8)),
        extension([["a", "<i4", "x"]], [1], "C", bytes(8)),
        extension([], [1], "C", bytes(8)),
        extension("|V0", [1], "C", bytes(8)),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(arrays.CODE, b"")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(arrays.CODE, bytes(20))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(arrays.CODE, b"\xff" * 40)),
    ],
)
def test_a_malformed_array_is_the_senders_error(raw: bytes) -> None:
    with pytest.raises(EventError):
        decode(raw, MSGPACK)


@given(st.binary(max_size=60))
def test_no_extension_does_anything_but_parse_or_be_refused(content: bytes) -> None:
    raw = msgspec.msgpack.encode([msgspec.msgpack.Ext(arrays.CODE, content)])
    with contextlib.suppress(EventError):
        decode(raw, MSGPACK)


def test_other_extensions_stay_what_they_are() -> None:
    assert decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x")), MSGPACK) == msgspec.msgpack.Ext(5, b"x")


def test_the_convention_of_msgpack_numpy_is_read() -> None:
    made = np.arange(6, dtype="<f4").reshape(2, 3)
    old = {b"nd": True, b"type": b"<f4", b"kind": b"", b"shape": [2, 3], b"data": made.tobytes()}
    scalar = {"nd": False, "type": "<f8", "data": np.float64(1.5).tobytes()}
    found = decode(msgpack.packb({"x": [old], "s": scalar, "nd": 1}), MSGPACK)
    np.testing.assert_array_equal(found["x"][0], made)
    assert (found["s"], found["nd"]) == (1.5, 1)
    with pytest.raises(EventError):
        decode(msgpack.packb({b"nd": True, b"type": b"|O", b"shape": [1], b"data": bytes(8)}), MSGPACK)


def test_without_numpy_an_array_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = to_msgpack(np.arange(3))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(EventError, match="does not have numpy"):
        decode(raw, MSGPACK)


# Other people's types


FRAME = pd.DataFrame(
    {
        "n": [1.5, None],
        "s": ["x", None],
        "t": pd.Series([pd.Timestamp("2020-01-01"), pd.NaT]),
        "c": pd.Categorical(["u", "v"]),
    }
)


def test_a_frame_as_json_is_a_list_of_records() -> None:
    first = {"n": 1.5, "s": "x", "t": "2020-01-01T00:00:00", "c": "u"}
    assert decode(to_json(FRAME), "application/json") == [first, {"n": None, "s": None, "t": None, "c": "v"}]


def test_a_frame_as_msgpack_is_its_columns() -> None:
    found = decode(to_msgpack(FRAME), MSGPACK)
    np.testing.assert_array_equal(found["n"], [1.5, np.nan])
    assert found["t"].dtype.kind == "M"
    assert found["c"] == ["u", "v"]
    assert found["s"] == ["x", None]
    assert decode(to_msgpack(pd.DataFrame({1: [2]})), MSGPACK)["1"].tolist() == [2]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (Text("x"), "x"),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2020-01-01", tz="UTC"), "2020-01-01T00:00:00+00:00"),
        (datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00Z"),
        ({1, 2}, [1, 2]),
        ((1, 2), [1, 2]),
        (pd.Index([1, 2]), [1, 2]),
        (pd.Series(["a", None]), ["a", None]),
    ],
)
def test_scalars_and_series(value: Any, plain: Any) -> None:
    assert decode(to_json({"x": value}), "application/json") == {"x": plain}
    packed = decode(to_msgpack({"x": value}), MSGPACK)["x"]
    if isinstance(packed, datetime):
        packed = decode(to_json(packed), "application/json").replace("+00:00", "Z")
        plain = plain.replace("+00:00", "Z")
    assert (packed.tolist() if isinstance(packed, np.ndarray) else packed) == plain


def test_a_cloudevent_inside_an_answer_is_its_json_format() -> None:
    event = CloudEvent({"type": "t", "source": "/s", "id": "1"}, {"a": 1})
    for found in (
        decode(to_json([event]), "application/json"),
        decode(to_msgpack([event]), MSGPACK),
    ):
        assert (found[0]["type"], found[0]["data"]) == ("t", {"a": 1})


def test_models_and_whatever_gives_an_array_are_written() -> None:
    class Model:
        def model_dump(self, mode: str) -> Any:
            return {"mode": mode}

    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(3)

    assert decode(to_json([Model(), Tensor()]), "application/json") == [{"mode": "json"}, [0, 1, 2]]
    found = decode(to_msgpack([Model(), Tensor()]), MSGPACK)
    assert (found[0], found[1].tolist()) == ({"mode": "json"}, [0, 1, 2])


@pytest.mark.parametrize(
    "value", [object(), 1j, np.complex64(1), np.longdouble(1), iter([]), {(1, 2): 3}, pd.Interval(0, 1)]
)
@pytest.mark.parametrize("write", [to_json, to_msgpack])
def test_what_has_no_form_is_a_type_error_that_names_the_type(value: Any, write: Any) -> None:
    if write is to_msgpack and isinstance(value, dict):
        return
    with pytest.raises(TypeError, match=r"a handler's answer holds .*, which cannot be written as JSON or msgpack"):
        write({"x": value})


def test_nan_is_null_in_json() -> None:
    assert to_json([math.nan, math.inf]) == b"[null,null]"


# Content types


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("application/json", (Kind.JSON, "utf-8")),
        (" Application/JSON ; charset=UTF8", (Kind.JSON, "utf-8")),
        ("text/json", (Kind.JSON, "utf-8")),
        ("application/problem+json", (Kind.JSON, "utf-8")),
        ("application/vnd.msgpack", (Kind.MSGPACK, "")),
        ("application/x+msgpack", (Kind.MSGPACK, "")),
        ("text/html; q=1; charset='x'", (Kind.TEXT, "'x'")),
        ('text/html; charset="latin-1"', (Kind.TEXT, "latin-1")),
        ("application/jsonx", (Kind.BYTES, "")),
        ("", (Kind.BYTES, "")),
    ],
)
def test_what_a_content_type_means(content_type: str, found: Any) -> None:
    assert kind(content_type) == found


@pytest.mark.parametrize(
    ("accept", "content_type", "wanted"),
    [
        (None, None, False),
        (None, "application/msgpack", True),
        ("*/*", "application/msgpack", True),
        ("application/json", "application/msgpack", False),
        ("application/msgpack", "application/json", True),
        ("application/msgpack;q=0.5, application/json", None, False),
        ("application/*;q=0.5, application/x-msgpack", None, True),
        ("application/msgpack;q=0, */*", "application/msgpack", False),
        ("application/msgpack;q=x, */*;q=0.1", None, False),
    ],
)
def test_accept_decides_then_the_question(accept: str | None, content_type: str | None, wanted: bool) -> None:
    assert wants_msgpack(accept, content_type) is wanted


@given(
    st.binary(min_size=1, max_size=100),
    st.sampled_from(["application/json", MSGPACK, "text/plain", "text/x; charset=utf-7"]),
)
def test_any_bytes_parse_or_are_the_senders_error(raw: bytes, content_type: str) -> None:
    with contextlib.suppress(EventError):
        decode(raw, content_type)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_-\x00é", max_size=12))
def test_any_character_set_is_known_or_the_senders_error(charset: str) -> None:
    with contextlib.suppress(EventError):
        decode(b"x", f"text/plain; charset={charset}")
