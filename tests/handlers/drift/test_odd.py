"""Whatever the numbers are, an answer is a verdict with a p-value or no verdict with a reason; never a NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import drift
from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.report import report
from trimtab.sketches import Reference, Sketch

UNIVARIATE = ["default", "ks", "cvm", "tvd", "hellinger", "kld", "js", "psi", "wasserstein", "tabular"]
ODD = st.sampled_from([0.0, -0.0, 1.0, 2.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1 + 2**-52])
COLUMN = st.lists(ODD | st.floats(), min_size=0, max_size=60).map(lambda values: np.array(values, dtype=float))


def sound(result: drift.Result) -> None:
    every: list[drift.Result | drift.FeatureResult] = [result, *result.per_feature.values()]
    for one in every:
        for value in (one.p_value, one.statistic, one.threshold):
            assert value is None or not math.isnan(value)
        assert one.p_value is None or 0 <= one.p_value <= 1
        assert (one.drifted is None) == (one.state == "unknown")
        if one.drifted is None:
            assert one.message
        else:
            assert one.p_value is not None


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=60)
@given(reference=COLUMN, current=COLUMN, method=st.sampled_from(UNIVARIATE))
def test_any_numbers_get_a_sound_answer(reference: Any, current: Any, method: str) -> None:
    result = drift.detect(method, {"a": reference}, {"a": current}, min_rows=2)
    sound(result)
    written = report({"a": reference}, {"a": current}, result)
    assert b"NaN" not in written.to_json()


@settings(deadline=None, max_examples=40)
@given(reference=COLUMN, current=COLUMN, method=st.sampled_from(["default", "ks", "tvd", "psi", "wasserstein"]))
def test_any_sketch_gets_a_sound_answer(reference: Any, current: Any, method: str) -> None:
    fitted = Reference.fit({"a": reference})
    sound(drift.detect(method, fitted, Sketch.of(fitted, {"a": current}), min_rows=2))


@settings(deadline=None, max_examples=40)
@given(
    reference=st.lists(st.sampled_from(["a", "b", "", None, "ü", 3, True]), max_size=50),
    current=st.lists(st.sampled_from(["a", "b", "", None, "ü", 3, True, "new"]), max_size=50),
    method=st.sampled_from(["default", "chi2", "tabular", "tvd", "js", "psi"]),
)
def test_any_levels_get_a_sound_answer(reference: list[Any], current: list[Any], method: str) -> None:
    table = {"a": np.array([*reference, "z"], dtype=object)}
    result = drift.detect(method, table, {"a": np.array([*current, "z"], dtype=object)}, min_rows=2)
    sound(result)


def test_a_reference_without_values_is_left_without_a_verdict_or_found_to_have_got_some() -> None:
    empty, full = {"a": np.full(100, np.nan)}, {"a": np.arange(100.0)}
    assert drift.detect("ks", empty, full).drifted is None
    result = drift.detect("default", empty, full)
    assert result.drifted is True
    assert result.per_feature["a"].message == "missing: 100.00% in the reference, 0.00% in current"
    assert drift.detect("default", empty, empty).per_feature["a"].state == "none"


def test_pandas_own_types_are_read() -> None:
    table = pd.DataFrame(
        {
            "whole": pd.array([1, 2, None, 4] * 20, dtype="Int64"),
            "flag": pd.array([True, False, None, True] * 20, dtype="boolean"),
            "text": pd.array(["a", "b", None, "c"] * 20, dtype="string"),
            "kind": pd.Categorical(["x", "y", None, "x"] * 20, categories=["x", "y", "unused"]),
            "narrow": np.array([0.1, 0.2, np.nan, 0.4] * 20, dtype=np.float32),
            "day": pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02", None, "2026-01-03"] * 20), utc=True),
        }
    )
    result = drift.detect("tabular", table, table)
    assert (result.drifted, result.p_value, len(result.per_feature)) == (False, 1.0, 6)
    assert {name: one.missing_current for name, one in result.per_feature.items() if one.missing_current} == {
        "whole": 20,
        "narrow": 20,
        "day": 20,
    }


def test_a_sketch_has_no_values_and_says_which_methods_need_none() -> None:
    reference = Reference.fit({"a": np.arange(100.0)})
    with pytest.raises(DataError, match=r"^column 'a' is a sketch, and this method needs the values; sketches can be"):
        drift.detect("cvm", reference, reference.sketch())
    other = Reference.fit({"a": np.arange(50.0)})
    with pytest.raises(DataError, match=r"^the sketches are of different references, so that their bins differ"):
        drift.detect("ks", reference, other.sketch())
    with pytest.raises(DataError, match=r"^current: a fitted frame cannot be compared with a sketch; give the table"):
        drift.detect("ks", reference, drift.fit({"a": np.arange(9.0)}))


@pytest.mark.parametrize("method", ["tabular", "ks", "cvm", "tvd", "psi", "wasserstein"])
def test_missing_values_never_read_as_no_drift(method: str) -> None:
    choice = np.random.default_rng(11)
    before = pd.DataFrame({"a": choice.normal(size=500), "b": choice.normal(size=500)})
    now = pd.DataFrame({"a": choice.normal(size=500), "b": choice.normal(size=500)})
    half = now.copy()
    half.loc[:249, "b"] = np.nan
    assert (
        "missing values left out: 0.00% in the reference, 50.00% in current"
        in drift.detect(method, before, half).message
    )
    gone = drift.detect(method, before, now.assign(b=np.nan))
    assert (gone.drifted, gone.state) == (None, "unknown")
    assert "no verdict for 1 of 2 features: 'b': not enough data: 0 values in current" in gone.message
    assert drift.detect(method, before, now.assign(a=now["a"] + 3, b=np.nan)).drifted is True


@pytest.mark.parametrize(("method", "wrong"), [("ks", {"min_rows": -5}), ("default", {"bins": -1})])
def test_parameters_that_make_no_sense_are_refused(method: str, wrong: dict[str, Any]) -> None:
    rows = np.random.default_rng(1).normal(size=(100, 2))
    with pytest.raises(SpecError, match=rf"{method}\.{next(iter(wrong))}: found -"):
        drift.detect(method, rows, rows, **wrong)
