from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.sketches import CategoricalReference, NumericReference, Reference, Schema, Sketch
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.fit import edges
from trimtab.sketches.levels import level, texts
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.sketch import priorities

LARGEST = np.finfo(np.float64).max


def numeric(values: Any, **options: Any) -> NumericReference:
    found = Reference.fit({"x": values}, **options)["x"]
    assert isinstance(found, NumericReference)
    return found


def counted(reference: Reference, values: Any) -> NumericSketch:
    found = Sketch.of(reference, {"x": values}).columns["x"]
    assert isinstance(found, NumericSketch)
    return found


def leveled(reference: Reference, values: Any) -> CategoricalSketch:
    found = Sketch.of(reference, {"x": values}).columns["x"]
    assert isinstance(found, CategoricalSketch)
    return found


def test_a_continuous_column_has_64_bins_of_equal_share() -> None:
    found = numeric(np.random.default_rng(0).normal(size=6400))
    assert len(found.counts) == 64
    assert set(found.counts) == {100}


def test_the_largest_value_of_the_reference_is_in_the_last_bin_then_as_now() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    found = counted(Reference.fit({"x": values}), [values.max(), values.min()])
    assert (found.under, found.over) == (0, 0)
    assert found.inner[-1] == found.inner[0] == 1


@pytest.mark.parametrize(
    "values",
    [[0.0, 1.0] * 500, [0, 1, 2, 3, 4] * 200, np.clip(np.random.default_rng(0).normal(0.5, 0.5, 1000), 0, 1)],
)
def test_data_like_the_reference_falls_into_the_same_bins(values: Any) -> None:
    reference = Reference.fit({"x": values})
    column = reference["x"]
    assert isinstance(column, NumericReference)
    found = counted(reference, values)
    assert found.inner.tolist() == column.counts
    assert found.under == found.over == 0


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    rng = np.random.default_rng(0)
    found = numeric(np.where(rng.random(10_000) < 0.3, 0.0, rng.normal(size=10_000)))
    place = found.edges.index(0.0)
    assert found.edges[place + 1] == 5e-324
    assert 2800 < found.counts[place] < 3200


def test_a_frequent_value_at_either_end_of_float64_has_a_bin_of_its_own() -> None:
    values = [LARGEST] * 30 + [-LARGEST] * 30 + [0.0] * 40
    reference = Reference.fit({"x": values})
    found = counted(reference, values)
    assert sorted(found.inner[found.inner > 0].tolist()) == [30, 30, 40]
    assert found.under == found.over == 0


def test_a_small_reference_has_fewer_bins_so_that_rows_like_its_own_do_not_miss() -> None:
    assert len(numeric(np.arange(40.0)).counts) == 5
    assert len(numeric(np.arange(5.0)).counts) == 1


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=200), st.integers(1, 64))
@settings(max_examples=200, deadline=None)
def test_edges_increase_and_hold_all_values(values: list[float], bins: int) -> None:
    placed = edges(np.array(values), bins)
    assert placed == sorted(set(placed))
    found = Reference.fit({"x": np.array(values)}, bins=bins)["x"]
    assert isinstance(found, NumericReference)
    assert sum(found.counts) == found.n == len(values)
    assert np.isfinite(placed).all()


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_reference_survives_json_exactly(data: Any) -> None:
    values = data.draw(st.lists(st.floats(), min_size=1, max_size=60))
    reference = Reference.fit({"x": np.array(values), "y": [str(value) for value in values]}, sample=5)
    read = Reference.from_json(reference.to_json())
    assert read == reference
    assert read.digest == reference.digest
    assert read.sketch().to_bytes() == reference.sketch().to_bytes()


def test_the_reference_gives_its_own_sketch() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    reference = Reference.fit(pd.DataFrame({"x": values}), sample=50)
    own = reference.sketch()
    assert own.rows == reference.rows == 1000
    assert len(own.sample()["x"]) == 50
    assert set(own.sample()["x"]) <= set(values)
    column = reference["x"]
    assert isinstance(column, NumericReference)
    assert column.mean == pytest.approx(values.mean())
    assert column.std == pytest.approx(values.std(ddof=1))
    assert (column.min, column.max) == (values.min(), values.max())


