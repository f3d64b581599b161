from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.handlers.drift.kernels.levels import holds, normal, p_values

from trimtab import drift
from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.lsdd import LSDD, RIDGE_LOSS
from trimtab.handlers.drift.kernels.null import memberships
from trimtab.handlers.drift.kernels.rbf import gaussian, median_distance

Floats = np.ndarray[Any, np.dtype[np.float64]]


def definition(x: Floats, y: Floats, centres: Floats, width: float, ridge: float) -> tuple[float, float]:
    """Sugiyama 2013 by solving, for normalised H: LSDD, and the relative loss of Bu 2018."""
    h = gaussian(x, centres, [width]).mean(axis=0) - gaussian(y, centres, [width]).mean(axis=0)
    matrix = np.exp(-((centres[:, None] - centres[None]) ** 2).sum(axis=2) / (4 * width**2))
    t = np.linalg.solve(matrix + ridge * np.eye(len(centres)), h)
    return float(2 * h @ t - t @ matrix @ t), float(1 - t @ matrix @ t / (h @ t))


def test_it_is_the_distance_of_two_normal_densities() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        x, y = rng.normal(0, 1, (2000, 1)), rng.normal(1, 1, (2000, 1))
        found.append(LSDD(x, y, rng.normal(0, 1, (100, 1)), median_distance(x, rng), rng).distance)
    assert np.mean(found) == pytest.approx((1 - np.exp(-0.25)) / np.sqrt(np.pi), rel=0.1)


def test_the_turned_coordinates_give_what_solving_gives_for_each_permutation() -> None:
    rng = np.random.default_rng(1)
    x, y, centres = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 0.5, rng.normal(size=(8, 3))
    test = LSDD(x, y, centres, 1.3, rng)
    assert test.observed == pytest.approx(definition(x, y, centres, 1.3, test.ridge)[0], rel=1e-9)
    members, both = memberships(30, 20, 5, rng), np.concatenate([x, y])
    anew = [definition(both[one == 1], both[one == 0], centres, 1.3, test.ridge)[0] for one in members.T]
    assert test.differences(members) ** 2 @ test.weights == pytest.approx(anew, rel=1e-9)


def test_the_ridge_is_the_largest_that_loses_less_than_a_fifth() -> None:
    rng = np.random.default_rng(2)
    x, y, centres = rng.normal(size=(200, 2)), rng.normal(size=(150, 2)), rng.normal(size=(10, 2))
    test = LSDD(x, y, centres, 1.0, rng)
    both = np.concatenate([x, y])

    def loss(ridge: float) -> float:
        members = memberships(200, 150, 300, np.random.default_rng(3)).T
        return float(np.mean([definition(both[one == 1], both[one == 0], centres, 1.0, ridge)[1] for one in members]))

    assert np.log(test.ridge) / np.log(4) == round(np.log(test.ridge) / np.log(4))
    assert loss(test.ridge) < RIDGE_LOSS * 1.05
    assert loss(4 * test.ridge) > RIDGE_LOSS * 0.95


def test_it_rejects_as_often_as_its_level_says_where_nothing_drifted() -> None:
    found = p_values("lsdd", 300, rows=(120, 80), make=normal(4), permutations=99, tail="count")
    assert holds(found, 0.05)
    assert holds(found, 0.2)


def test_it_finds_a_shift_and_a_wider_spread() -> None:
    for moved in (lambda y: y + 0.5, lambda y: 2.0 * y):
        assert np.mean(p_values("lsdd", 20, rows=(200, 200), make=normal(3), moved=moved) < 0.05) >= 0.9


def test_many_dimensions_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 400)), rng.normal(size=(200, 400))
    assert drift.detect("lsdd", x, y).drifted is False
    assert drift.detect("lsdd", x, y + 0.4).drifted is True


def test_constant_data_and_missing_values_have_an_answer() -> None:
    rng = np.random.default_rng(0)
    assert drift.detect("lsdd", np.ones((60, 2)), np.ones((50, 2))).p_value == 1.0
    assert drift.detect("lsdd", np.ones((60, 2)), np.zeros((50, 2))).drifted is True
    spoiled = rng.normal(size=(100, 2))
    spoiled[::2, 0] = np.nan
    assert drift.detect("lsdd", rng.normal(size=(100, 2)), spoiled).drifted is True


def test_the_seed_decides_and_large_samples_are_subsampled() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5000, 2)), rng.normal(size=(100, 2))
    first, again, other = (drift.detect("lsdd", x, y, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.statistic != other.statistic
    assert first.message == "compared on 2000 of 5000 rows of the reference (max_rows)"
    assert drift.detect("lsdd", x, y[:7]).message == "not enough data: 7 rows in current, 30 are needed (min_rows)"


def test_impossible_parameters_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(
        SpecError, match=r"^lsdd.centres: found 39, allowed: None \(a twentieth\), or 1 to 38: they are"
    ):
        drift.detect("lsdd", x, x, centres=39)
    with pytest.raises(
        SpecError, match=r"^lsdd.bandwidth: found -1, allowed: None \(the median heuristic\), or a number"
    ):
        drift.detect("lsdd", x, x, bandwidth=-1)
