"""Tensors: every datatype in and out, in JSON and binary, and each thing that does not fit refused by name."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trimtab.errors import PermanentError
from trimtab.handlers.serving import tensors
from trimtab.handlers.serving.tensors import DTYPES, Tensor
from trimtab.runtime.codec import to_json


def back(name: str, said: dict[str, Any], content: bytes) -> Any:
    """Read an output as the input of another server."""
    said = json.loads(to_json(said))
    tensor = Tensor(name, said["shape"], said["datatype"], said.get("parameters"), said.get("data"))
    return tensors.read(tensor, memoryview(content) if "parameters" in said else None)


@given(
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: arrays(np.dtype(DTYPES[name]), array_shapes(max_dims=3, max_side=4))
    ),
    st.booleans(),
)
def test_an_array_of_any_datatype_comes_back(array: Any, binary: bool) -> None:
    said, content = tensors.write("x", array, binary=binary)
    found = back("x", said, content)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.text(), max_size=5), st.booleans())
def test_texts_come_back(texts: list[str], binary: bool) -> None:
    said, content = tensors.write("x", np.array(texts, dtype=object), binary=binary)
    assert said["datatype"] == "BYTES"
    assert back("x", said, content).tolist() == texts


def test_bytes_that_are_no_text_come_back_in_binary() -> None:
    array = np.empty(2, dtype=object)
    array[:] = [b"\xff\xfe", "text"]
    said, content = tensors.write("x", array, binary=True)
    assert back("x", said, content).tolist() == [b"\xff\xfe", "text"]


def test_nan_and_infinities_have_their_form_in_json() -> None:
    said, _ = tensors.write("x", np.array([1.0, math.nan, math.inf, -math.inf]), binary=False)
    assert json.loads(to_json(said))["data"] == [1.0, None, "Infinity", "-Infinity"]


@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.arange(3, dtype=">i4"), "INT32"),
        (np.array([1.0], dtype=np.longdouble), "FP64"),
        (np.array(["a", "b"]), "BYTES"),
        (np.array(["2024-01-01"], dtype="datetime64[D]"), "BYTES"),
        (np.array([{"a": 1}], dtype=object), "BYTES"),
    ],
)
def test_what_the_protocol_does_not_know_becomes_what_it_does(array: Any, datatype: str) -> None:
    assert tensors.write("x", array, binary=False)[0]["datatype"] == datatype


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor("x", [1], "FLOAT", None, [1]), "input 'x': datatype: found 'FLOAT', allowed: BYTES, BOOL"),
        (Tensor("x", [2], "FP32", None, [1]), "input 'x': found 1 elements, allowed: 2, as the shape [2] says"),
        (Tensor("x", [-1], "FP32", None, [1]), "input 'x': shape: found [-1], allowed: lengths of 0 and more"),
        (
            Tensor("x", [2], "FP32", None, [1, "a"]),
            "input 'x': element 1: found 'a', allowed: a value of datatype FP32",
        ),
        (Tensor("x", [1], "INT32", None, [1.5]), "input 'x': element 0: found 1.5, allowed: a value of datatype INT32"),
        (Tensor("x", [1], "INT8", None, [300]), "input 'x': a value: found 300, allowed: -128 to 127"),
        (Tensor("x", [1], "UINT8", None, [-1]), "input 'x': a value: found -1, allowed: 0 to 255"),
        (Tensor("x", [1], "INT64", None, [2**70]), f"input 'x': a value: found {2**70}, allowed"),
        (Tensor("x", [1], "BOOL", None, [1]), "input 'x': element 0: found 1, allowed: a value of datatype BOOL"),
        (
            Tensor("x", [1], "FP64", None, ["1.5"]),
            "input 'x': element 0: found '1.5', allowed: a value of datatype FP64",
        ),
        (Tensor("x", [1], "BYTES", None, [1]), "input 'x': element 0: found 1, allowed: text, for datatype BYTES"),
        (Tensor("x", [1], "FP32"), "input 'x': found neither data nor a parameter binary_data_size"),
    ],
)
def test_what_does_not_fit_is_refused(tensor: Tensor, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        tensors.read(tensor)
    assert str(caught.value).startswith(message)
    assert caught.value.status == 400


def test_nested_data_and_words_for_numbers_are_read() -> None:
    found = tensors.read(Tensor("x", [2, 2], "FP64", None, [[1, 2.5], [None, "-Infinity"]]))
    assert np.array_equal(found, [[1, 2.5], [math.nan, -math.inf]], equal_nan=True)


@given(st.binary(max_size=40))
def test_binary_texts_of_garbage_are_read_or_refused(content: bytes) -> None:
    with suppress(PermanentError):
        assert tensors.read(Tensor("x", [1], "BYTES"), memoryview(content)).shape == (1,)


def test_binary_data_of_another_length_is_refused() -> None:
    with pytest.raises(PermanentError, match="found 3 bytes, allowed: a multiple of 4 for FP32"):
        tensors.read(Tensor("x", [1], "FP32"), memoryview(b"abc"))
