from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from tests.handlers.drift.kernels.levels import holds, normal, p_values

from trimtab import drift
from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.spot import RIDGE, Loss


def test_the_loss_is_the_penalised_log_loss_and_its_gradient_is_exact() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4))
    loss = Loss(rows, 30, 2, 1.5, 0.02)
    at = np.abs(rng.normal(size=1 + 2 + 16))
    b, c, deltas = loss.parts(at)
    logits = b + sum(c[j] * np.exp(-((rows - deltas[j]) ** 2).sum(axis=1) / (2 * 1.5**2)) for j in range(2))
    chance = 1 / (1 + np.exp(-logits))
    known = -0.5 * np.log(1 - chance[:30]).mean() - 0.5 * np.log(chance[30:]).mean() + 0.02 * at[3:].sum()
    assert loss(at)[0] == pytest.approx(known + RIDGE * (c**2).sum(), rel=1e-10)
    assert loss(at)[1] == pytest.approx(approx_fprime(at, lambda v: loss(v)[0], 1e-7), abs=1e-5)


@pytest.mark.parametrize("prototypes", [1, 3])
def test_it_rejects_as_often_as_its_level_says_where_nothing_drifted(prototypes: int) -> None:
    found = p_values("spot_the_diff", 200, rows=(100, 80), make=normal(4), prototypes=prototypes)
    assert holds(found, 0.05)


@pytest.mark.parametrize("prototypes", [1, 2])
def test_the_shifted_features_are_spotted_with_their_direction(prototypes: int) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(20):
        x, y = rng.normal(size=(200, 10)), rng.normal([0.8, 0, 0, -0.8, *[0] * 6], size=(200, 10))
        found = drift.detect("spot_the_diff", x, y, seed=seed, prototypes=prototypes)
        features = found.per_feature
        hits += bool(
            found.drifted
            and {"f0", "f3"} <= set(found.drifted_features)
            and features["f0"].message == "current has more of what lies above"
            and features["f3"].message == "current has less of what lies above"
        )
    assert hits >= 18
    assert "rows near the reference's mean with f" in found.message


def test_the_seed_decides_and_what_has_no_difference_has_no_spot() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(90, 3)) + 0.3
    first, again, other = (drift.detect("spot_the_diff", x, y, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.p_value != other.p_value
    still = drift.detect("spot_the_diff", np.ones((50, 2)), np.ones((50, 2)))
    assert (still.p_value, still.drifted, still.drifted_features, still.message) == (1.0, False, [], "")
    assert drift.detect("spot_the_diff", x, y[:9]).drifted is None
    with pytest.raises(SpecError, match=r"^spot_the_diff.prototypes: found 0, allowed: 1 or more$"):
        drift.detect("spot_the_diff", x, y, prototypes=0)
