from __future__ import annotations

import json
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.handlers.drift import peers
from tests.handlers.drift.kernels.levels import holds, normal, p_values

from trimtab import drift
from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.kernels.lsdd import LSDD
from trimtab.handlers.drift.kernels.mmd import MMD2, linear
from trimtab.handlers.drift.kernels.null import memberships
from trimtab.handlers.drift.kernels.rbf import gaussian, median_distance
from trimtab.sketches.reference import Reference
from trimtab.sketches.sketch import Sketch

Floats = np.ndarray[Any, np.dtype[np.float64]]


def definition(x: Floats, y: Floats, width: float) -> float:
    """Gretton 2012, equation 3, term by term."""

    def k(a: Floats, b: Floats) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * width**2)))

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i, j in product(range(n), repeat=2) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i, j in product(range(m), repeat=2) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a, b in product(x, y)) / (n * m)


def test_the_statistic_is_that_of_the_paper_and_of_frouros() -> None:
    x, y = peers.rows()
    found = drift.detect("mmd", x, y, bandwidth=peers.SIGMA, scale="none", min_rows=4).statistic
    assert found == pytest.approx(definition(x, y, peers.SIGMA), rel=1e-12)
    known = json.loads(Path(peers.__file__).with_suffix(".json").read_text("utf-8"))["mmd"]["statistic"]
    assert found == pytest.approx(known, rel=1e-12)


def test_products_with_the_pooled_kernel_give_what_each_permutation_gives_when_computed_anew() -> None:
    x, y = peers.rows()
    both = np.concatenate([x, y])
    members = memberships(20, 15, 6, np.random.default_rng(0))
    found = MMD2(gaussian(both, both, [1.5]), 20)(members)
    anew = [definition(both[column == 1], both[column == 0], 1.5) for column in members.T]
    assert found == pytest.approx(anew, rel=1e-9)


def test_several_bandwidths_average_their_kernels() -> None:
    x, y = peers.rows()
    found = drift.detect("mmd", x, y, bandwidth=[0.5, 2.0], scale="none", min_rows=4).statistic
    assert found == pytest.approx((definition(x, y, 0.5) + definition(x, y, 2.0)) / 2, rel=1e-12)


def test_the_linear_statistic_averages_h_over_pairs_of_rows() -> None:
    x, y = peers.rows()
    statistic, null = linear(x, y, [1.5], np.random.default_rng(3))
    rng = np.random.default_rng(3)
    left, right = x[rng.permutation(20)[:14]], y[rng.permutation(15)[:14]]
    k = gaussian(np.concatenate([left, right]), np.concatenate([left, right]), [1.5])
    h = [k[i, i + 1] + k[14 + i, 15 + i] - k[i, 15 + i] - k[i + 1, 14 + i] for i in range(0, 14, 2)]
    assert statistic == pytest.approx(np.mean(h), rel=1e-12)
    assert 0 < null.p_value < 1


def test_the_median_heuristic_is_half_the_median_squared_distance() -> None:
    x = np.array([[0.0], [1.0], [3.0]])
    assert median_distance(x, np.random.default_rng(0)) == pytest.approx(np.sqrt(4 / 2))
    assert median_distance(np.zeros((9, 2)), np.random.default_rng(0)) == 1.0
    mostly = np.array([[0.0]] * 9 + [[3.0]])
    assert median_distance(mostly, np.random.default_rng(0)) == pytest.approx(np.sqrt(9 / 2))


@pytest.mark.parametrize("variant", ["quadratic", "block", "linear"])
def test_it_rejects_as_often_as_its_level_says_where_nothing_drifted(variant: str) -> None:
    found = p_values("mmd", 300, rows=(120, 80), make=normal(4), variant=variant, permutations=99, tail="count")
    assert holds(found, 0.05)
    assert holds(found, 0.2)


@pytest.mark.parametrize("method", ["mmd", "lsdd"])
def test_a_level_far_below_what_the_permutations_can_count_is_held_too(method: str) -> None:
    found = p_values(method, 800, rows=(100, 60), make=normal(3), permutations=50, alpha=0.001)
    assert holds(found, 0.01)
    assert np.count_nonzero(found < 0.001) <= 5
    drifted = p_values(method, 5, rows=(60, 60), make=normal(2), moved=lambda y: y + 1.5, permutations=50, alpha=1e-4)
    assert (drifted < 1e-4).all()


