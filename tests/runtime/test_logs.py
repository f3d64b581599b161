"""One JSON line a record, whatever is logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from trimtab.events import make
from trimtab.runtime.context import CURRENT, Logger
from trimtab.runtime.event import Event
from trimtab.runtime.logs import JsonFormatter


def line(message: Any, /, *arguments: Any, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("x", logging.INFO, "file.py", 1, message, arguments, more.pop("exc_info", None))
    if more:
        record.__dict__["fields"] = more
    text = JsonFormatter("shop", "shop-00001").format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_says_when_what_and_who() -> None:
    found = line("hello %s", "world")
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found == {"level": "info", "message": "hello world", "function": "shop", "revision": "shop-00001"}


def test_inside_a_call_a_line_names_its_event_and_trace() -> None:
    event = Event.of({"headers": []}, b"", None, make("t", "/s", id="7"))

    async def scene() -> dict[str, Any]:
        CURRENT.set(event)
        return line("x")

    found = asyncio.run(scene())
    assert (found["event"], found["trace"]) == ("7", event.trace.trace_id)
    assert "event" not in line("x")


def test_fields_are_added_and_do_not_win_over_reserved_names() -> None:
    found = line("x", message="not this", customer=5, nested={"a": [1]})
    assert (found["message"], found["customer"], found["nested"]) == ("x", 5, {"a": [1]})


def test_an_exception_brings_its_traceback() -> None:
    try:
        int("why")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in found["traceback"]
    assert "Traceback" in found["traceback"]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        ("surrogate \udc80", (), "surrogate \\udc80"),
        ("%d apples", ("many",), "%d apples ('many',)"),
        ("too many", (1, 2), "too many (1, 2)"),
        ("%s", (Broken(),), "%s (tuple that cannot be shown)"),
        ({"a": 1}, (), "{'a': 1}"),
    ],
)
def test_a_record_that_cannot_be_written_as_it_is_is_not_lost(message: Any, arguments: Any, shown: str) -> None:
    assert line(message, *arguments)["message"] == shown


def test_fields_that_cannot_be_written_are_not_lost() -> None:
    found = line("x", odd=object, broken=Broken(), keys={(1, 2): 3}, number=1)
    assert (found["message"], found["number"]) == ("x", "1")
    assert found["broken"] == "(Broken that cannot be shown)"
    assert line("x", value={1, 2}, when=datetime(2020, 1, 1))["when"] == "2020-01-01T00:00:00"


# Nuclio's logger


def test_nuclios_methods(logged: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    logger = Logger()
    logger.info("plain %s", "text")
    logger.info("joined", 1, "two")  # noqa: PLE1205 - as Nuclio allows it
    logger.info("50%")
    logger.debug_with("fields", a=1)
    logger.warn_with("fields %d", 2, a=1)
    logger.warning("w")
    logger.error("e")
    logger.error_with("e", code=3)
    assert [(found["level"], found["message"], found.get("a") or found.get("code")) for found in logged] == [
        ("info", "plain text", None),
        ("info", "joined 1 two", None),
        ("info", "50%", None),
        ("debug", "fields", 1),
        ("warning", "fields 2", 1),
        ("warning", "w", None),
        ("error", "e", None),
        ("error", "e", 3),
    ]


def test_bound_fields_are_in_every_record(logged: list[dict[str, Any]]) -> None:
    logger = Logger()
    logger.bind(customer=5)
    logger.error("x")
    with contextlib.suppress(ZeroDivisionError):
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("y")
            raise
    assert [found["customer"] for found in logged] == [5, 5]
    assert "ZeroDivisionError" in logged[1]["traceback"]


def test_a_process_writes_everything_to_standard_output_from_its_level_on() -> None:
    code = """
import logging, warnings
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.logs import configure
configure(ReplicaConfig(function="shop", log_level="warning"))
logging.getLogger("own").info("quiet")
logging.getLogger("own").warning("loud")
warnings.warn("old", DeprecationWarning)
"""
    run = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(text) for text in run.stdout.splitlines()]
    assert [found["message"].partition("\n")[0][-4:] for found in lines] == ["loud", " old"]
    assert run.stderr == ""
