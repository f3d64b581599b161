from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli import output as out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0284, "28ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1.24, "1.2s"),
        (9.96, "10s"),
        (59, "59s"),
        (119, "119s"),
        (180, "3m"),
        (7200, "2h"),
        (172800, "2d"),
    ],
)
def test_a_span_is_said_in_its_largest_unit(seconds: float, text: str) -> None:
    assert out.span(seconds) == text


def test_moments_lie_before_or_after_now() -> None:
    assert out.ago(None) == ""
    assert out.ago(100.0, now=160.0) == "60s ago"
    assert out.ago(160.0, now=100.0) == "in 60s"


def test_a_table_is_aligned_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    out.table(("NAME", "N"), [("a", 1), ("long-name", None), ("", {"x": 1})], empty="Nothing.")
    assert capsys.readouterr().out == 'NAME       N\na          1\nlong-name  -\n-          {"x":1}\n'
    out.table(("NAME",), [], empty="Nothing.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Nothing.\n")


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    out.facts((("a", 1), ("longer", None)))
    assert capsys.readouterr().out == "a       1\nlonger  -\n"


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
def test_what_is_compact_stays_on_one_line(value: object) -> None:
    text = out.compact(value)
    assert isinstance(value, str) or "\n" not in text


def test_colour_is_the_streams_own_matter_unless_it_is_forbidden() -> None:
    assert out.colour({}) is None
    assert out.colour({"NO_COLOR": "1"}) is False
    assert out.colour({"TERM": "dumb"}) is False
    assert out.colour({"NO_COLOR": ""}) is None
