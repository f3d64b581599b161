from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.sketches import Reference, Sketch
from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.sketch import priorities

RNG = np.random.default_rng(7)
REFERENCE = Reference.fit(
    {
        "x": RNG.normal(size=400),
        "zeros": np.where(RNG.random(400) < 0.6, 0.0, RNG.random(400)),
        "level": RNG.choice(["a", "b", "c"], 400).tolist(),
    },
    sample=10,
)

floats = st.one_of(
    st.floats(width=64, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1.0]),
    st.floats(-3, 3),
)
rows = st.tuples(floats, floats, st.one_of(st.sampled_from(["a", "b", "z"]), st.none(), st.text(max_size=3)))
events = st.lists(st.tuples(st.uuids(), st.lists(rows, max_size=6)), max_size=8, unique_by=lambda event: event[0])


def sketched(given: list[tuple[Any, list[Any]]]) -> Sketch:
    sketch = Sketch.empty(REFERENCE, sample=5)
    for event, found in given:
        turned = list(zip(*found, strict=True)) or [(), (), ()]
        sketch.update(
            {name: list(values) for name, values in zip(REFERENCE.names, turned, strict=True)},
            priorities=priorities(str(event), len(found)),
        )
    return sketch


def facts(sketch: Sketch) -> dict[str, Any]:
    """All that must be the same to the last bit."""
    found: dict[str, Any] = {"rows": sketch.rows, "sample": repr(sketch.reservoir.rows)}
    found["priorities"] = sketch.reservoir.priorities.tolist()
    for name, column in sketch.columns.items():
        if isinstance(column, CategoricalSketch):
            found[name] = (
                column.counts.tolist(),
                column.missing,
                column.unseen,
                list(column.kept.items()),
                column.complete,
            )
        else:
            buckets = column.buckets
            found[name] = (
                column.bins.tolist(),
                (column.missing, column.invalid, column.positive_infinite, column.negative_infinite, column.n),
                (column.min, column.max),
                (buckets.collapses, buckets.keys.tolist(), buckets.counts.tolist()),
            )
    return found


_SUBNORMAL = 1e-300
"""Below it a mean has few bits left, and is rounded to the next of them."""


def assert_moments_agree(one: Sketch, two: Sketch) -> None:
    for name, column in one.columns.items():
        other = two.columns[name]
        if isinstance(column, NumericSketch) and isinstance(other, NumericSketch) and column.n:
            scale = max(abs(column.min), abs(column.max))
            assert math.isclose(column.mean, other.mean, rel_tol=1e-9, abs_tol=max(1e-9 * scale, _SUBNORMAL))
            if math.isfinite(scale * scale * column.n * 4):
                assert math.isclose(column.m2, other.m2, rel_tol=1e-7, abs_tol=1e-9 * scale * scale * column.n)


