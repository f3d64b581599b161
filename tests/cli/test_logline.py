from __future__ import annotations

import json
import logging
from datetime import datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.logline import render
from trimtab.runtime.logs import JsonFormatter


def plain(line: str) -> str:
    return click.unstyle(render(line))


def test_a_record_is_time_revision_level_message_and_fields() -> None:
    line = json.dumps(
        {
            "time": "2026-01-31T08:00:00.123+00:00",
            "level": "warning",
            "message": "late",
            "function": "hello",
            "revision": "hello-00002",
            "event": "abc",
            "trace": "0123",
            "n": 3,
            "why": {"a": [1]},
        }
    )
    here = datetime.fromisoformat("2026-01-31T08:00:00.123+00:00").astimezone().strftime("%H:%M:%S")
    assert plain(line) == f'{here}.123 00002 WARNING late event=abc n=3 why={{"a":[1]}}'


def test_a_traceback_stands_below() -> None:
    line = '{"time": 0, "level": "error", "message": "no", "traceback": "Traceback:\\n  x\\n"}'
    assert plain(line).endswith("ERROR   no\nTraceback:\n  x")


@pytest.mark.parametrize("line", ["", "training 3", "{not json", '{"x": 1}', "[1]", '{"message"'])
def test_what_is_no_record_is_shown_as_it_is(line: str) -> None:
    assert render(line) == line


def test_what_the_runtime_writes_is_understood() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "hello %s", ("you",), None)
    record.fields = {"n": 1}
    line = JsonFormatter("hello", "hello-00001").format(record)
    assert plain(line).endswith(" 00001 INFO    hello you n=1")


@given(
    st.dictionaries(
        st.sampled_from(["time", "level", "message", "revision", "traceback", "x"]), st.integers() | st.text()
    )
)
def test_no_record_is_too_strange(record: dict[str, object]) -> None:
    render(json.dumps(record))