def test_the_spectrum_says_of_a_large_statistic_what_very_many_permutations_say() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 3)), rng.normal(size=(120, 3))
    both = np.concatenate([x, y])
    quadratic, difference = MMD2(gaussian(both, both, [1.5]), 150), LSDD(x, y, rng.normal(size=(12, 3)), 1.5, rng)
    drawn = [(quadratic.law, quadratic(memberships(150, 120, 40_000, rng))), (difference.law, difference.draw(40_000))]
    for law, null in drawn:
        for level in (0.01, 0.001):
            assert law(float(np.quantile(null, 1 - level))) == pytest.approx(level, rel=0.4)


@pytest.mark.parametrize(("variant", "rows"), [("quadratic", 150), ("block", 600), ("linear", 4000)])
def test_it_finds_a_shift_a_wider_spread_and_a_broken_correlation(variant: str, rows: int) -> None:
    def correlated(rng: np.random.Generator, count: int) -> Floats:
        return rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], count)

    for moved in (lambda y: y + 0.6, lambda y: 2.0 * y, lambda y: y * [1, -1]):
        found = p_values("mmd", 20, rows=(rows, rows), make=correlated, moved=moved, variant=variant)
        assert np.mean(found < 0.05) >= 0.9


def test_the_unit_of_a_column_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal([0.5, 0, 0], size=(80, 3))
    plain, scaled = (drift.detect("mmd", x * unit, y * unit) for unit in ([1.0, 1, 1], [1e-6, 1, 1e9]))
    assert plain.statistic == pytest.approx(scaled.statistic, rel=1e-6)
    ranked, bent = (drift.detect("mmd", f(x), f(y), scale="rank") for f in (np.asarray, np.exp))
    assert ranked.statistic == pytest.approx(bent.statistic, rel=1e-12)


def test_missing_and_infinite_values_are_drift_where_the_reference_has_none() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = np.random.default_rng(7).normal(size=(200, 3))
        spoiled[::3, 1] = bad
        assert drift.detect("mmd", x, spoiled).drifted is True
    assert drift.detect("mmd", x, np.full((200, 3), np.nan)).drifted is True
    assert drift.detect("mmd", np.full((200, 3), np.nan), np.full((200, 3), np.nan)).p_value == 1.0


def test_missing_values_as_frequent_as_in_the_reference_are_no_drift() -> None:
    def spoiled(rng: np.random.Generator, rows: int) -> Floats:
        return np.where(rng.random((rows, 3)) < 0.2, np.nan, rng.normal(size=(rows, 3)))

    assert holds(p_values("mmd", 200, rows=(100, 80), make=spoiled, permutations=99), 0.05)


def test_a_sketch_is_compared_by_its_sampled_rows() -> None:
    rng = np.random.default_rng(0)

    def made(shift: float) -> pd.DataFrame:
        return pd.DataFrame({"x": rng.normal(size=2500) + shift, "c": rng.choice(["a", "b"], 2500)})

    reference = Reference.fit(made(0))
    same, moved = (drift.detect("mmd", reference, Sketch.of(reference, made(shift))) for shift in (0, 0.5))
    assert (same.drifted, moved.drifted) == (False, True)
    assert (moved.n_reference, moved.n_current) == (2500, 2500)
    assert moved.message == "1000 sampled of 2500 rows of the reference and 1000 sampled of 2500 rows of current"
    with pytest.raises(
        DataError, match=r"^current: no rows were sampled when it was sketched, and this method compares"
    ):
        drift.detect("mmd", reference, Sketch.of(reference, made(0), sample=0))


def test_a_column_that_is_constant_in_the_reference_and_not_in_current_is_drift() -> None:
    rng = np.random.default_rng(0)
    constant = np.column_stack([rng.normal(size=200), np.full(200, 7.1)])
    moving = np.column_stack([rng.normal(size=200), 7.1 + 1e-3 * rng.normal(size=200)])
    assert drift.detect("mmd", constant, moving).drifted is True
    assert drift.detect("mmd", constant, constant[::-1]).drifted is False
    assert drift.detect("mmd", np.ones((50, 2)), np.ones((50, 2))).p_value == 1.0
    assert drift.detect("mmd", np.ones((50, 2)), np.ones((50, 2)) * 2).drifted is True