@given(events, st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_merging_equals_one_pass_in_any_order_and_grouping(given: Any, one: int, two: int) -> None:
    first, last = sorted((one, two))
    parts = [sketched(part) for part in (given[:first], given[first:last], given[last:])]
    whole = sketched(given)
    orders = [
        parts[0].merge(parts[1]).merge(parts[2]),
        parts[0].merge(parts[1].merge(parts[2])),
        parts[2].merge(parts[0]).merge(parts[1]),
        sketched(given[::-1]),
    ]
    for merged in orders:
        assert facts(merged) == facts(whole)
        assert_moments_agree(merged, whole)


@given(events)
@settings(max_examples=100, deadline=None)
def test_bytes_bring_back_the_same_sketch(given: Any) -> None:
    sketch = sketched(given)
    read = Sketch.from_bytes(sketch.to_bytes(), REFERENCE)
    assert facts(read) == facts(sketch)
    assert read.to_bytes() == sketch.to_bytes()


@given(events)
@settings(max_examples=50, deadline=None)
def test_merging_changes_neither_side_and_an_empty_sketch_changes_nothing(given: Any) -> None:
    sketch, empty = sketched(given), sketched([])
    before = facts(sketch)
    assert facts(sketch.merge(empty)) == before == facts(empty.merge(sketch))
    assert facts(sketch) == before
    assert facts(empty) == facts(sketched([]))


def test_the_account_of_unseen_levels_is_exact_for_those_it_keeps_in_any_order() -> None:
    reference = Reference.fit({"level": ["a"] * 100})
    values = [f"new-{number % 3000}" for number in range(9000)]
    whole = Sketch.of(reference, {"level": values}, sample=0)
    turned = Sketch.of(reference, {"level": values[::-1]}, sample=0)
    split = Sketch.total(Sketch.of(reference, {"level": values[at : at + 77]}, sample=0) for at in range(0, 9000, 77))
    column = whole.columns["level"]
    assert isinstance(column, CategoricalSketch)
    assert facts(whole) == facts(turned) == facts(split)
    assert (column.unseen, len(column.kept), column.complete) == (9000, 256, False)
    assert set(column.kept.values()) == {3}
    assert abs(column.distinct - 3000) < 3000 * 0.25  # four standard errors


def test_a_level_that_many_rows_hold_is_in_the_sample() -> None:
    reference = Reference.fit({"level": ["a"] * 100})
    values = [f"rare-{number}" for number in range(20_000)]
    values[::50] = ["frequent"] * 400  # two rows of a hundred
    found = Sketch.of(reference, {"level": values}, sample=1000).sample()["level"]
    assert 5 <= found.count("frequent") <= 45


def test_the_sample_of_rows_is_uniform_whatever_the_events() -> None:
    reference = Reference.fit({"x": np.arange(100.0)})
    sketch = Sketch.empty(reference, sample=2000)
    for event in range(400):
        sketch.update({"x": np.full(50, float(event))}, priorities=priorities(f"event-{event}", 50))
    counts = np.bincount(sketch.sample()["x"].astype(int), minlength=400)
    statistic = ((counts - 5) ** 2 / 5).sum()  # chi-squared with 399 degrees of freedom
    assert 290 < statistic < 520


def test_redelivered_rows_have_the_same_priorities() -> None:
    assert priorities("a", 3).tolist() == priorities("a", 5).tolist()[:3]
    assert priorities("a", 3).tolist() != priorities("b", 3).tolist()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "these 0 bytes are no sketch: they do not begin with b'TTSK'"),
        (b"PK\x03\x04 some zip file", "these 18 bytes are no sketch: they do not begin with b'TTSK'"),
        (b"TTSK\x07" + bytes(8), "this sketch has version 7, this Trimtab knows 1. Use the Trimtab that wrote it, or a later one"),
        (b"TTSK\x01" + bytes(8), "this sketch of 13 bytes is damaged: its checksum is wrong. Take it from a copy"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_sketch_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(DataError) as caught:
        Sketch.from_bytes(data, REFERENCE)
    assert str(caught.value) == text


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_one_changed_byte_is_noticed(at: int, change: int) -> None:
    data = bytearray(sketched([("event", [(0.5, 0.0, "a")] * 6)]).to_bytes())
    data[at % len(data)] ^= change
    with pytest.raises(DataError):
        Sketch.from_bytes(bytes(data), REFERENCE)


def test_sketches_of_different_references_are_not_mixed() -> None:
    other = Reference.fit({"x": [1.0] * 20, "zeros": [0.0] * 20, "level": ["a"] * 20})
    with pytest.raises(DataError, match="sketches of different references cannot be merged: "):
        Sketch.empty(REFERENCE).merge(Sketch.empty(other))
    with pytest.raises(DataError, match="read it with the reference of its own model version"):
        Sketch.from_bytes(Sketch.empty(REFERENCE).to_bytes(), other)
    with pytest.raises(DataError, match="there is no sketch to add up"):
        Sketch.total([])


def test_the_state_does_not_grow_with_the_traffic() -> None:
    reference = Reference.fit({f"c{number}": RNG.normal(size=5000) for number in range(10)})
    sketch = Sketch.empty(reference, sample=100)
    sizes = []
    for _ in range(8):
        sketch.update({name: RNG.normal(size=20_000) for name in reference.names})
        sizes.append(len(sketch.to_bytes()))
    assert sizes[-1] < sizes[1] * 1.15


def test_the_smaller_of_two_samples_sets_the_size_of_both() -> None:
    given = {"x": list(np.arange(50.0)), "zeros": [0.0] * 50, "level": ["a"] * 50}
    sketches = [Sketch.empty(REFERENCE, sample=size) for size in (5, 20, 0)]
    for number, sketch in enumerate(sketches):
        sketch.update(given, priorities=priorities(str(number), 50))
    small = Sketch.empty(REFERENCE, sample=5)
    for number in (0, 1):
        small.update(given, priorities=priorities(str(number), 50))
    assert sketches[0].merge(sketches[1]).reservoir.rows == small.reservoir.rows
    assert sketches[1].merge(sketches[0]).reservoir.rows == small.reservoir.rows
    assert sketches[1].merge(sketches[2]).reservoir.rows == []
