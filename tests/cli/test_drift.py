from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result


@pytest.fixture(name="files")
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    choice = np.random.default_rng(0)
    for name, shift in (("train", 0.0), ("today", 2.0), ("same", 0.0)):
        rows = pd.DataFrame({"size": choice.normal(shift, 1, size=500), "kind": choice.choice(["x", "z"], size=500)})
        rows.to_csv(f"{name}.csv", index=False)
    return tmp_path


def test_two_files_are_compared_feature_by_feature(cli: Callable[..., Result], files: Path) -> None:
    found = cli("drift", "run", "--reference", "train.csv", "--current", "today.csv")
    lines = found.stdout.splitlines()
    assert found.exit_code == 0
    assert lines[0].startswith("today.csv: drift (p ")
    assert lines[0].endswith(", threshold 0.05) in size")
    assert lines[1] == "500 rows against 500 by 'default'"
    assert lines[2].split() == (
        [
            "FEATURE",
            "STATE",
            "P",
            "EFFECT",
            "TVD",
            "HELLINGER",
            "KLD",
            "JS",
            "PSI",
            "W1",
            "SIDE",
            "N",
            "MISSING",
            "MEAN",
            "STD",
            "MIN",
            "MAX",
            "HISTOGRAM",
        ]
    )
    assert lines[3].split()[:2] == ["size", "detected"]
    assert lines[4].split()[:3] == ["seen", "500", "0"]
    assert lines[5].split()[:2] == ["kind", "none"]


def test_a_method_its_parameters_and_the_columns_can_be_chosen(cli: Callable[..., Result], files: Path) -> None:
    options = ("--method", "ks", "--param", "alpha=0.001", "--columns", "size", "-o", "json")
    found = json.loads(cli("drift", "run", "--reference", "train.csv", "--current", "same.csv", *options).stdout)
    assert (found["method"], found["threshold"], found["severity"]) == ("ks", 0.001, "none")
    assert [feature["name"] for feature in found["features"]] == ["size"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--method", "kss"), 5, "error: method: found 'kss', allowed: "),
        (("--param", "beta=1"), 5, "error: default.beta: found 1, allowed: the parameters bins, alpha, "),
        (("--param", "beta"), 2, "'beta' is not KEY=VALUE"),
        (("--method", "ks"), 1, "error: ks compares numbers, and column 'kind' holds levels (str)"),
        (("--columns", "none"), 1, "error: reference has no column 'none'; it has 'size', 'kind'"),
        (("--current", "none.csv"), 1, "error: none.csv: there is no such file"),
        (("--html", "/none/x.html"), 1, "error: /none/x.html cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    cli: Callable[..., Result], files: Path, options: tuple[str, ...], code: int, text: str
) -> None:
    found = cli("drift", "run", "--reference", "train.csv", "--current", "today.csv", *options)
    assert text in found.stderr
    assert found.exit_code == code


def test_reports_are_shown_later_and_as_a_page(cli: Callable[..., Result], files: Path) -> None:
    lines = [
        json.dumps(
            json.loads(cli("drift", "run", "--reference", "train.csv", "--current", f"{name}.csv", "-o", "json").stdout)
        )
        for name in ("same", "today", "today")
    ]
    (files / "reports.jsonl").write_text("\n".join(lines))
    found = cli("drift", "show", "today.csv", "--from", "reports.jsonl", "--html", "ü b.html")
    assert found.stdout.startswith("today.csv: drift (p ")
    assert found.stderr == "written: ü b.html\n"
    assert "Over time" in (files / "ü b.html").read_text("utf-8")
    assert (
        json.loads(cli("drift", "show", "same.csv", "--from", "reports.jsonl", "-o", "json").stdout)["severity"]
        == "none"
    )
    lost = cli("drift", "show", "other", "--from", "reports.jsonl")
    assert (
        lost.stderr == "error: there is no report of endpoint 'other'; there are reports of 'same.csv', 'today.csv'\n"
    )
    assert lost.exit_code == 3
