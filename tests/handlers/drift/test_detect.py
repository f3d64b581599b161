from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trimtab import drift
from trimtab.errors import DataError, SpecError

NUMBERS = np.random.default_rng(1).normal(size=(300, 2))


def test_an_unknown_method_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(SpecError, match=r"^method: found 'kss', allowed: .*\bks\b"):
        drift.detect("kss", NUMBERS, NUMBERS)


def test_an_unknown_parameter_is_answered_with_those_that_the_method_takes() -> None:
    with pytest.raises(SpecError, match=r"^ks\.aplha: found 0\.1, allowed: the parameters alpha, min_rows$"):
        drift.detect("ks", NUMBERS, NUMBERS, aplha=0.1)


def test_both_ways_of_importing_give_the_same_module_and_cost_no_heavy_library() -> None:
    code = (
        "import sys, trimtab.drift; from trimtab import drift; assert drift is trimtab.drift;"
        "print([name for name in ('scipy', 'pandas', 'sklearn', 'torch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", drift.METHODS)
def test_every_method_of_the_table_is_there_and_is_documented(name: str) -> None:
    assert "\n" in str(drift.method(name).__doc__)


@pytest.mark.parametrize(
    ("reference", "current", "text"),
    [
        ("words", [1], r"^reference: found a str, allowed: a DataFrame, an array, a list of rows or of numbers, "),
        ([[1, 2], [3]], [1], r"^reference: its rows differ in length; every row needs a value, or None, for each column$"),
        ([[1, 2]], [[1, 2, 3]], r"^current: found 2 names for an array of 3 columns"),
        (np.zeros((2, 2, 2)), [1], r"^reference: found 3 dimensions, allowed: 1 \(one column\) or 2 \(rows x columns\)$"),
        ({"a": [1, 2], "b": [1]}, [1], r"^reference: the columns differ in length: "),
        ({}, {"a": [1]}, r"^reference has no columns: there is nothing to compare$"),
        ({"a": [1], "b": [2]}, {"a": [1], "c": [1]}, r"^current has no column 'b', which the reference has; it has 'a', 'c'"),
        ({"a": [1.5]}, {"a": ["2", "x", None]}, r"^current: column 'a' is numeric in the reference, and 1 of its 3 values here are no numbers, such as 'x'; convert"),
        ({"a": ["x"]}, {"a": ["x"]}, r"^ks compares numbers, and column 'a' holds levels \(object\); use 'tabular' or 'chi2'"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_compared_is_refused_with_what_to_do(reference: Any, current: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        drift.detect("ks", reference, current)


def test_two_columns_of_one_name_are_refused() -> None:
    table = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
    with pytest.raises(DataError, match=r"^reference: two columns are named 'a'; give every column a name of its own$"):
        drift.detect("ks", table, table)


def test_a_column_that_only_the_current_data_has_is_left_out_and_named() -> None:
    current = pd.DataFrame(NUMBERS, columns=["a", "b"]).assign(extra="x")
    result = drift.detect("ks", pd.DataFrame(NUMBERS, columns=["a", "b"]), current)
    assert result.drifted is False
    assert result.message == "left out, as the reference has no such column: 'extra'"


def test_columns_choose_what_is_compared() -> None:
    reference = pd.DataFrame(NUMBERS, columns=["a", "b"]).assign(word="x")
    assert list(drift.detect("ks", reference, reference, columns=["b"]).per_feature) == ["b"]
    with pytest.raises(DataError, match=r"^reference has no column 'c'; it has 'a', 'b', 'word'$"):
        drift.detect("ks", reference, reference, columns=["c"])


@pytest.mark.parametrize("rows", [0, 1])
def test_zero_rows_and_one_row_are_not_enough_for_a_verdict(rows: int) -> None:
    for result in (drift.detect("ks", NUMBERS, NUMBERS[:rows]), drift.detect("ks", NUMBERS[:rows], NUMBERS)):
        assert result.drifted is None
        assert result.state == "unknown"
        assert f"not enough data: {rows} values in" in result.message
        assert "30 are needed (min_rows)" in result.message


def test_a_column_without_a_single_value_is_no_verdict_and_never_no_drift() -> None:
    current = pd.DataFrame({"a": NUMBERS[:, 0], "b": [None] * 300})
    result = drift.detect("ks", pd.DataFrame(NUMBERS, columns=["a", "b"]), current)
    assert result.per_feature["b"].drifted is None
    assert result.message.startswith(
        "no verdict for 1 of 2 features: 'b': not enough data: 0 values in current, 30 are"
    )
    assert result.message.endswith("300 are missing")


def test_missing_values_are_left_out_and_counted_and_infinities_take_part() -> None:
    current = NUMBERS[:, 0].copy()
    current[:10] = np.nan
    current[10:200] = np.inf
    feature = drift.detect("ks", NUMBERS[:, 0], current).per_feature["f0"]
    assert (feature.n_current, feature.missing_current, feature.drifted) == (290, 10, True)


def test_constant_columns_agree_when_they_are_the_same_constant() -> None:
    assert drift.detect("ks", np.ones(99), np.ones(99)).p_value == 1.0
    assert drift.detect("ks", np.ones(99), np.zeros(99)).drifted is True


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        lambda rows: rows.tolist(),
        lambda rows: {"f0": rows[:, 0], "f1": rows[:, 1].tolist()},
        lambda rows: pd.DataFrame(rows, columns=["f0", "f1"]),
        lambda rows: pd.DataFrame(rows, columns=["f0", "f1"]).astype("Float64"),
        lambda rows: pd.DataFrame(rows, columns=["f0", "f1"]).astype(object),
        drift.fit,
    ],
)
def test_every_shape_of_table_gives_the_same_answer(make: Any) -> None:
    assert drift.detect("ks", make(NUMBERS), make(NUMBERS + 1)) == drift.detect("ks", NUMBERS, NUMBERS + 1)


def test_the_references_kinds_decide_how_the_current_data_is_read() -> None:
    assert drift.detect("ks", {"a": [1, 2, 3]}, {"a": ["1", "2.0", 3]}).per_feature["a"].statistic == 0.0
    assert drift.detect("chi2", {"a": ["1", "2"]}, {"a": [1, 2.0]}).per_feature["a"].statistic == 0.0
    assert drift.detect("chi2", {"a": np.array([True, False])}, {"a": [1, 0]}).per_feature["a"].statistic == 0.0


def test_dates_are_compared_as_numbers() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=100))
    assert drift.detect("ks", {"a": days}, {"a": days + pd.Timedelta(days=50)}).per_feature["a"].statistic == 0.5


def test_too_many_numbers_are_no_levels() -> None:
    text = r"^column 'f0' has 300 different numbers, too many to be levels \(at most 256\); compare it with 'ks'"
    with pytest.raises(DataError, match=text):
        drift.detect("chi2", NUMBERS, NUMBERS)