def test_missing_infinite_and_invalid_values_are_counted_apart() -> None:
    reference = Reference.fit({"x": np.arange(100.0)})
    found = counted(
        reference, [1.0, None, float("nan"), float("inf"), float("-inf"), float("-inf"), "word", [1], "2.5", True]
    )
    assert (found.missing, found.positive_infinite, found.negative_infinite, found.invalid, found.n) == (2, 1, 2, 2, 3)
    assert found.rows == 10
    assert found.max == 2.5


def test_a_column_without_values_has_no_edges_and_counts_what_comes_later() -> None:
    reference = Reference.fit({"x": np.full(50, np.nan)})
    column = reference["x"]
    assert isinstance(column, NumericReference)
    assert (column.edges, column.counts, column.missing, column.mean) == ([], [], 50, None)
    found = counted(reference, [1.0, 2.0, None])
    assert (found.n, found.missing, found.over, len(found.inner)) == (2, 1, 2, 0)


def test_a_constant_column_has_one_bin_and_tells_other_values() -> None:
    reference = Reference.fit({"x": [3.0] * 20})
    found = counted(reference, [3.0, 2.999, 3.001, 3.0])
    assert (found.inner.tolist(), found.under, found.over) == ([2], 1, 1)


def test_a_table_without_rows_is_a_reference_without_bins() -> None:
    reference = Reference.fit(pd.DataFrame({"x": np.array([], dtype=float), "y": np.array([], dtype=str)}))
    assert reference.rows == 0
    sketch = Sketch.of(reference, {"x": [], "y": []})
    assert sketch.rows == 0
    assert sketch.columns["x"].rows == 0


def test_huge_values_leave_the_counts_right_and_the_spread_unknown() -> None:
    reference = Reference.fit({"x": np.arange(100.0)})
    found = counted(reference, [LARGEST, LARGEST, -LARGEST, LARGEST])
    assert (found.n, found.over, found.under) == (4, 3, 1)
    assert found.mean == pytest.approx(LARGEST / 2)
    assert found.std is None
    merged = found.merge(counted(reference, [-LARGEST]))
    assert merged.mean == pytest.approx(LARGEST / 5)


def test_denormals_are_numbers_like_others() -> None:
    reference = Reference.fit({"x": np.arange(100.0)})
    found = counted(reference, [5e-324, -5e-324, 0.0, -0.0])
    assert (found.n, found.under) == (4, 1)
    assert found.quantiles([0.0, 1.0]) == [-5e-324, 5e-324]


@given(st.lists(st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6), min_size=1, max_size=300), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_quantiles_are_as_exact_as_they_say(values: list[float], share: float) -> None:
    found = counted(Reference.fit({"x": np.arange(100.0)}), values)
    exact = sorted(values)[int(share * (len(values) - 1))]
    quantiles = found.quantiles([share])
    assert quantiles is not None
    assert abs(quantiles[0] - exact) <= abs(exact) * found.buckets.error * (1 + 1e-9)


def test_buckets_stay_bounded_over_all_of_float64() -> None:
    bits = np.random.default_rng(0).integers(0, 2**64, 200_000, dtype=np.uint64)
    values = bits.view(np.float64)
    found = counted(Reference.fit({"x": np.arange(100.0)}), values[np.isfinite(values)])
    assert len(found.buckets.keys) <= 1024
    assert found.buckets.counts.sum() == found.n
    assert found.quantiles([0.0, 1.0]) == [found.min, found.max]


def test_integers_beyond_float64_are_invalid_and_those_beyond_53_bits_are_rounded() -> None:
    reference = Reference.fit({"x": np.array([2**62, 2**62 + 1] * 20)})
    found = counted(reference, [2**62, 10**400])
    assert (found.n, found.invalid, found.inner.tolist()) == (1, 1, [1])


