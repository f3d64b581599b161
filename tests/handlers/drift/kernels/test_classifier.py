from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tests.handlers.drift.kernels.levels import holds, normal, p_values

from trimtab import drift
from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.separation import auc, mann_whitney, paired_gain, placements

Floats = np.ndarray[Any, np.dtype[np.float64]]


def test_the_auc_is_scikit_learns_and_its_p_value_that_of_counting() -> None:
    rng = np.random.default_rng(0)
    left, right = np.round(rng.normal(size=40), 1), np.round(rng.normal(size=30) + 0.3, 1)
    assert auc(left, right) == pytest.approx(roc_auc_score([0] * 40 + [1] * 30, [*left, *right]), rel=1e-12)
    above, below = placements(left, right)
    assert above.mean() == pytest.approx(below.mean(), rel=1e-12)
    both = np.concatenate([left, right])
    shuffled = [auc(order[:40], order[40:]) for order in (rng.permutation(both) for _ in range(4000))]
    assert mann_whitney(left, right) == pytest.approx(np.mean(np.array(shuffled) >= auc(left, right)), abs=0.03)
    assert mann_whitney(np.ones(5), np.ones(5)) == 1.0
    assert 0 < mann_whitney(np.zeros(5000) + rng.random(5000), 5 + rng.random(5000)) < 1e-200


def test_the_loss_of_an_auc_is_tested_with_the_pairs_in_mind() -> None:
    """Against the bootstrap of the difference."""
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(300, 2)), rng.normal([0.6, 0.3], size=(200, 2))
    full, without = (left.sum(axis=1), right.sum(axis=1)), (left[:, 1], right[:, 1])
    gain, p = paired_gain(placements(*full), placements(*without))
    assert gain == pytest.approx(auc(*full) - auc(*without), rel=1e-12)
    drawn = []
    for _ in range(2000):
        i, j = rng.integers(0, 300, 300), rng.integers(0, 200, 200)
        drawn.append(auc(full[0][i], full[1][j]) - auc(without[0][i], without[1][j]))
    assert norm.isf(p) == pytest.approx(gain / np.std(drawn), rel=0.1)


class Means(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The fastest classifier there is: along the difference of the means."""

    def fit(self, X: Floats, y: Any) -> Means:
        self.classes_ = np.array([0, 1])
        self.direction_ = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
        return self

    def decision_function(self, X: Floats) -> Floats:
        found: Floats = X @ self.direction_
        return found


@pytest.mark.parametrize(("model", "trials"), [(None, 40), (Means(), 300)], ids=["boosting", "means"])
def test_a_held_out_half_holds_the_level(model: Any, trials: int) -> None:
    found = p_values("classifier", trials, rows=(80, 60), make=normal(5), model=model, repeats=1)
    assert holds(found, 0.05)
    assert holds(found, 0.2)


def test_permuted_labels_hold_the_level_where_pooled_folds_do_not() -> None:
    """Pooled out-of-fold scores depend on each other: read off Mann and Whitney's law they reject more than they may."""
    pooled = []
    for trial in range(400):
        rng = np.random.default_rng(trial)
        rows, labels, score = rng.normal(size=(140, 5)), rng.permutation(np.repeat([0, 1], [80, 60])), np.empty(140)
        for test in np.array_split(np.arange(140), 5):
            train = np.setdiff1d(np.arange(140), test)
            score[test] = Means().fit(rows[train], labels[train]).decision_function(rows[test])
        left, right = score[labels == 0], score[labels == 1]
        pooled.append(2 * min(mann_whitney(left, right), mann_whitney(right, left)))
    permuted = p_values(
        "classifier",
        200,
        rows=(80, 60),
        make=normal(5),
        model=Means(),
        calibration="permute",
        permutations=19,
        folds=3,
        repeats=1,
    )
    assert np.mean(np.array(pooled) <= 0.05) > 0.08
    assert holds(permuted, 0.05)
    assert holds(permuted, 0.2)


@pytest.mark.parametrize("calibration", ["half", "permute"])
@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(20, random_state=0), make_pipeline(StandardScaler(), LinearSVC()), LogisticRegression()],
    ids=["forest", "svc", "logistic"],
)
def test_any_classifier_finds_the_shifted_features_and_names_them(model: Any, calibration: str) -> None:
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(400, 6)), columns=list("abcdef"))
    current = pd.DataFrame(rng.normal([0, 1.0, 0, 0, 1.2, 0], size=(300, 6)), columns=list("abcdef"))
    found = drift.detect(
        "classifier", reference, current, model=model, calibration=calibration, permutations=39, folds=2, stop=5
    )
    assert found.drifted is True
    assert set(found.drifted_features) == {"b", "e"}
    assert found.per_feature["e"].statistic > 0.02  # type: ignore[operator]
    assert not any(feature.drifted for name, feature in found.per_feature.items() if name not in "be")


def test_a_broken_correlation_is_found_and_both_its_features_are_named() -> None:
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(np.zeros(3), np.array([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1]]), 1500)
    y = rng.normal(size=(1500, 3))
    found = drift.detect("classifier", x, y)
    assert found.p_value is not None
    assert found.p_value < 1e-50
    assert set(found.drifted_features) == {"f0", "f1"}
    assert drift.detect("ks", x, y).drifted is False


def test_mixed_types_missing_values_and_unseen_levels_are_taken() -> None:
    rng = np.random.default_rng(0)

    def made(missing: float, words: list[str]) -> pd.DataFrame:
        x = np.where(rng.random(400) < missing, np.nan, rng.normal(size=400))
        return pd.DataFrame({"x": x, "z": rng.normal(size=400), "c": rng.choice(words, 400)})

    reference = made(0.0, ["a", "b"])
    assert drift.detect("classifier", reference, made(0.0, ["a", "b"])).drifted is False
    assert drift.detect("classifier", reference, made(0.4, ["a", "b"])).drifted_features == ["x"]
    assert drift.detect("classifier", reference, made(0.0, ["a", "new"])).drifted_features == ["c"]


def test_the_seed_decides_and_too_few_rows_are_no_verdict() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(90, 3))
    first, again, other = (drift.detect("classifier", x, y, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.p_value != other.p_value
    assert drift.detect("classifier", x, y[:12]).drifted is None
    assert drift.detect("classifier", np.ones((50, 2)), np.ones((50, 2))).p_value == 1.0


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"calibration": "pooled"}, "classifier.calibration: found 'pooled', allowed: half, permute"),
        ({"folds": 41}, "classifier.folds: found 41, allowed: 2 to 40, the rows of the smaller side"),
        ({"repeats": 0}, "classifier.repeats: found 0, allowed: 1 or more"),
        (
            {"model": 3},
            "classifier.model: found 3, allowed: a scikit-learn classifier with predict_proba or decision_function",
        ),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, Any], text: str) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(SpecError) as caught:
        drift.detect("classifier", x, x, **params)
    assert str(caught.value) == text
