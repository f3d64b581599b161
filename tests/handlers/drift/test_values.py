"""Statistics and p-values against other implementations: scipy's, computed here, and those of frouros and river.

frouros 0.9.0 and river 0.23.0 do not install beside today's numpy (they want one below 2.2, and scipy below 1.15). `peers.py`
computes with them in an environment of its own, numpy 2.1.3 and scipy 1.14.1, and `peers.json` is what it wrote.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from tests.handlers.drift import peers

from trimtab import drift
from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.column import Numeric
from trimtab.handlers.drift.ks import distance
from trimtab.handlers.drift.quadratic import tail
from trimtab.handlers.drift.tables import merged_levels, merged_neighbours

CHOICE = np.random.default_rng(11)
X, Y = CHOICE.normal(size=400), CHOICE.normal(0.3, 1.2, size=250)
BEFORE = CHOICE.choice(["a", "b", "c", "d"], p=[0.4, 0.3, 0.2, 0.1], size=400)
NOW = CHOICE.choice(["a", "b", "c", "d"], p=[0.3, 0.3, 0.2, 0.2], size=250)


def feature(method: str, reference: Any, current: Any, **params: Any) -> drift.FeatureResult:
    return drift.detect(method, reference, current, **params).per_feature["f0"]


PEERS = json.loads(Path(peers.__file__).with_suffix(".json").read_text("utf-8"))


def test_the_script_gives_what_is_written_down(tmp_path: Path) -> None:
    """Its packages are fetched where every test has to run; elsewhere, without them in uv's cache, nothing can be said."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    fetched = [] if os.environ.get("TRIMTAB_REQUIRE_SERVERS") == "1" else ["--offline"]
    command = [uv, "run", "--quiet", *fetched, "--python", sys.executable, str(peers.__file__)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=100)
    if run.returncode and "Traceback" not in run.stderr:
        pytest.skip(f"uv has not got the packages of peers.py: {run.stderr[-200:]}")
    found = json.loads(run.stdout)
    assert found.keys() == PEERS.keys()
    for name in found.keys() - {"versions"}:
        assert found[name] == pytest.approx(PEERS[name], rel=1e-9)


@pytest.mark.parametrize("method", ["ks", "cvm", "chi2", "hellinger"])
def test_frouros_finds_the_same(method: str) -> None:
    samples = peers.numbers() if method in {"ks", "cvm"} else [np.array(list("abcd"))[side] for side in peers.levels()]
    found, known = feature(method, *(side.reshape(-1, 1) for side in samples)), PEERS[method]
    assert found.statistic == pytest.approx(known["statistic"], rel=1e-12)
    if "p_value" in known:
        assert found.p_value == pytest.approx(known["p_value"], rel=1e-9)


def test_the_wasserstein_distance_is_frouros_in_units_of_the_interquartile_range() -> None:
    x, y = peers.numbers()
    low, high = np.quantile(x, [0.25, 0.75])
    known = PEERS["wasserstein"]["statistic"] / (high - low)
    assert feature("wasserstein", x, y).statistic == pytest.approx(known, rel=1e-12)


def test_rivers_kswin_finds_the_same_p_value_in_a_window_of_two_halves() -> None:
    x, y = peers.numbers()
    found = feature("ks", x[:100], y[:100] + 0.5).p_value
    assert found == pytest.approx(PEERS["kswin"]["p_value"], rel=1e-9)


def test_ks_in_large_samples_is_within_four_percent_of_the_exact_p_value() -> None:
    for shift in (0.02, 0.06, 0.1):
        x, y = np.random.default_rng(3).normal(size=3000), np.random.default_rng(4).normal(shift, 1, size=2000)
        assert feature("ks", x, y).p_value == pytest.approx(stats.ks_2samp(x, y, method="exact").pvalue, rel=0.04)


