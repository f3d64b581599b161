"""What stands on a command line becomes what a job's handler asks for."""

from __future__ import annotations

import enum
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.runtime.parameters import bind, convert, takes_context

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "annotation", "value"),
    [
        ("5", int, 5),
        ("5", float, 5.0),
        ("1e3", float, 1000.0),
        (5, float, 5.0),
        ("true", bool, True),
        ("0", bool, False),
        ("text", str, "text"),
        ("5", str, "5"),
        ("5", Any, "5"),
        ("[1, 2]", list[int], [1, 2]),
        ('["1"]', list[int], [1]),
        ('{"a": 1}', dict, {"a": 1}),
        ("[1]", list, [1]),
        ("5", int | None, 5),
        ("null", int | None, None),
        ("null", str | None, "null"),
        ("red", Colour, Colour.RED),
        ("2020-01-01", date, date(2020, 1, 1)),
        ("x", Literal["x", "y"], "x"),
        ("/data", Path, Path("/data")),
        ("/data", Path | None, Path("/data")),
        (Path("/data"), Path, Path("/data")),
        (Path("/data"), str, "/data"),
        (Path("/data"), Any, Path("/data")),
        ("/data", pd.DataFrame, "/data"),
        (Path("/data"), pd.DataFrame, Path("/data")),
        ([1, 2], tuple[int, ...], (1, 2)),
    ],
)
def test_a_value_becomes_what_the_annotation_says(given: Any, annotation: Any, value: Any) -> None:
    found = convert("p", given, annotation)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "annotation", "allowed"),
    [
        ("five", int, "a value of type int"),
        ("1.5", int, "a value of type int"),
        ("yes", bool, "a value of type bool"),
        ("1,2", list[int], "a value of type list"),
        (3, str, "a value of type str"),
        ("z", Literal["x", "y"], "Literal"),
    ],
)
def test_what_does_not_fit_is_refused(given: Any, annotation: Any, allowed: str) -> None:
    with pytest.raises(SpecError, match=r"parameter p: found .*, allowed: ") as caught:
        convert("p", given, annotation)
    assert allowed in str(caught.value)


@given(st.text(), st.sampled_from([int, float, bool, list[int], dict[str, int], date, Path, int | None, Colour]))
def test_any_text_is_converted_or_refused(text: str, annotation: Any) -> None:
    try:
        convert("p", text, annotation)
    except SpecError as exc:
        assert exc.path == "parameter p"  # noqa: PT017 - either way is well


def train(context: Any, rows: int, rate: float = 0.5, *, deep: bool = False) -> None: ...
def without(rows: int) -> None: ...
def anything(ctx: Any, **more: Any) -> None: ...
def nothing() -> None: ...
def named(run: RunContext) -> None: ...
def keyword(*, context: int) -> None: ...
def unresolvable(context: Any, frame: Unknown) -> None: ...


class RunContext: ...


@pytest.mark.parametrize(
    ("function", "wanted"),
    [(train, True), (anything, True), (named, True), (without, False), (nothing, False), (keyword, False)],
)
def test_a_context_is_told_by_name_or_annotation(function: Any, wanted: bool) -> None:
    assert takes_context(function) is wanted


def test_parameters_are_bound_by_name() -> None:
    assert bind(train, {"rows": "5", "deep": "true"}) == {"rows": 5, "deep": True}
    assert bind(without, {"rows": 5}) == {"rows": 5}
    assert bind(anything, {"x": "1"}) == {"x": "1"}
    assert bind(nothing, {}) == {}
    assert bind(unresolvable, {"frame": "x"}) == {"frame": "x"}


def test_parameters_that_are_unknown_or_missing_are_refused() -> None:
    with pytest.raises(SpecError, match="parameter row: found '5', allowed: one of deep, rate, rows"):
        bind(train, {"row": "5"})
    with pytest.raises(
        SpecError, match=r"parameter rows: found nothing, allowed: a value: it has no default. Give -p name=value"
    ):
        bind(train, {})
    with pytest.raises(SpecError, match="one of no parameters"):
        bind(nothing, {"x": 1})
    with pytest.raises(SpecError, match="parameter context"):
        bind(train, {"rows": 1, "context": 2})