def test_a_value_that_was_logged_as_float32_is_the_same_from_json() -> None:
    reference = Reference.fit({"x": np.array([0.1] * 30 + [0.2] * 30, dtype=np.float32)})
    found = counted(reference, [0.1, 0.2, 0.1])
    assert sorted(found.inner.tolist()) == [0, 1, 2]


def test_dates_are_seconds_whatever_they_came_as() -> None:
    days = pd.date_range("2026-01-01", periods=100, freq="D")
    reference = Reference.fit(pd.DataFrame({"x": days}))
    assert numeric(days).min == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    zoned = Reference.fit(pd.DataFrame({"x": days.tz_localize("Europe/Berlin")}))["x"]
    assert isinstance(zoned, NumericReference)
    assert zoned.min == datetime(2025, 12, 31, 23, tzinfo=UTC).timestamp()
    moment = datetime(2026, 1, 3, tzinfo=UTC)
    same = [
        "2026-01-03",
        "2026-01-03T01:00:00+01:00",
        "2026-01-03T00:00:00Z",
        moment,
        moment.date(),
        moment.timestamp(),
    ]
    found = counted(reference, [*same, None, "yesterday"])
    assert (found.n, found.missing, found.invalid) == (6, 1, 1)
    assert found.min == found.max == moment.timestamp()
    lengths = Reference.fit(pd.DataFrame({"x": pd.to_timedelta(range(50), unit="h")}))["x"]
    assert isinstance(lengths, NumericReference)
    assert lengths.max == timedelta(hours=49).total_seconds()


def test_booleans_are_levels_and_meet_ones_and_zeros() -> None:
    reference = Reference.fit(pd.DataFrame({"x": [True, False, True, True]}))
    column = reference["x"]
    assert isinstance(column, CategoricalReference)
    assert (column.levels, column.counts) == (["False", "True"], [1, 3])
    found = leveled(reference, [True, 1, 0, 1.0, None, "yes"])
    assert (found.counts.tolist(), found.missing, found.kept) == ([1, 3], 1, {"yes": 1})


def test_whole_numbers_are_one_level_with_and_without_a_point() -> None:
    reference = Reference.fit(pd.DataFrame({"x": pd.Categorical([1, 2, 2, None])}))
    column = reference["x"]
    assert isinstance(column, CategoricalReference)
    assert (column.levels, column.counts, column.missing) == (["1", "2"], [1, 2], 1)
    assert leveled(reference, [1, 1.0, np.float32(2), "2", Decimal(2), np.int8(1)]).counts.tolist() == [3, 3]


def test_mixed_types_are_levels_by_their_text_in_any_order() -> None:
    reference = Reference.fit({"x": ["a"] * 10})
    values = [True, 1, 1.0, "1", b"a", [1, 2], {"k": 1}, None, float("nan"), pd.NaT, pd.NA, "\ud800"]
    found, turned = leveled(reference, values), leveled(reference, values[::-1])
    assert found.kept == turned.kept == {"True": 1, "1": 3, "[1, 2]": 1, "{'k': 1}": 1, "\\ud800": 1}
    assert (found.counts.tolist(), found.missing) == ([1], 4)


def test_long_levels_are_shortened_and_stay_apart() -> None:
    found = leveled(Reference.fit({"x": ["a"] * 10}), ["x" * 5000 + end for end in "aab"])
    assert sorted(found.kept.values()) == [1, 2]
    assert max(map(len, found.kept)) <= 200


