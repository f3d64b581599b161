"""What other tools get wrong, one test each that ours does not: bins, missing values, window sizes, levels, p-values."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_iris

from trimtab import drift
from trimtab.handlers.drift import mlrun
from trimtab.handlers.drift.column import Numeric
from trimtab.sketches import Reference, Sketch

HISTOGRAMS = ["tvd", "hellinger", "kld", "js", "psi"]
DRAWS = {
    "binary": lambda choice: choice.integers(0, 2, size=50_000).astype(float),
    "integers": lambda choice: choice.integers(0, 5, size=50_000).astype(float),
    "clipped": lambda choice: np.clip(choice.normal(0.7, 0.4, size=50_000), 0, 1),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_references_largest_value_is_counted_alike_on_both_sides(draw: Any) -> None:
    """MLRun counts it in the last bin, and the same value of current data outside: TVD .503 of undrifted 0/1 data."""
    reference, current = draw(np.random.default_rng(0)), draw(np.random.default_rng(1))
    theirs = drift.detect("tvd", reference, current, compat="mlrun").statistic
    assert theirs is not None
    assert theirs > 0.15
    for method in [*HISTOGRAMS, "ks", "cvm", "default", "wasserstein"]:
        result = drift.detect(method, reference, current, alpha=0.001)
        assert result.drifted is False
    ours = drift.detect("tvd", reference, current).statistic
    assert ours is not None
    assert ours < 0.015
    sketched = drift.detect("default", Reference.fit({"a": reference}), {"a": current})
    assert sketched.drifted is False
    assert sketched.per_feature["a"].effect == pytest.approx(0.0, abs=0.005)


@pytest.mark.parametrize("method", [*HISTOGRAMS, "ks", "cvm", "wasserstein", "default", "tabular"])
def test_a_missing_value_in_the_reference_does_not_drop_the_feature(method: str) -> None:
    """numpy.histogram raises on NaN; MLRun passes over the feature then and says nothing."""
    reference, current = np.random.default_rng(0).normal(size=2000), np.random.default_rng(1).normal(2, 1, size=500)
    reference[7] = np.nan
    feature = drift.detect(method, reference, current).per_feature["f0"]
    assert feature.drifted is True
    assert feature.missing_reference == 1
    assert drift.detect("tvd", reference, current, compat="mlrun").per_feature["f0"].statistic is not None


def test_the_answer_does_not_depend_on_the_windows_size() -> None:
    """MLRun's mean of distances calls ten undrifted rows of iris a possible drift, and a thousand rows of one class none."""
    iris, choice = load_iris(return_X_y=True), np.random.default_rng(0)
    rows, classes = np.asarray(iris[0]), np.asarray(iris[1])
    for size in (30, 100, 1000):
        same = rows[choice.integers(0, 150, size=size)]
        assert drift.detect("default", rows, same, alpha=0.001).state in {"none", "possible"}
        one_class = rows[classes == 2][choice.integers(0, 50, size=size)]
        assert drift.detect("default", rows, one_class, alpha=0.001).state == "detected"
    few = drift.detect("default", rows, rows[:10])
    assert few.drifted is None
    assert "not enough data: 10 values in current, 30 are needed (min_rows)" in few.message


def test_the_effect_of_small_samples_is_not_larger_than_that_of_large_ones() -> None:
    choice = np.random.default_rng(0)
    reference = drift.fit(choice.normal(size=(5000, 100)))
    for size in (30, 300, 3000):
        found = drift.detect("default", reference, choice.normal(size=(size, 100))).per_feature.values()
        assert np.mean([feature.effect for feature in found]) < 0.03


def test_chi_squared_takes_the_reference_as_a_sample() -> None:
    """A test of fit, that takes it as exact, rejects a quarter of undrifted samples at 5 %."""
    choice = np.random.default_rng(0)
    levels = np.array(list("abcd"), dtype=object)
    reference, current = (levels[choice.integers(0, 4, size=(500, 400))] for _ in range(2))
    found = drift.detect("chi2", reference, current).per_feature.values()
    assert 0.02 < np.mean([feature.p_value < 0.05 for feature in found if feature.p_value is not None]) < 0.09

    def fit(place: int) -> float:
        before, now = ([(side[:, place] == level).sum() for level in levels] for side in (reference, current))
        return float(stats.chisquare(now, before).pvalue)

    assert np.mean([fit(place) < 0.05 for place in range(400)]) > 0.15


def test_psi_of_an_empty_bin_is_neither_infinite_nor_decided_by_a_constant() -> None:
    """With a constant in place of 0, one library's PSI of iris' petal length is 3.1 and another's 233.8."""
    rows = np.asarray(load_iris().data)[:, 2]
    found = drift.detect("psi", rows, rows[100:]).per_feature["f0"]
    assert found.statistic is not None
    assert 1 < found.statistic < 6
    twice = drift.detect("psi", np.tile(rows, 10), np.tile(rows[100:], 10)).per_feature["f0"].statistic
    assert twice is not None
    assert 2 < twice < 12
    assert found.drifted is True


