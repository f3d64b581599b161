"""The level of the Wasserstein distance's p-value, whatever the distribution, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.handlers.drift.kernels.levels import holds

from trimtab import drift
from trimtab.errors import SpecError
from trimtab.handlers.drift import wasserstein as module
from trimtab.sketches import Reference, Sketch

Draw = Callable[[np.random.Generator, tuple[int, int]], Any]
DRAWS: dict[str, Draw] = {
    "normal": lambda choice, shape: choice.normal(size=shape),
    "lognormal": lambda choice, shape: np.exp(2 * choice.normal(size=shape)),
    "cauchy": lambda choice, shape: choice.standard_cauchy(size=shape),
    "counts": lambda choice, shape: choice.poisson(1.0, size=shape).astype(float),
    "inflated": lambda choice, shape: np.where(choice.random(shape) < 0.8, 0.0, choice.standard_cauchy(shape)),
}
SKETCHED = [(1000, 50), (10_000, 300)]
ROWS = [(100, 50), (100, 1000), *SKETCHED]
FEATURES = 300


def p_values(result: drift.Result) -> Any:
    return np.array([feature.p_value for feature in result.per_feature.values()], dtype=np.float64)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_it_rejects_as_often_as_its_level_says(draw: Draw, rows: tuple[int, int]) -> None:
    choice = np.random.default_rng(list(rows))
    reference, current = (draw(choice, (count, FEATURES)) for count in rows)
    found = p_values(drift.detect("wasserstein", reference, current, permutations=200))
    assert holds(found, 0.05)
    assert holds(found, 0.2)
    assert np.count_nonzero(found < 0.001) <= 3


@pytest.mark.parametrize("rows", SKETCHED)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_of_sketches_too(draw: Draw, rows: tuple[int, int]) -> None:
    choice = np.random.default_rng(list(rows))
    reference = Reference.fit(draw(choice, (rows[0], FEATURES)), sample=0)
    current = Sketch.of(reference, draw(choice, (rows[1], FEATURES)), sample=0)
    found = p_values(drift.detect("wasserstein", reference, current, permutations=200))
    assert holds(found, 0.05)
    assert holds(found, 0.2)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_shift_is_found_in_values_and_in_sketches(draw: Draw) -> None:
    choice = np.random.default_rng(0)
    reference, current = draw(choice, (2000, 1)), draw(choice, (500, 1)) + 1.5
    assert drift.detect("wasserstein", reference, current).drifted is True
    fitted = Reference.fit(reference)
    assert drift.detect("wasserstein", fitted, Sketch.of(fitted, current)).drifted is True


def test_another_constant_is_drift_and_the_same_is_none() -> None:
    fitted = Reference.fit({"a": np.full(100, 3.0)})
    for value, drifted in ((3.0, False), (5.0, True), (1.0, True)):
        current = {"a": np.full(60, value)}
        assert drift.detect("wasserstein", {"a": np.full(100, 3.0)}, current).drifted is drifted
        assert drift.detect("wasserstein", fitted, Sketch.of(fitted, current)).drifted is drifted


def test_the_seed_decides_and_no_p_value_is_zero() -> None:
    choice = np.random.default_rng(0)
    reference, current = choice.normal(size=(300, 1)), choice.normal(0.2, 1, size=(200, 1))
    first, again, other = (drift.detect("wasserstein", reference, current, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.p_value != other.p_value
    far = drift.detect("wasserstein", reference, current + 1e6)
    assert far.p_value is not None
    assert 0 < far.p_value < 1e-9
    with pytest.raises(SpecError, match=r"^wasserstein\.permutations: found 0, allowed: 1 or more$"):
        drift.detect("wasserstein", reference, current, permutations=0)


def test_counts_beyond_what_numpy_draws_are_thinned_with_the_same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled, weights = np.full(65, 10_000), np.ones(64)
    whole = module._drawn(weights, pooled, 200_000, np.random.default_rng(0), 4000)
    monkeypatch.setattr(module, "_MOST", 10_000)
    thinned = module._drawn(weights, pooled, 200_000, np.random.default_rng(1), 4000)
    assert np.quantile(thinned, [0.5, 0.95]) == pytest.approx(np.quantile(whole, [0.5, 0.95]), rel=0.06)