def test_the_rarest_of_too_many_levels_are_counted_together() -> None:
    values = [f"level-{number:04d}" for number in range(1000)] + ["level-0999"] * 5
    column = Reference.fit({"x": values})["x"]
    assert isinstance(column, CategoricalReference)
    assert len(column.levels) == 256
    assert "level-0999" in column.levels
    assert sum(column.counts) + column.other == 1005


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        (np.array([1.0]), "numeric", "float64"),
        (np.array([1], dtype=np.uint8), "numeric", "uint8"),
        (np.array([True]), "categorical", "bool"),
        (pd.Series([1, None], dtype="Int64"), "numeric", "Int64"),
        (pd.Series([True, None], dtype="boolean"), "categorical", "boolean"),
        (pd.Series(["a"]), "categorical", "str"),
        (np.array(["a"]), "categorical", "str"),
        (pd.Series(["a"], dtype="category"), "categorical", "category"),
        (pd.Series([1, None], dtype=object), "numeric", "object"),
        (pd.Series([Decimal(1)], dtype=object), "numeric", "object"),
        (pd.Series([1, "a"], dtype=object), "categorical", "object"),
        (pd.Series([None, None], dtype=object), "numeric", "object"),
        ([1, 2.0, None], "numeric", "float64"),
        (["a", None], "categorical", "object"),
        (pd.Series([1.5], dtype="double[pyarrow]"), "numeric", "double[pyarrow]"),
        (pd.Series([1, None], dtype="int64[pyarrow]"), "numeric", "int64[pyarrow]"),
        (pd.Series([True, None], dtype="bool[pyarrow]"), "categorical", "bool[pyarrow]"),
        (pd.Series(["a", None], dtype="string[pyarrow]"), "categorical", "str"),
        (pd.Series([pd.Timestamp(0)], dtype="timestamp[us][pyarrow]"), "numeric", "timestamp[us][pyarrow]"),
        (pd.Series([pd.Period("2026-01")]), "categorical", "period[M]"),
        (pd.Series([pd.Interval(0, 1)]), "categorical", "interval[int64, right]"),
        (pd.Series([0.0, 1.0], dtype="Sparse[float64]"), "numeric", "Sparse[float64, nan]"),
    ],
)
def test_the_kind_follows_from_the_type(values: Any, kind: str, dtype: str) -> None:
    column = Schema.of({"x": values}).columns[0]
    assert (column.kind, column.dtype) == (kind, dtype)


def test_nullable_numbers_and_numbers_in_objects_are_counted_as_numbers() -> None:
    reference = Reference.fit({"x": np.arange(100.0)})
    for values in (pd.Series([1, None, 3], dtype="Int64"), pd.Series([1, None, Decimal(3)], dtype=object)):
        found = counted(reference, values)
        assert (found.n, found.missing, found.mean) == (2, 1, 2.0)


