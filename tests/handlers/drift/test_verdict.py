"""From the features' p-values to the table's answer, and the level of the p-value that counts by bin have."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from trimtab import drift
from trimtab.handlers.drift import bins


def test_the_table_answers_by_holm_and_names_features_by_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.normal(size=(400, 12)), rng.normal(size=(400, 12))
    current[:, :6] += [0.35, 0.35, 0.3, 0.3, 0.25, 0.25]
    result = drift.detect("ks", reference, current, alpha=0.05)
    names = list(result.per_feature)
    p_values = [stats.ks_2samp(reference[:, j], current[:, j]).pvalue for j in range(12)]
    given = [result.per_feature[name].p_value or 1.0 for name in names]
    assert given == pytest.approx(p_values, rel=0.02)
    assert result.p_value == pytest.approx(min(given) * 12)  # Holm's first step is Bonferroni's
    listed = stats.false_discovery_control(given) < 0.05
    by_bonferroni = np.array(given) * 12 < 0.05
    assert [result.per_feature[name].drifted for name in names] == listed.tolist()
    assert listed.sum() > by_bonferroni.sum() > 0
    assert (result.drifted, result.state) == (True, "detected")


def test_no_feature_is_named_where_the_table_has_not_drifted() -> None:
    """Five features at p = 0.03 are a list to Benjamini and Hochberg, and no alarm to Holm."""
    rng = np.random.default_rng(2)
    column = rng.normal(size=200)
    moved = np.sort(column) + 0.0
    moved[:29] += 10  # D = 0.145, for which 200 and 200 values give p = 0.03
    reference, current = np.tile(column[:, None], 5), np.tile(moved[:, None], 5)
    result = drift.detect("ks", reference, current, alpha=0.05)
    p_values = [feature.p_value or 1.0 for feature in result.per_feature.values()]
    assert (stats.false_discovery_control(p_values) < 0.05).all()
    assert result.drifted is False
    assert result.p_value == pytest.approx(5 * p_values[0])
    assert not any(feature.drifted for feature in result.per_feature.values())


@pytest.mark.parametrize("count", [16, 64, 256])
def test_the_p_value_by_bins_is_below_each_level_as_often_as_it_says(count: int) -> None:
    """40,000 pairs of samples without drift. An exact test would count 40, 400 and 2,000 of them; this one may miss a few."""
    rng = np.random.default_rng(count)
    shares = np.full(count, 1 / count)
    found = []
    for _ in range(20):
        left, right = rng.multinomial(20_000, shares, size=2000), rng.multinomial(5_000, shares, size=2000)
        none = np.zeros(1, dtype=np.int64)
        pairs = [(np.r_[none, a, none], np.r_[none, b, none]) for a, b in zip(left, right, strict=True)]
        found.append(bins.tests(pairs)[1])
    p_values = np.concatenate(found)
    for level in (0.001, 0.01, 0.05):
        count_below, expected = int((p_values < level).sum()), level * len(p_values)
        spread = 3.3 * np.sqrt(expected)
        assert 0.8 * expected - spread <= count_below <= 1.05 * expected + spread, (level, count_below)


def test_mlruns_hellinger_is_found_by_its_definition() -> None:
    rng = np.random.default_rng(7)
    reference, current = rng.normal(size=(3000, 3)), rng.normal([0, 1, 3], size=(1000, 3))
    result = drift.detect("hellinger", reference, current, compat="mlrun")
    expected = []
    for j in range(3):
        inner, edges = np.histogram(reference[:, j], bins=20)
        outer = [-np.inf, *edges, np.inf]
        seen = [np.sum((current[:, j] >= low) & (current[:, j] < high)) for low, high in pairwise(outer)]
        p, q = np.r_[0, inner, 0] / 3000, np.array(seen) / 1000
        expected.append(np.sqrt(1 - np.sqrt(p * q).sum()))
    assert [feature.statistic for feature in result.per_feature.values()] == pytest.approx(expected)
    assert result.statistic == pytest.approx(np.mean(expected))
    assert (result.threshold, result.drifted) == (0.7, bool(np.mean(expected) >= 0.7))
