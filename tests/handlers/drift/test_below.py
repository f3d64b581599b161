"""Counting by comparisons gives what sorting gives, whatever the numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import drift
from trimtab.handlers.drift import below as module
from trimtab.handlers.drift.below import below, on_float32
from trimtab.handlers.drift.column import Numeric
from trimtab.sketches.fit import edges as placed

LARGEST = float(np.finfo(np.float32).max)
ODD = st.sampled_from([
    0.0, -0.0, 1.0, np.inf, -np.inf, 1e308, -1e308, 5e-324, -5e-324, 1 + 2**-52, LARGEST, -LARGEST, 2.0**128 - 2.0**103,
    3.4028236e38, -3.4028236e38, 2.0**-150, -(2.0**-150), 2.0**-149, 1e-46, 16777217.0, 0.1, float(np.float32(0.1)),
])  # fmt: skip
NUMBERS = ODD | st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False) | st.integers(-5, 5).map(float)
VALUES = st.lists(NUMBERS | st.just(np.nan), max_size=60).map(lambda values: np.array(values, dtype=np.float64))
EDGES = st.lists(NUMBERS, max_size=20)


def made(values: Any, edges: list[float], own: bool) -> Any:
    return np.unique(np.array([*edges, *(values[~np.isnan(values)].tolist() if own else [])], dtype=np.float64))


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=600)
@given(values=VALUES, edges=EDGES, own=st.booleans())
def test_values_below_edges_are_counted_as_sorting_counts_them(values: Any, edges: list[float], own: bool) -> None:
    at = made(values, edges, own)
    assert below(values, at).tolist() == np.sort(values[~np.isnan(values)]).searchsorted(at).tolist()


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=600)
@given(values=VALUES, edges=EDGES, own=st.booleans())
def test_moved_edges_part_the_reference_as_before_and_every_value_as_they_say(
    values: Any, edges: list[float], own: bool
) -> None:
    at, ordered = made(values, edges, own), np.sort(values[~np.isnan(values)])
    moved = on_float32(at, ordered)
    assert ordered.searchsorted(moved).tolist() == ordered.searchsorted(at).tolist()
    assert below(values, moved).tolist() == [np.count_nonzero(values < edge) for edge in moved]
    assert (moved[1:] > moved[:-1]).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda choice: choice.normal(size=20_000),
        lambda choice: np.exp(3 * choice.normal(size=20_000)),
        lambda choice: choice.standard_cauchy(size=20_000),
        lambda choice: choice.integers(0, 1000, size=20_000).astype(float),
        lambda choice: choice.normal(size=20_000).astype(np.float32).astype(float),
    ],
)
def test_edges_of_common_columns_are_all_where_float32_decides(draw: Any) -> None:
    values = draw(np.random.default_rng(0))
    edges = Numeric("a", values).edges(16)
    assert len(edges) == 17
    assert (np.nextafter(edges, -np.inf).astype(np.float32) < edges.astype(np.float32)).all()


def test_a_value_with_a_bin_of_its_own_keeps_it_to_the_last_bit() -> None:
    values = np.concatenate((np.full(500, 0.1), np.random.default_rng(0).normal(size=500)))
    edges = Numeric("a", values).edges(16)
    place = edges.tolist().index(0.1)
    assert edges[place + 1] == np.nextafter(0.1, 1)
    current = Numeric("a", np.array([0.1, np.nextafter(0.1, 1), np.nextafter(0.1, 0), float(np.float32(0.1))] * 10))
    assert current.counts(edges)[place + 1] == 10


def test_numbers_too_close_for_float32_are_told_apart() -> None:
    choice = np.random.default_rng(0)
    reference = Numeric("a", 1.7e9 + choice.normal(size=5000))
    edges = reference.edges(16)
    assert edges[1:-1].tolist() == placed(reference.ordered, 16)[1:-1]
    values = 1.7e9 + choice.normal(size=5000)
    assert below(values, edges).tolist() == np.sort(values).searchsorted(edges).tolist()


def test_long_columns_are_counted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)
    choice = np.random.default_rng(0)
    values, edges = choice.normal(size=1000), np.linspace(-4, 4, 9)
    assert below(values, edges).tolist() == np.sort(values).searchsorted(edges).tolist()


@pytest.mark.parametrize("method", ["default", "tvd", "js", "psi"])
def test_a_column_is_counted_without_being_sorted(method: str) -> None:
    choice = np.random.default_rng(0)
    reference, current = drift.fit(choice.normal(size=(1000, 2))), drift.fit(choice.normal(size=(1000, 2)))
    drift.detect(method, reference, current)
    assert not any("ordered" in vars(column) for column in current.numeric)


@pytest.mark.filterwarnings("error")
@given(VALUES)
def test_infinities_are_counted_on_either_side(values: Any) -> None:
    known = [int(np.count_nonzero(values == end)) for end in (-np.inf, np.inf)]
    assert list(Numeric("a", values).infinite) == known
