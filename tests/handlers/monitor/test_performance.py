from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from trimtab.handlers.monitor.performance import CLASSES, REST, Performance, compare
from trimtab.handlers.monitor.shift import Evidence, describe


def performed(task: Any, pairs: Any) -> Performance:
    found = Performance(task=task, confusion={})
    for prediction, label in pairs:
        found.add(prediction, label)
    return found


def share(right: int, rows: int) -> Performance:
    return performed("classification", [("a", "a")] * right + [("b", "a")] * (rows - right))


classes = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=60)


@given(classes)
def test_the_figures_of_a_classification_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    predictions, labels = zip(*pairs, strict=True)
    names = sorted(set(labels))
    found = performed("classification", pairs).metrics()
    options: dict[str, Any] = {"labels": names, "average": "macro", "zero_division": 0.0}
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predictions))
    assert found["precision"] == pytest.approx(sklearn.precision_score(labels, predictions, **options))
    assert found["recall"] == pytest.approx(sklearn.recall_score(labels, predictions, **options))
    assert found["f1"] == pytest.approx(sklearn.f1_score(labels, predictions, **options))


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=60))
def test_the_figures_of_a_regression_are_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    predictions, labels = zip(*pairs, strict=True)
    found = performed("regression", pairs).metrics()
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(labels, predictions), abs=1e-9)
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(labels, predictions), abs=1e-9)
    if np.std(labels) > 1e-3:
        assert found["r2"] == pytest.approx(sklearn.r2_score(labels, predictions), rel=1e-4, abs=1e-4)


@given(classes, st.integers(0, 60))
def test_the_performance_of_two_windows_adds_up(pairs: list[tuple[str, str]], at: int) -> None:
    one, two = performed("classification", pairs[:at]), performed("classification", pairs[at:])
    assert one.merge(two) == two.merge(one) == performed("classification", pairs)


def test_numbers_of_one_class_are_one_class_however_they_are_written() -> None:
    found = performed("classification", [(1, 1.0), ("1", 1), (True, True), (1, None), (None, 1)])
    assert (found.joined, found.correct, found.unusable) == (3, 3, 2)


def test_without_labels_there_are_no_figures() -> None:
    assert set(performed("classification", []).metrics().values()) == {None}
    assert set(performed("regression", []).metrics().values()) == {None}


def test_very_many_classes_are_counted_together_and_the_accuracy_stays_exact() -> None:
    found = performed("classification", [(str(n), str(n + n % 2)) for n in range(1000)])
    names = set(found.confusion).union(*found.confusion.values())
    assert len(names) == CLASSES + 1
    assert REST in names
    assert found.metrics()["accuracy"] == 0.5


def test_a_loss_is_one_that_is_significant_and_large_enough() -> None:
    assert compare(share(700, 1000), share(900, 1000)).dropped is True
    assert compare(share(890, 1000), share(900, 1000)).dropped is False
    assert compare(share(985_000, 1_000_000), share(990_000, 1_000_000)).dropped is False  # a trifle, however sure
    assert compare(share(1000, 1000), share(900, 1000)).dropped is False
    assert compare(share(500, 1000), {"accuracy": 0.9}).dropped is True
    assert compare(share(995, 1000), {"accuracy": 1.0}).dropped is False
    found = compare(share(20, 29), share(900, 1000))
    assert (found.metric, found.value, found.baseline, found.p_value, found.dropped) == (
        "accuracy",
        20 / 29,
        0.9,
        None,
        None,
    )
    assert compare(share(500, 1000), {}).dropped is None
    assert compare(share(500, 1000), {"accuracy": "good"}).dropped is None


def test_a_regression_that_got_worse_is_told_from_one_that_did_not() -> None:
    rng = np.random.default_rng(0)
    before = performed("regression", [(error, 0.0) for error in rng.normal(size=2000)])
    same = performed("regression", [(error, 0.0) for error in rng.normal(size=500)])
    worse = performed("regression", [(error, 0.0) for error in rng.normal(scale=1.4, size=500)])
    assert compare(same, before).dropped is False
    assert compare(worse, before).dropped is True
    assert compare(worse, {"rmse": 1.0}).dropped is True
    constant = performed("regression", [(1.0, 0.0)] * 50)
    assert compare(constant, constant).dropped is False


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_test_holds_its_level(task: Any) -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(2000):
        if task == "classification":
            one, two = share(int(rng.binomial(200, 0.8)), 200), share(int(rng.binomial(500, 0.8)), 500)
        else:
            one, two = (_errors(rng.normal(size=size)) for size in (200, 500))
        alarms += (compare(one, two).p_value or 0) < 0.05
    assert 0.03 < alarms / 2000 < 0.075


def _errors(errors: Any) -> Performance:
    powers = {"error": errors.sum(), "squared": (errors**2).sum(), "fourth": (errors**4).sum()}
    return Performance(task="regression", joined=len(errors), absolute=abs(errors).sum(), **powers)


