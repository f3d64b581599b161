from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from tests.handlers.drift.kernels.levels import Floats, holds, normal, p_values

from trimtab import drift
from trimtab.handlers.drift.kernels.learned import power


def test_the_criterion_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    x, y, logs = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)) + 0.4, rng.normal(size=3) * 0.3

    def k(a: np.ndarray[tuple[int], np.dtype[np.float64]], b: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(np.exp(-0.5 * (np.exp(2 * logs) * (a - b) ** 2).sum()))

    n = 12
    h = np.zeros((n, n))
    for i, j in product(range(n), repeat=2):
        h[i, j] = k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
    mean = (h.sum() - np.trace(h)) / (n * (n - 1))
    variance = 4 / n**3 * (h.sum(axis=1) ** 2).sum() - 4 / n**4 * h.sum() ** 2 + 1e-8
    assert power(logs, x, y)[0] == pytest.approx(mean / np.sqrt(variance), rel=1e-10)


def test_its_gradient_is_exact() -> None:
    rng = np.random.default_rng(1)
    x, y, logs = rng.normal(size=(30, 4)), 1.3 * rng.normal(size=(30, 4)), rng.normal(size=4) * 0.3
    assert power(logs, x, y)[1] == pytest.approx(approx_fprime(logs, lambda at: power(at, x, y)[0], 1e-6), abs=1e-5)


def test_it_rejects_as_often_as_its_level_says_where_nothing_drifted() -> None:
    found = p_values("learned_kernel_mmd", 150, rows=(100, 100), make=normal(5), permutations=99, tail="count")
    assert holds(found, 0.05)
    assert holds(found, 0.2)


def test_it_finds_what_hides_in_one_of_many_features_at_another_width_more_often_than_mmd_does() -> None:
    def split(y: Floats) -> Floats:
        rng = np.random.default_rng(int(1e6 * abs(y[0, 0])))
        y[:, 0] = rng.choice([-1.0, 1.0], len(y)) + 0.2 * rng.normal(size=len(y))  # mean and variance stay
        return y

    learned, plain = (
        p_values(method, 20, rows=(400, 400), make=normal(20), moved=split) for method in ("learned_kernel_mmd", "mmd")
    )
    assert np.mean(learned < 0.05) > np.mean(plain < 0.05) + 0.2


def test_the_feature_that_matters_gets_the_largest_weight_and_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 6)), rng.normal(size=(300, 6)) * [1, 1, 2.5, 1, 1, 1]
    found = drift.detect("learned_kernel_mmd", x, y)
    assert found.drifted is True
    assert max(found.per_feature.values(), key=lambda feature: feature.statistic or 0).name == "f2"
    assert found.per_feature["f2"].drifted is None
    assert found == drift.detect("learned_kernel_mmd", x, y)
    assert found.p_value != drift.detect("learned_kernel_mmd", x, rng.normal(size=(300, 6)), seed=5).p_value
    assert drift.detect("learned_kernel_mmd", x, y[:20]).drifted is None
    assert drift.detect("learned_kernel_mmd", np.ones((50, 2)), np.ones((50, 2))).p_value == 1.0