def test_predictions_and_labels_are_columns_with_a_role() -> None:
    reference = Reference.fit(np.zeros((30, 2)), predictions=["a", "b"] * 15, labels=np.arange(30))
    assert reference.names == ["f0", "f1", "prediction", "label"]
    assert [column.role for column in reference.columns] == ["input", "input", "prediction", "label"]
    assert reference.schema.names == reference.inputs == ["f0", "f1"]
    sketch = Sketch.of(reference, np.zeros((3, 2)))
    assert sketch.columns["prediction"].rows == 0
    sketch.update({"f0": [0], "f1": [1], "prediction": ["a"], "label": [2.0]})
    assert sketch.columns["prediction"].rows == sketch.columns["label"].rows == 1
    assert sketch.sample()["prediction"].count("a") == 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Reference.fit([1, 2]), "found a list, allowed: a DataFrame, a two-dimensional array, or a mapping of names to columns"),
        (lambda: Reference.fit(np.zeros(3)), "found an array of 1 dimensions, allowed: 2 (rows x columns); reshape it"),
        (lambda: Reference.fit(np.zeros((3, 2)), names=["a"]), "found 1 names for an array of 2 columns; give one for each"),
        (lambda: Reference.fit(pd.DataFrame([[1, 2]], columns=["a", "a"])), "two columns are named 'a'; give every column a name of its own"),
        (lambda: Reference.fit({"a": [1], "b": [1, 2]}), "the columns differ in length: {'a': 1, 'b': 2}; a table has the same number of values in each"),
        (lambda: Reference.fit({"a": np.array([1j])}), "column 'a' holds complex numbers; split it into its real and imaginary part"),
        (lambda: Reference.fit({"label": [1.0]}, labels=[1]), "an input is named 'label', which is kept for the model's label; rename the input"),
        (lambda: Reference.fit({"a": [1.0]}, predictions=[1, 2]), "found 2 predictions for 1 rows; give one for each"),
        (lambda: Reference.fit({"a": [1.0]}, bins=0), "found bins=0 and sample=1000, allowed: bins from 1, sample from 0"),
        (lambda: Reference.fit({"a": [1.0]}, schema=Schema.of({"b": [1]})), "found no column 'b'; the table has a"),
        (lambda: Sketch.of(Reference.fit({"a": [1.0], "b": [1.0]}), {"a": [1.0]}), "found no column 'b'; the reference's inputs are a, b"),
        (lambda: Reference.fit({"a": [1.0]})["b"], "the reference has no column 'b'; it has a"),
        (lambda: Reference(columns=[], rows=0).sketch(), "this reference holds no sketch of its data; make it by Reference.fit"),
        (lambda: Sketch.empty(Reference.fit({"a": [1.0]})).update({"a": [1.0]}, priorities=np.zeros(2, np.uint64)), "found 2 priorities for 1 rows; give one for each"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused(make: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        make()
    assert str(caught.value) == text


def test_what_is_no_reference_is_refused() -> None:
    with pytest.raises(DataError, match=r"^this is no reference of a model: .*\. Log the model again$"):
        Reference.from_json(b'{"columns": 3}')


def test_columns_that_the_reference_does_not_have_are_passed_over() -> None:
    sketch = Sketch.of(Reference.fit({"a": [1.0] * 20}), pd.DataFrame({"b": ["x"], "a": [1.0]}))
    assert list(sketch.columns) == ["a"]
    assert sketch.rows == 1


def test_the_structs_load_without_numpy() -> None:
    code = "import sys, trimtab.sketches; print([name for name in ('numpy', 'pandas', 'scipy') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import trimtab.sketches

    with pytest.raises(AttributeError, match=r"^module 'trimtab.sketches' has no attribute 'Skech'$"):
        trimtab.sketches.Skech  # noqa: B018


def test_rows_without_any_column_are_counted_all_the_same() -> None:
    reference = Reference(columns=[], rows=0)
    sketch = Sketch.empty(reference, sample=2)
    sketch.update({}, priorities=priorities("event", 3))
    assert sketch.rows == Sketch.from_bytes(sketch.to_bytes(), reference).rows == 3
    assert sketch.merge(sketch).rows == 6
    assert sketch.sample() == {}


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-2, 2)
        | st.floats(-2, 2)
        | st.text(max_size=2)
        | st.lists(st.integers())
    )
)
def test_the_texts_of_many_values_are_those_of_each(values: list[Any]) -> None:
    assert texts(values) == [level(value) for value in values]


@pytest.mark.parametrize(
    "dtype",
    [
        "double[pyarrow]",
        "int64[pyarrow]",
        "Int64",
        "Float32",
        "timestamp[us][pyarrow]",
        "datetime64[ns]",
        "datetime64[s]",
    ],
)
def test_a_column_falls_into_its_own_bins_whatever_its_type(dtype: str) -> None:
    times: Any = (
        pd.Series(pd.to_datetime(range(50), unit="s")) if dtype.startswith(("time", "date")) else pd.Series(range(50))
    )
    column = times.astype(dtype)
    reference = Reference.fit(pd.DataFrame({"x": column}))
    found = reference["x"]
    assert isinstance(found, NumericReference)
    assert (found.n, found.min, found.max) == (50, 0.0, 49.0)
    sent = [value.isoformat() for value in times] if dtype.startswith(("time", "date")) else list(range(50))
    assert counted(reference, sent).inner.tolist() == found.counts