@settings(deadline=None, max_examples=150)
@given(
    left=st.lists(st.integers(0, 40) | st.floats(allow_nan=False), min_size=1, max_size=900),
    right=st.lists(st.integers(0, 40) | st.floats(allow_nan=False), min_size=1, max_size=900),
)
def test_the_distance_that_skips_most_values_is_the_largest_of_all(left: list[float], right: list[float]) -> None:
    x, y = np.sort(np.array(left, float)), np.sort(np.array(right, float))
    every = np.unique(np.concatenate((x, y)))
    slow = np.abs(x.searchsorted(every, "right") / len(x) - y.searchsorted(every, "right") / len(y)).max()
    assert distance(x, y) == pytest.approx(slow, abs=1e-12)


def test_the_distance_of_long_samples_is_scipys() -> None:
    choice = np.random.default_rng(0)
    for draw in (choice.normal, choice.exponential, lambda size: choice.integers(0, 99, size).astype(float)):
        x, y = draw(size=30_000), draw(size=20_000)
        assert distance(np.sort(x), np.sort(y)) == pytest.approx(stats.ks_2samp(x, y).statistic, abs=1e-12)


def test_cvm_far_in_the_tail_does_not_vanish_to_zero() -> None:
    found = feature("cvm", np.arange(300.0), np.arange(300.0) + 250.5)
    assert found.p_value is not None
    assert 0 < found.p_value < 1e-20


@pytest.mark.parametrize("rows", [60, 700])
def test_cvm_holds_its_level_with_ties_where_scipys_does_not(rows: int) -> None:
    choice = np.random.default_rng(2)
    reference = choice.integers(0, 2, size=(5000, 40)).astype(float)
    current = choice.integers(0, 2, size=(rows, 40)).astype(float)
    assert stats.cramervonmises_2samp(reference[:, 0], current[:, 0]).pvalue < 1e-6
    found = [one.p_value for one in drift.detect("cvm", reference, current).per_feature.values()]
    assert stats.kstest(np.array(found), "uniform").pvalue > 1e-4
    assert min(value for value in found if value is not None) > 1e-4


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0], [0.5] * 7])
def test_tails_of_weighted_squares_are_those_of_chi_squared_where_weights_are_equal(weights: list[float]) -> None:
    law = stats.chi2(len(weights), scale=weights[0])
    for p_value in (0.7, 0.3, 0.05, 1e-3, 1e-8):
        assert tail(float(law.isf(p_value)), np.array(weights)) == pytest.approx(p_value, rel=0.05)


def test_chi2_is_the_test_of_the_two_row_table_not_of_fit_to_the_reference() -> None:
    table = np.array([[(side == level).sum() for level in "abcd"] for side in (BEFORE, NOW)])
    expected = stats.chi2_contingency(table, correction=False)
    found = feature("chi2", BEFORE.reshape(-1, 1), NOW.reshape(-1, 1))
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_chi2_counts_missing_values_and_unseen_levels_as_levels_and_names_them() -> None:
    current = [{"d": None, "a": "new"}.get(level, level) for level in NOW.tolist()]
    found = drift.detect("chi2", {"f0": BEFORE}, {"f0": current}).per_feature["f0"]
    table = [[np.sum(level == BEFORE) for level in "abc"] + [(BEFORE == "d").sum(), 0, 0]]
    table += [[0] + [np.sum(level == NOW) for level in "bc"] + [0, (NOW == "d").sum(), (NOW == "a").sum()]]
    assert found.statistic == pytest.approx(stats.chi2_contingency(np.array(table), correction=False).statistic)
    assert (found.n_current, found.missing_current) == (250, 0)
    assert found.message == "not in the reference: 'new'"


