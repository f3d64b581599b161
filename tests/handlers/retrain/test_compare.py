"""Champion against challenger: the metrics are scikit-learn's, the interval holds what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from trimtab.errors import SpecError
from trimtab.handlers.retrain.compare import METRICS, compare

RNG = np.random.default_rng(7)
CLASSES = RNG.integers(0, 4, 300), RNG.integers(0, 4, 300)
NUMBERS = RNG.normal(size=300), RNG.normal(size=300)


@pytest.mark.parametrize(
    ("name", "reference", "data"),
    [
        ("accuracy", metrics.accuracy_score, CLASSES),
        ("balanced_accuracy", metrics.balanced_accuracy_score, CLASSES),
        ("f1", lambda t, a: metrics.f1_score(t, a, average="macro"), CLASSES),
        ("rmse", metrics.root_mean_squared_error, NUMBERS),
        ("mae", metrics.mean_absolute_error, NUMBERS),
        ("r2", metrics.r2_score, NUMBERS),
    ],
)
def test_a_metric_is_what_scikit_learn_says(name: str, reference: Any, data: tuple[Any, Any]) -> None:
    assert METRICS[name](*data) == pytest.approx(reference(*data), rel=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1", "rmse", "mae", "r2"])
def test_a_better_challenger_gains_whatever_the_metric(metric: str) -> None:
    truth = np.arange(200) % 2
    good, bad = (
        np.where(np.arange(200) % 10 == 0, 1 - truth, truth),
        np.where(np.arange(200) % 3 == 0, 1 - truth, truth),
    )
    found = compare(metric, truth, bad, good)
    assert found.gain > 0
    assert found.low > 0
    assert compare(metric, truth, good, bad).high < 0


def test_the_interval_covers_the_true_gain_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 400)
        champion = np.where(rng.random(400) < 0.30, 1 - truth, truth)
        challenger = np.where(rng.random(400) < 0.25, 1 - truth, truth)
        found = compare("accuracy", truth, champion, challenger, resamples=400, confidence=0.9, seed=seed)
        covered += found.low <= 0.05 <= found.high
    assert 0.84 <= covered / 200 <= 0.96  # .9 +- 2.8 standard errors


def test_equal_models_seldom_win() -> None:
    wins = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 300)
        both = [np.where(rng.random(300) < 0.2, 1 - truth, truth) for _ in range(2)]
        wins += compare("accuracy", truth, *both, resamples=300, seed=seed).low > 0
    assert wins / 200 <= 0.06  # 2.5 % at a two-sided 95 %


def test_classes_are_the_same_whatever_type_they_came_as() -> None:
    found = compare("accuracy", ["1", "0", "1"], np.array([1.0, 0.0, 1.0]), np.array([1, 1, 1]))
    assert found.champion == 1.0
    assert found.challenger == pytest.approx(2 / 3)


def test_the_same_rows_give_the_same_interval() -> None:
    truth, champion, challenger = (RNG.integers(0, 2, 100) for _ in range(3))
    assert compare("f1", truth, champion, challenger) == compare("f1", truth, champion, challenger)


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(SpecError, match="found '0 labels, 0 and 0 answers'"):
        compare("accuracy", [], [], [])
    with pytest.raises(SpecError, match="found '2 labels, 2 and 1 answers'"):
        compare("accuracy", [1, 2], [1, 2], [1])
    with pytest.raises(SpecError, match="finite numbers, for the metric 'rmse'"):
        compare("rmse", [1.0, 2.0], [1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(SpecError, match="numbers, for the metric 'mae'"):
        compare("mae", ["a"], ["b"], ["c"])
    with pytest.raises(SpecError, match=r"an array of shape \(2, 2\)"):
        compare("accuracy", np.zeros((2, 2)), [1, 2], [1, 2])