@pytest.mark.parametrize("method", ["mmd", "lsdd", "spot_the_diff", "learned_kernel_mmd", "classifier"])
def test_numbers_of_any_size_are_compared_and_shifts_of_any_size_found(method: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(90, 3))
    plain = drift.detect(method, x, y)
    for unit in (1e-300, 1e300):
        scaled = drift.detect(method, unit * x, unit * y)
        assert scaled.p_value == pytest.approx(
            plain.p_value, rel=0.3
        )  # rounding may order a few permutations otherwise
    for shift in (2.0, 100.0, 1e308):
        assert drift.detect(method, x, y + np.array([0, shift, 0])).drifted is True
    if method in {"mmd", "lsdd"}:
        with pytest.raises(
            DataError, match=rf"^{method}: some values are too large for distances; leave scale at its default$"
        ):
            drift.detect(method, 1e200 * x, 1e200 * y, scale="none")


def test_categories_count_with_unseen_ones_and_missing_ones_as_levels() -> None:
    rng = np.random.default_rng(0)

    def made(words: list[str | None], chances: list[float]) -> pd.DataFrame:
        chosen = rng.choice(len(words), 300, p=chances)
        return pd.DataFrame({"x": rng.normal(size=300), "c": [words[place] for place in chosen]})

    reference = made(["a", "b"], [0.5, 0.5])
    assert drift.detect("mmd", reference, made(["a", "b"], [0.5, 0.5])).drifted is False
    assert drift.detect("mmd", reference, made(["a", "b", "new"], [0.3, 0.3, 0.4])).drifted is True
    assert drift.detect("mmd", reference, made(["a", "b", None], [0.3, 0.3, 0.4])).drifted is True


def test_many_levels_share_a_column_beyond_the_fifty_most_frequent() -> None:
    rng = np.random.default_rng(0)
    names = np.array([f"level {number}" for number in range(400)])
    frames = [pd.DataFrame({"c": names[rng.integers(0, 400, 500)]}) for _ in range(2)]
    assert drift.detect("mmd", *frames).drifted is False
    assert drift.detect("mmd", frames[0], pd.DataFrame({"c": names[rng.integers(0, 20, 500)]})).drifted is True


@pytest.mark.parametrize("rows", [0, 1, 29])
def test_too_few_rows_are_no_verdict(rows: int) -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    for pair in ((x, x[:rows]), (x[:rows], x)):
        found = drift.detect("mmd", *pair)
        role = "current" if len(pair[1]) == rows else "reference"
        assert (found.drifted, found.p_value, found.state) == (None, None, "unknown")
        assert found.message == f"not enough data: {rows} rows in {role}, 30 are needed (min_rows)"


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 3)), rng.normal(size=(100, 3))
    for variant in ("quadratic", "block", "linear"):
        first, again, other = (drift.detect("mmd", x, y, variant=variant, seed=seed) for seed in (1, 1, 2))
        assert first == again
        assert first.p_value != other.p_value


def test_memory_is_bounded_and_the_message_says_what_was_compared() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300_000, 3))
    reference = drift.fit(x)
    tracemalloc.start()
    try:
        found = drift.detect("mmd", reference, x[:200_000] + 0.2, permutations=50)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400e6  # all pairs of rows would be 2 TB
    assert found.drifted is True
    assert (
        found.message
        == "compared on 2000 of 300000 rows of the reference and 2000 of 200000 rows of current (max_rows)"
    )
    assert (found.n_reference, found.n_current) == (300_000, 200_000)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"variant": "cubic"}, "mmd.variant: found 'cubic', allowed: quadratic, block, linear"),
        ({"scale": "log"}, "mmd.scale: found 'log', allowed: std, robust, rank, none"),
        (
            {"bandwidth": 0},
            "mmd.bandwidth: found 0, allowed: None (the median heuristic), a number above 0, or several",
        ),
        ({"max_rows": 1}, "mmd.max_rows: found 1, allowed: 4 or more"),
        ({"min_rows": 1}, "mmd.min_rows: found 1, allowed: 4 or more"),
        ({"alpha": 0}, "mmd.alpha: found 0, allowed: a number between 0 and 1"),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, Any], text: str) -> None:
    x = np.zeros((40, 2))
    with pytest.raises(SpecError) as caught:
        drift.detect("mmd", x, x, **params)
    assert str(caught.value) == text