def test_chi2_with_two_levels_and_a_rare_one_is_fishers_exact_test() -> None:
    reference, current = np.array([0] * 97 + [1] * 3), np.array([0] * 38 + [1] * 2)
    exact = stats.fisher_exact([[2, 38], [3, 97]]).pvalue
    assert feature("chi2", reference, current).p_value == pytest.approx(exact)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_fisher_is_the_hypergeometric_tail(alternative: str) -> None:
    reference, current = np.array([0] * 70 + [1] * 30), np.array([0] * 25 + [1] * 25)
    law = stats.hypergeom(150, 55, 50)
    each = law.pmf(np.arange(51))
    exact = {"greater": law.sf(24), "less": law.cdf(25), "two-sided": each[each <= law.pmf(25) * (1 + 1e-7)].sum()}
    found = feature("fisher", reference, current, alternative=alternative)
    assert found.p_value == pytest.approx(exact[alternative])
    assert found.statistic == pytest.approx(0.2)


def test_fisher_refuses_more_than_two_levels_and_unknown_sides() -> None:
    text = r"^fisher compares two levels, and column 'f0' has 4 \('a', 'b', 'c', 'd'\); use 'chi2'$"
    with pytest.raises(DataError, match=text):
        drift.detect("fisher", BEFORE.reshape(-1, 1), NOW.reshape(-1, 1))
    with pytest.raises(SpecError, match=r"^fisher\.alternative: found 'both', allowed: two-sided, greater, less$"):
        drift.detect("fisher", [0, 1], [0, 1], alternative="both")


