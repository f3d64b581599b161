"""The benchmarks run: the cheap ones with little effort, whose figures mean nothing and are not looked at."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import NAMES
from benchmarks.load import echo
from benchmarks.machine import facts
from benchmarks.page import missed, page, table
from benchmarks.rounds import Effort
from benchmarks.row import COLUMNS, Row
from benchmarks.server import APPS, ours, serving

LITTLE = Effort(seconds=0.1, rounds=1, count=1)


@pytest.mark.parametrize("name", ["echo", "edit", "broker", "events", "weight", "sketches"])
def test_runs_and_gives_rows_that_can_be_shown(name: str) -> None:
    rows = importlib.import_module(f"benchmarks.{name}").rows(LITTLE)
    assert rows
    assert all(row.value == row.value and len(row.cells()) == len(COLUMNS) for row in rows)


def test_every_benchmark_says_what_it_measures_and_has_rows() -> None:
    modules = [importlib.import_module(f"benchmarks.{name}") for name in NAMES]
    assert all(module.__doc__ and callable(module.rows) for module in modules)


def test_the_ratio_is_taken_round_by_round_and_judged_by_its_bound() -> None:
    row = Row(what="x", unit="ms", ours=[10, 40, 30], beside="peer", theirs=[10, 10, 20], must=1.0, of="ratio")
    assert row.ratio == 1.5
    assert row.reached is True
    slow = Row(what="x", unit="ms", ours=[100.0], must=60, bound="at most")
    assert slow.reached is False
    assert slow.cells() == ["x", "100 ms", "<= 60 ms", "", "", "MISSED"]


def test_a_figure_of_which_nothing_is_asked_is_neither_reached_nor_missed() -> None:
    row = Row(what="x", unit="ms", ours=[1.25])
    assert row.reached is None
    assert row.cells() == ["x", "1.2 ms", "", "", "", ""]


def test_the_spread_is_that_of_all_rounds_or_of_the_middle_half_of_many() -> None:
    assert Row(what="x", unit="ms", ours=[1, 2, 9]).cells()[1] == "2 ms (1-9)"
    assert Row(what="x", unit="ms", ours=[0, *[2] * 4, *[4] * 4, 99]).cells()[1] == "3 ms (2-4)"


def test_the_page_names_what_was_missed_and_why() -> None:
    rows = [
        Row(
            what="slow", unit="ms", ours=[100.0], beside="peer", theirs=[50.0], must=60, bound="at most", why="the disk"
        ),
        Row(what="fast", unit="ms", ours=[10.0], must=60, bound="at most"),
    ]
    text = page("", {"speed": ("How fast.", rows)}, {"CPU": "one", "date": "today"}, ["speed"])
    assert "1 of 2 figures are reached." in text
    assert "Missed:\n\n- **slow, beside peer**: the disk" in text
    assert (
        "## speed\n\nHow fast.\n\nMeasured today at a load average of unknown. 1 of 2 figures are reached.\n\n" in text
    )
    assert missed(rows[1:]) == []
    assert len({len(line) for line in table(rows)}) == 1


def test_a_section_is_written_and_the_others_stay() -> None:
    fast = [Row(what="fast", unit="ms", ours=[10.0], must=60, bound="at most")]
    slow = [Row(what="slow", unit="ms", ours=[100.0], must=60, bound="at most")]
    order = ["one", "two"]
    first = page("", {"two": ("Second.", slow), "gone": ("Old.", fast)}, {"date": "monday"}, [*order, "gone"])
    text = page(first, {"one": ("First.", fast)}, {"date": "tuesday"}, order)
    assert "1 of 2 figures are reached." in text
    assert text.index("## one") < text.index("Measured tuesday") < text.index("## two") < text.index("Measured monday")
    assert "## gone" not in text
    assert page(text, {"one": ("First.", fast)}, {"date": "tuesday"}, order) == text


def test_the_machine_is_described() -> None:
    found = facts()
    assert "cores" in found["CPU"]
    assert "uvicorn" in found["packages"]


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match="no such thing"),
        serving([sys.executable, "-c", "raise SystemExit('no such thing')"]),
    ):
        pass


def test_answers_that_are_not_the_question_stop_the_load(tmp_path: Path) -> None:
    handlers = tmp_path / "handlers.py"
    handlers.write_text("def handler(context, event):\n    return {'not': 'it'}\n", "utf-8")
    command = [part.replace(f"{APPS / 'handlers.py'}:echo", str(handlers)) for part in ours("echo")]
    with serving(command) as server, pytest.raises(RuntimeError, match=r"not expected.*not.*it"):
        echo(server.port, 0.1, 2)
