from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy, fisher_exact, ks_2samp
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.handlers.drift.kernels.levels import holds

from trimtab import drift
from trimtab.errors import DataError, SpecError

Floats = np.ndarray[Any, np.dtype[np.float64]]


def classes(rng: np.random.Generator, rows: int) -> tuple[Floats, Any]:
    x = rng.normal(size=(rows, 3))
    return x, (x[:, 0] + x[:, 1] + 0.3 * rng.normal(size=rows) > 0).astype(int)


def fitted() -> LogisticRegression:
    return LogisticRegression().fit(*classes(np.random.default_rng(100), 500))


def test_the_entropies_are_compared_as_scipy_compares_them() -> None:
    rng, model = np.random.default_rng(0), fitted()
    x, y = classes(rng, 200)[0], 0.7 * classes(rng, 150)[0]
    found = drift.detect("classifier_uncertainty", x, y, model=model)
    known = ks_2samp(entropy(model.predict_proba(x), axis=1), entropy(model.predict_proba(y), axis=1))
    assert found.statistic == pytest.approx(known.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-6)
    assert "mean uncertainty" in found.message


def test_the_margin_is_compared_by_fishers_test() -> None:
    rng, model = np.random.default_rng(0), fitted()
    x, y = classes(rng, 200)[0], 0.5 * classes(rng, 150)[0]
    found = drift.detect("classifier_uncertainty", x, y, model=model, uncertainty="margin", margin=0.3)
    near = [np.abs(np.diff(model.predict_proba(side))[:, 0]) < 0.3 for side in (x, y)]
    known = fisher_exact([[np.sum(~side), np.sum(side)] for side in near])
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert found.statistic == pytest.approx(near[1].mean() - near[0].mean())


def test_it_holds_its_level_and_finds_rows_that_the_model_hesitates_over() -> None:
    model, null, moved = fitted(), [], []
    for trial in range(200):
        rng = np.random.default_rng(trial)
        x, y = classes(rng, 150)[0], classes(rng, 100)[0]
        null.append(drift.detect("classifier_uncertainty", x, y, model=model).p_value)
        moved.append(drift.detect("classifier_uncertainty", x, 0.4 * y, model=model).p_value)
    assert holds(np.array(null), 0.05)
    assert np.mean(np.array(moved) < 0.05) > 0.95


def test_a_model_fitted_to_a_frame_gets_one_with_its_columns_in_its_order() -> None:
    rng = np.random.default_rng(0)
    rows, labels = classes(rng, 300)
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    model = LogisticRegression().fit(frame, labels)
    swapped = frame[["c", "a", "b"]]
    assert drift.detect("classifier_uncertainty", swapped, swapped, model=model).statistic == 0.0
    with pytest.raises(DataError, match=r"^the model was fitted to columns that the data lacks: b"):
        drift.detect("classifier_uncertainty", frame[["a", "c"]], frame[["a", "c"]], model=model)


def test_probabilities_can_be_given_as_they_are() -> None:
    rng, model = np.random.default_rng(0), fitted()
    x, y = classes(rng, 200)[0], classes(rng, 150)[0]
    by_model = drift.detect("classifier_uncertainty", x, y, model=model)
    as_they_are = drift.detect("classifier_uncertainty", model.predict_proba(x), model.predict_proba(y))
    called = drift.detect("classifier_uncertainty", x, y, model=model.predict_proba)
    assert by_model.p_value == as_they_are.p_value == called.p_value


def test_an_ensemble_that_disagrees_more_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(600, 3))
    forest = RandomForestRegressor(30, random_state=0).fit(x, x[:, 0] ** 2)
    bagging = BaggingRegressor(LinearRegression(), max_features=2, random_state=0).fit(x, x[:, 0])
    held, same, far = rng.uniform(-2, 2, (200, 3)), rng.uniform(-2, 2, (200, 3)), rng.uniform(1.5, 2.5, (200, 3))
    members = np.column_stack([tree.predict(held) for tree in forest.estimators_])
    for model in (forest, bagging):
        assert drift.detect("regressor_uncertainty", held, same, model=model).drifted is False
        assert drift.detect("regressor_uncertainty", held, far, model=model).drifted is True
    given = drift.detect("regressor_uncertainty", members, members)
    assert given.statistic == 0.0
    assert f"mean uncertainty {members.std(axis=1).mean():.4g} in the reference" in given.message


def test_dropout_is_a_function_that_gives_several_predictions_a_row() -> None:
    rng = np.random.default_rng(0)

    def repeated(rows: Floats) -> Floats:
        return np.abs(rows[:, :1]) * rng.normal(size=(len(rows), 20))

    x = np.random.default_rng(1).normal(size=(300, 2))
    assert drift.detect("regressor_uncertainty", x, x, model=repeated).drifted is False
    assert drift.detect("regressor_uncertainty", x, 3 * x, model=repeated).drifted is True


@pytest.mark.parametrize(
    ("method", "data", "model", "text"),
    [
        ("classifier_uncertainty", np.ones((40, 2)), None,
         "reference: class probabilities must be 0 or above and add up to 1 in every row"),
        ("classifier_uncertainty", np.full((40, 2), np.nan), None,
         "reference: the model's output is missing or infinite in 40 of 40 rows"),
        ("classifier_uncertainty", np.ones((40, 1)), None,
         "reference: without model=, the columns must be the model's outputs: two or more columns of numbers; found f0"),
        ("regressor_uncertainty", np.ones((40, 1)), lambda rows: rows[:, 0],
         "the model gave shape (40,) for 40 rows of reference; expected: (rows, members)"),
    ],
)  # fmt: skip
def test_outputs_that_are_none_are_refused(method: str, data: Floats, model: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        drift.detect(method, data, data, model=model)
    assert str(caught.value) == text


def test_impossible_parameters_are_refused_and_few_rows_are_no_verdict() -> None:
    x = np.full((40, 2), 0.5)
    for method, params in (
        ("classifier_uncertainty", {"uncertainty": "doubt"}),
        ("classifier_uncertainty", {"margin": 0}),
        ("classifier_uncertainty", {"model": 3}),
        ("regressor_uncertainty", {"model": 3}),
    ):
        with pytest.raises(SpecError, match=rf"^{method}\.{next(iter(params))}: found "):
            drift.detect(method, x, x, **params)
    assert drift.detect("classifier_uncertainty", x, x[:5]).drifted is None
    assert drift.detect("regressor_uncertainty", x[:5], x).drifted is None