SHARES = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])
OURS = [np.repeat(list("abcd"), (share * 400).round().astype(int)).reshape(-1, 1) for share in SHARES]


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        ("tvd", lambda p, q: np.abs(p - q).sum() / 2),
        ("hellinger", lambda p, q: np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2)),
        ("js", jensenshannon),
        ("kld", lambda p, q: stats.entropy(p, q) + stats.entropy(q, p)),
        ("psi", lambda p, q: stats.entropy(p, q) + stats.entropy(q, p)),
    ],
)
def test_distances_are_their_formulas(method: str, formula: Callable[[Any, Any], float]) -> None:
    p, q = SHARES
    if method in {"kld", "psi"}:  # half a row is added to every bin
        p, q = (p * 400 + 0.5) / 402, (q * 400 + 0.5) / 402
    assert feature(method, *OURS).statistic == pytest.approx(float(formula(p, q)), rel=1e-9)


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("js", {"compat": "mlrun"}, r"^js\.compat: found 'mlrun', allowed: nothing: MLRun has tvd, hellinger, kld$"),
        ("tvd", {"compat": "nuclio"}, r"^tvd\.compat: found 'nuclio', allowed: 'mlrun', or leave it out$"),
        ("psi", {"threshold": 0.1}, r"^psi\.threshold: found 0\.1, allowed: nothing without compat='mlrun'"),
        ("kld", {"bins": 1}, r"^kld\.bins: found 1, allowed: 2 or more$"),
    ],
)
def test_what_a_distance_does_not_take_is_refused(method: str, params: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        drift.detect(method, X, Y, **params)


@pytest.mark.parametrize("method", ["tvd", "hellinger", "kld", "js", "psi"])
def test_features_of_all_kinds_are_measured_together_as_each_alone(method: str) -> None:
    choice = np.random.default_rng(5)

    def rows(count: int) -> dict[str, Any]:
        return {
            "normal": choice.normal(size=count),
            "constant": np.ones(count),
            "inflated": np.where(choice.random(count) < 0.7, 0.0, choice.exponential(size=count)),
            "levels": np.array([f"l{place}" for place in choice.zipf(1.6, size=count).clip(0, 3000)], dtype=object),
            "rare": choice.random(count) < 0.004,
            "gone": np.full(count, np.nan),
        }

    def numbers(one: drift.FeatureResult) -> tuple[float | None, ...]:
        return one.statistic, one.p_value, one.effect

    reference, current = rows(3000), rows(400)
    together = drift.detect(method, reference, current).per_feature
    assert list(together) == list(reference)
    for name, one in together.items():
        alone = drift.detect(method, reference, current, columns=[name]).per_feature[name]
        for value, known in zip(numbers(one), numbers(alone), strict=True):
            assert value == (None if known is None else pytest.approx(known, rel=1e-12))


@pytest.mark.parametrize("method", ["tvd", "hellinger", "kld", "js", "psi"])
def test_p_values_of_distances_are_near_that_of_the_g_test(method: str) -> None:
    counts = np.array([(shares * 400).round() for shares in SHARES])
    expected = stats.chi2_contingency(counts, correction=False, lambda_="log-likelihood").pvalue
    found = feature(method, *OURS).p_value
    assert found is not None
    assert np.log10(found) == pytest.approx(np.log10(expected), abs=0.5)


@pytest.mark.parametrize("method", ["ks", "cvm", "tvd", "hellinger", "kld", "js", "psi", "wasserstein", "default"])
@pytest.mark.parametrize("rows", [50, 400])
def test_p_values_are_uniform_without_drift(method: str, rows: int) -> None:
    choice = np.random.default_rng(rows)
    reference = drift.fit(choice.normal(size=(4000, 250)))
    found = drift.detect(method, reference, choice.normal(size=(rows, 250))).per_feature.values()
    p_values = np.array([one.p_value for one in found])
    assert (p_values < 0.05).mean() < 0.10
    assert (p_values < 0.2).mean() > 0.10
    assert (p_values < 0.001).sum() <= 2


def test_rare_levels_are_put_together_and_never_all_of_them() -> None:
    left, right = merged_levels(np.array([500, 2, 480, 1]), np.array([50, 0, 48, 1]))
    assert (left.tolist(), right.tolist()) == ([483, 500], [49, 50])
    assert [side.tolist() for side in merged_levels(np.array([99, 1]), np.array([9, 0]))] == [[1, 99], [0, 9]]


def test_neighbours_are_put_together_until_each_expected_count_is_five() -> None:
    few = np.array([0, 100, 100, 100, 1]), np.array([3, 3, 3, 3, 0])
    many = np.array([0, 10, 10, 10, 0]), np.array([3, 10, 10, 10, 4])
    left, right = merged_neighbours([few, many])
    assert (left.tolist(), right.tolist()) == ([[301, 0, 0], [10, 10, 10]], [[12, 0, 0], [13, 10, 14]])


def test_a_value_that_fills_a_bin_has_one_of_its_own() -> None:
    column = Numeric("a", np.concatenate((np.zeros(600), np.arange(1.0, 401.0))))
    edges = column.edges(16)
    assert edges[:2].tolist() == [0.0, np.nextafter(0.0, 1.0)]
    assert column.counts(edges)[:2].tolist() == [0, 600]
    assert int(column.counts(edges).sum()) == 1000
    assert column.counts(edges)[-1] == 0


@pytest.mark.parametrize("numeric", ["ks", "cvm"])
def test_tabular_tests_each_feature_by_the_method_of_its_kind(numeric: str) -> None:
    reference, current = {"word": BEFORE, "x": X, "rare": X > 2.5}, {"word": NOW, "x": Y, "rare": Y > 2.5}
    reference, current = ({**side, "x": side["x"][:rows]} for side, rows in ((reference, 400), (current, 250)))
    found = drift.detect("tabular", reference, current, numeric=numeric).per_feature
    assert list(found) == ["word", "x", "rare"]
    for name, one in found.items():
        alone = drift.detect(numeric if name == "x" else "chi2", reference, current, columns=[name]).per_feature[name]
        assert (one.statistic, one.p_value) == (alone.statistic, alone.p_value)


@pytest.mark.parametrize("name", sorted(set(drift.METHODS) - {"default", "tabular"}))
def test_every_methods_docstring_names_its_source(name: str) -> None:
    text = str(drift.method(name).__doc__)
    assert re.search(r"\b(18|19|20)\d\d\b", text)