def test_a_threshold_on_psi_is_a_level_not_a_custom() -> None:
    """Undrifted samples of 100 rows exceed 0.1 more often than not; that is no drift here."""
    choice = np.random.default_rng(0)
    found = drift.detect("psi", choice.normal(size=(5000, 200)), choice.normal(size=(100, 200)))
    values = [feature.statistic for feature in found.per_feature.values() if feature.statistic is not None]
    assert np.mean([value > 0.1 for value in values]) > 0.25
    assert found.drifted is False


def test_a_p_value_far_in_the_tail_costs_no_more_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy.stats.kstwo.sf takes up to 74 ms for one; it is not asked."""

    def slow(*arguments: Any) -> float:
        raise AssertionError("kstwo.sf was called")

    monkeypatch.setattr(stats.kstwo, "sf", slow)
    choice = np.random.default_rng(0)
    began = time.process_time()
    result = drift.detect("ks", choice.normal(size=50_000), choice.normal(0.5, 1, size=50_000))
    assert result.p_value is not None
    assert 0 <= result.p_value < 1e-100
    assert time.process_time() - began < 60  # a bound on runaway cost, not a measurement


def test_one_bad_feature_out_of_forty_is_found_and_named() -> None:
    """A mean over the features hides it; the share of drifted features does too."""
    choice = np.random.default_rng(0)
    reference, current = choice.normal(size=(5000, 40)), choice.normal(size=(1000, 40))
    current[:, 17] += 1.0
    result = drift.detect("default", reference, current, alpha=1e-4)
    assert result.drifted is True
    assert result.drifted_features == ["f17"]
    assert drift.detect("tvd", reference, current, compat="mlrun").state == "none"


def test_shift_and_scale_are_seen_on_the_references_bins() -> None:
    """Bins of the current data's own, as MLRun's first monitor had them, look the same after any shift."""
    reference = np.random.default_rng(0).normal(size=5000)
    current = np.random.default_rng(1).normal(10, 1, size=1000)
    for method in HISTOGRAMS:
        assert drift.detect(method, reference, current).drifted is True
    assert drift.detect("tvd", reference, current).statistic == pytest.approx(1.0, abs=0.01)


def test_a_column_that_goes_missing_is_drift_and_not_silence() -> None:
    choice = np.random.default_rng(0)
    reference, current = choice.normal(size=(1000, 3)), choice.normal(size=(200, 3))
    current[:, 1] = np.nan
    result = drift.detect("default", reference, current)
    assert result.drifted_features == ["f1"]
    assert result.per_feature["f1"].message == "missing: 0.00% in the reference, 100.00% in current"


def test_mlruns_numbers_are_reproduced_on_request() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert (mlrun.tvd(p, p), mlrun.hellinger(p, p), mlrun.kld(p, p)) == (0, 0, 0)
    assert (mlrun.tvd(q, p), mlrun.hellinger(q, p)) == (1, 1)
    assert mlrun.kld(q, p) == pytest.approx(np.log(1e4) + np.log(0.5e4))
    reference, current = np.arange(100.0), np.arange(50.0, 150.0)
    left, right = mlrun.histograms(Numeric("a", reference), Numeric("a", current))
    expected, edges = np.histogram(reference, bins=20)
    padded = [-np.finfo(float).max, *edges, np.finfo(float).max]
    assert left.tolist() == [0, *(expected / 100), 0]
    assert right.tolist() == (np.histogram(current, bins=padded)[0] / 100).tolist()
    assert drift.detect("tvd", reference, current, compat="mlrun").statistic == pytest.approx(0.51)


def test_mlruns_verdicts_are_its_thresholds() -> None:
    reference, current = np.arange(100.0), np.arange(1000.0, 1100.0)
    assert drift.detect("tvd", reference, current, compat="mlrun").state == "detected"
    assert drift.detect("tvd", reference, reference + 60, compat="mlrun").state == "possible"
    kld = drift.detect("kld", reference, current, compat="mlrun")
    assert (kld.drifted, kld.message) == (None, "MLRun has no threshold for kld; give threshold=...")
    assert drift.detect("kld", reference, current, compat="mlrun", threshold=1.0).drifted is True
    binary = drift.detect("tvd", np.arange(100) % 2, np.arange(100) % 2, compat="mlrun")
    text = "50 current values equal the reference's largest, and MLRun counts them outside its bins"
    assert binary.per_feature["f0"].message == text


def test_a_sketch_answers_as_the_values_do() -> None:
    choice = np.random.default_rng(0)
    rows, current = choice.normal(size=(4000, 3)), choice.normal(0.3, 1, size=(500, 3))
    reference = Reference.fit(rows)
    for method in ("default", "ks", "tvd", "wasserstein"):
        sketched = drift.detect(method, reference, Sketch.of(reference, current))
        exact = drift.detect(method, rows, current)
        assert sketched.drifted is exact.drifted is True
        for name, feature in exact.per_feature.items():
            assert sketched.per_feature[name].statistic == pytest.approx(feature.statistic, abs=0.03)