# What kind of change it is


EVERY = [
    Evidence(inputs=i, predictions=p, labels=y, performance=e)
    for i, p, y, e in itertools.product([None, False, True], repeat=4)
]


@pytest.mark.parametrize("evidence", EVERY, ids=str)
def test_every_combination_of_evidence_has_a_consistent_answer(evidence: Evidence) -> None:
    found = describe(evidence)
    assert not set(found.supported) & set(found.possible)
    if evidence.inputs is False and evidence.labels is not True:
        assert "label shift" not in found.supported
    if evidence.inputs is False:
        assert (
            "covariate drift" not in found.supported
        )  # a change of the inputs that no input shows is possible at most
    if evidence.inputs is not True and evidence.inputs is None:
        assert found.supported == []  # without knowledge of the inputs nothing is proven
    if evidence.labels is False:
        assert "label shift" not in [*found.supported, *found.possible]
    if True not in (evidence.inputs, evidence.predictions, evidence.labels, evidence.performance):
        assert (found.supported, found.possible) == ([], [])
    else:
        assert found.supported or found.possible
    assert ("not known: " in found.message) == (
        None in (evidence.inputs, evidence.predictions, evidence.labels, evidence.performance)
    )


@pytest.mark.parametrize(
    ("evidence", "supported", "possible", "words"),
    [
        (Evidence(inputs=False, predictions=False, labels=False, performance=True), ["concept drift"], [], "the model got worse and the inputs did not change"),
        (Evidence(inputs=False, predictions=False, labels=True, performance=True), ["concept drift"], [], "the labels' shares changed and the inputs did not"),
        (Evidence(inputs=True, predictions=True, labels=False, performance=False), ["covariate drift"], [], "the model is as good as it was"),
        (Evidence(inputs=True, predictions=True, labels=True, performance=False), ["label shift"], ["covariate drift"], "the labels' shares changed with them"),
        (Evidence(inputs=True, predictions=True, labels=False, performance=True), ["covariate drift"], ["concept drift"], "on inputs it does not know or because labels depend"),
        (Evidence(inputs=True), ["covariate drift"], ["label shift", "concept drift"], "not known: the predictions, the labels, how right the model was"),
        (Evidence(inputs=False, predictions=True, labels=False, performance=False), [], ["covariate drift"], "no single input did"),
        (Evidence(inputs=False, predictions=False, labels=False, performance=False), [], [], "no change is seen"),
        (Evidence(), [], [], "no change is seen; not known: the inputs, the predictions, the labels, how right"),
        (Evidence(performance=True), [], ["covariate drift", "concept drift"], "the model got worse"),
    ],
)  # fmt: skip
def test_the_three_kinds_of_change_are_told_apart(
    evidence: Evidence, supported: Any, possible: Any, words: str
) -> None:
    found = describe(evidence)
    assert (found.supported, found.possible) == (supported, possible)
    assert words in found.message


@pytest.mark.parametrize(
    ("world", "expected"),
    [("same", []), ("covariate", ["covariate drift"]), ("label", ["label shift"]), ("concept", ["concept drift"])],
)
def test_simulated_worlds_are_recognised_from_their_sketches(world: str, expected: list[str]) -> None:
    """y is 1 above x = 0, with noise; the model knows that. What changes is p(x), p(y) with p(x|y) kept, or p(y|x)."""
    rng = np.random.default_rng(5)

    def draw(rows: int, kind: str) -> tuple[Any, Any]:
        x = rng.normal(size=rows * 4)
        y = (x + rng.normal(scale=0.3, size=len(x)) > 0).astype(int)
        if kind == "covariate":  # away from the boundary on both sides: other x, the same share of y
            x = np.where(rng.random(len(x)) < 0.5, 2.0, -2.0) + rng.normal(scale=0.2, size=len(x))
            y = (x + rng.normal(scale=0.3, size=len(x)) > 0).astype(int)
        if kind == "label":
            keep = rng.random(len(x)) < np.where(y == 1, 1.0, 0.4)
            x, y = x[keep], y[keep]
        if kind == "concept":
            y = (x + rng.normal(scale=0.3, size=len(x)) > 0.8).astype(int)
        return x[:rows], y[:rows]

    x0, y0 = draw(5000, "same")
    x1, y1 = draw(2000, world)
    from scipy import stats

    def differ(one: Any, two: Any) -> bool:
        return bool(stats.ks_2samp(one, two).pvalue < 1e-3)

    before = performed("classification", zip((x0 > 0).astype(int), y0, strict=True))
    now = performed("classification", zip((x1 > 0).astype(int), y1, strict=True))
    evidence = Evidence(
        inputs=differ(x0, x1),
        predictions=differ(x0 > 0, x1 > 0),
        labels=differ(y0, y1),
        performance=compare(now, before).dropped,
    )
    assert describe(evidence).supported == expected
