from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.null import FLOOR, Draw, memberships, p_value

TAILS = ("auto", "count", "gamma", "pareto")
WEIGHTS = np.array([1.0, 0.5, 0.3, 0.2, 0.1, 0.05])


def drawn(values: object) -> Draw:
    left = list(np.asarray(values, dtype=float))
    return lambda count: np.array([left.pop(0) for _ in range(count)])


def quadratic(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The law of MMD and LSDD without drift: a weighted sum of chi-squared variables."""
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = (rng.normal(size=(count, len(WEIGHTS))) ** 2 - 1) @ WEIGHTS
    return found


def test_p_counts_the_observed_value_itself_so_that_it_is_never_0() -> None:
    assert p_value(10.0, drawn(range(9)), alpha=0.05, permutations=9, tail="count") == (0.1, 9)
    assert p_value(6.0, drawn(range(9)), alpha=0.05, permutations=9, tail="count") == (0.4, 9)


def test_a_permutation_that_differs_by_rounding_is_as_large() -> None:
    assert p_value(1.0, drawn([1 - 1e-15] * 9), alpha=0.05, permutations=9, tail="count").p_value == 1.0


@given(arrays(float, 40, elements=st.floats(-1e6, 1e6)), st.floats(-1e9, 1e9), st.sampled_from(TAILS))
def test_p_is_above_0_and_at_most_1_for_any_draws(null: object, observed: float, tail: str) -> None:
    found = p_value(observed, drawn(null), alpha=1e-6, permutations=40, tail=tail)  # type: ignore[arg-type]
    assert FLOOR <= found.p_value <= 1


def test_drawing_stops_when_enough_permutations_reached_the_observed_value() -> None:
    null = [0, 5, 0, 5, 0, 0, 5, 0, 5] + [0] * 91
    found = p_value(5.0, drawn(null), alpha=0.05, permutations=100, stop=3)
    assert found == (3 / 7, 7)


def test_stopping_early_keeps_the_level() -> None:
    rng = np.random.default_rng(0)
    found = np.array(
        [
            p_value(
                rng.normal(), lambda count: rng.normal(size=count), alpha=0.05, permutations=199, stop=5, tail="count"
            )
            for _ in range(2000)
        ]
    )
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(found[:, 0] <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2000))
    assert np.mean(found[:, 1]) < 50


@pytest.mark.parametrize("tail", ["gamma", "pareto"])
@pytest.mark.parametrize("level", [1e-3, 1e-4, 1e-5])
def test_a_fitted_tail_answers_for_levels_that_counting_cannot(tail: str, level: float) -> None:
    rng = np.random.default_rng(1)
    observed = float(np.quantile(quadratic(rng, 4_000_000), 1 - level))
    found = [
        p_value(observed, lambda count: quadratic(rng, count), alpha=1e-6, permutations=1000, tail=tail).p_value  # type: ignore[arg-type]
        for _ in range(40)
    ]
    assert level / 3 < float(np.exp(np.mean(np.log(found)))) < 3 * level


def test_auto_counts_where_the_permutations_are_enough_for_alpha_and_fits_where_they_are_not() -> None:
    null = np.random.default_rng(2).gamma(2, size=199)
    assert p_value(30.0, drawn(null), alpha=0.05, permutations=199).p_value == 1 / 200
    assert FLOOR <= p_value(30.0, drawn(null), alpha=1e-4, permutations=199).p_value < 1e-6


def test_a_law_of_its_own_is_taken_before_one_fitted_to_the_permutations() -> None:
    def answer(observed: float, **params: object) -> float:
        return p_value(observed, drawn(range(99)), permutations=99, law=lambda value: 1 / value**4, **params).p_value  # type: ignore[arg-type]

    assert answer(200.0, alpha=1e-4) == answer(200.0, alpha=0.5, tail="spectrum") == 1 / 200**4
    assert answer(200.0, alpha=0.5) == 1 / 100
    assert answer(80.0, alpha=1e-4) == 20 / 100  # enough permutations reach it
    assert answer(1e9, alpha=1e-4) == FLOOR


def test_a_statistic_that_no_permutation_changes_is_no_evidence() -> None:
    for tail in TAILS:
        assert p_value(2.0, drawn([2.0] * 50), alpha=1e-4, permutations=50, tail=tail).p_value == 1.0  # type: ignore[arg-type]


def test_labellings_keep_the_samples_sizes() -> None:
    found = memberships(7, 5, 20, np.random.default_rng(0))
    assert found.shape == (12, 20)
    assert set(found.sum(axis=0)) == {7.0}
    assert len(np.unique(found, axis=1).T) > 15


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"tail": "normal"}, "mmd.tail: found 'normal', allowed: auto, count, gamma, pareto"),
        ({"permutations": 0}, "mmd.permutations: found 0, allowed: 1 or more"),
        ({"stop": 0}, "mmd.stop: found 0, allowed: None, or 1 or more"),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, object], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        p_value(0.0, drawn([0]), alpha=0.05, method="mmd", **{"permutations": 1, **params})  # type: ignore[arg-type]
    assert str(caught.value) == text
