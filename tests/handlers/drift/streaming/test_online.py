from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import cramervonmises_2samp, fisher_exact

from trimtab import drift
from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.kernels.rbf import gaussian
from trimtab.handlers.drift.streaming.cvm import standardised
from trimtab.handlers.drift.streaming.fisher import surprise
from trimtab.handlers.drift.streaming.lsdd import OnlineLSDD
from trimtab.handlers.drift.streaming.mmd import OnlineMMD
from trimtab.handlers.drift.streaming.thresholds import conditional
from trimtab.handlers.drift.streaming.windowed import Windowed

Floats = np.ndarray[Any, np.dtype[np.float64]]

METHODS = ["cvm", "fisher", "lsdd", "mmd"]


def rows(method: str, rng: np.random.Generator, count: int, columns: int = 2, shift: float = 0.0) -> Floats:
    if method == "fisher":
        return (rng.random((count, columns)) < 0.2 + 0.3 * shift).astype(float)
    return rng.normal(shift, 1, size=(count, columns))


def made(method: str, columns: int = 2, **params: Any) -> drift.Detector:
    reference = rows(method, np.random.default_rng(0), 200, columns)
    return drift.online(method, reference, **{"ert": 200, "window": 10, "simulations": 1000, **params})


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_is_found_within_a_few_windows_and_the_next_row_begins_a_new_run(method: str) -> None:
    rng, detector = np.random.default_rng(1), made(method)
    delays = []
    for row in rows(method, rng, 200, shift=2):
        detector.update(row)
        if detector.drifted:
            delays.append(detector.rows)
            assert detector.statistic is not None
            assert detector.threshold is not None
            assert detector.statistic > detector.threshold
    assert len(delays) >= 5
    assert max(delays) <= 25
    with pytest.raises(AttributeError):
        detector.drifted = False  # type: ignore[misc]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_restored_from_a_pickle_goes_on_as_the_original_does(method: str) -> None:
    rng, detector = np.random.default_rng(1), made(method)
    for row in rows(method, rng, 37):
        detector.update(row)
    restored = pickle.loads(pickle.dumps(detector))
    for row in rows(method, rng, 150, shift=0.7):
        detector.update(row)
        restored.update(row)
        assert (restored.statistic, restored.threshold, restored.drifted, restored.rows) == (
            detector.statistic,
            detector.threshold,
            detector.drifted,
            detector.rows,
        )


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides(method: str) -> None:
    stream = rows(method, np.random.default_rng(1), 60, shift=0.5)

    def path(seed: int) -> list[float | None]:
        detector = made(method, seed=seed)
        found: list[float | None] = list(detector.thresholds)
        for row in stream:
            detector.update(row)
            found += [detector.statistic, detector.threshold]
        return found

    assert path(1) == path(1)
    assert path(1) != path(2)


@pytest.mark.parametrize("method", METHODS)
def test_rows_with_missing_or_infinite_values_are_left_out_and_counted(method: str) -> None:
    stream = rows(method, np.random.default_rng(1), 40)
    clean, spoiled = made(method), made(method)
    for number, row in enumerate(stream):
        clean.update(row)
        spoiled.update(row)
        before = (spoiled.statistic, spoiled.rows)
        spoiled.update([np.nan, 1.0] if number % 2 else [0.0, np.inf])
        assert (spoiled.statistic, spoiled.rows) == before
        assert not spoiled.drifted
    assert spoiled.statistic == clean.statistic
    assert (spoiled.skipped, clean.skipped) == (40, 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_does_not_fit_is_refused_and_changes_nothing(method: str) -> None:
    detector = made(method)
    for row in rows(method, np.random.default_rng(1), 15):
        detector.update(row)
    before = pickle.dumps(detector)
    for row, text in (
        ([1.0], "the row has shape (1,); expected: (2,), one value for each column"),
        ([[1.0, 0.0]], "the row has shape (1, 2); expected: (2,), one value for each column"),
        (["a", "b"], "the row holds what is no number: ['a', 'b']"),
        (None, "the row has shape (1,); expected: (2,), one value for each column"),
        ({"f0": 1.0}, "the row has no 'f1'; the reference has f0, f1"),
    ):
        with pytest.raises(DataError) as caught:
            detector.update(row)
        assert str(caught.value) == text
    assert pickle.dumps(detector) == before


def test_rows_are_sequences_dicts_or_numbers() -> None:
    reference = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["a", "b"])
    named, ordered = (drift.online("mmd", reference, ert=100, window=10, simulations=500) for _ in range(2))
    named.update({"b": 2.0, "a": 1.0, "unknown": 5})
    ordered.update((1.0, 2.0))
    assert named.statistic == ordered.statistic
    single = drift.online("cvm", reference, columns=["b"], ert=100, window=10, simulations=500)
    single.update(0.5)
    assert (single.columns, single.rows) == (["b"], 1)


@pytest.mark.parametrize("method", ["cvm", "fisher"])
def test_the_first_row_with_a_statistic_is_the_first_with_a_threshold(method: str) -> None:
    """A calibration one row off from the scoring would have one of them first."""
    detector = made(method, window=12)
    tested = []
    for row in rows(method, np.random.default_rng(3), 30):
        detector.update(row)
        assert (detector.statistic is not None) == (detector.threshold is not None and np.isfinite(detector.threshold))
        tested.append(detector.statistic is not None)
    assert tested == [False] * 11 + [True] * 19


@pytest.mark.parametrize("method", ["mmd", "lsdd"])
def test_the_calibration_computes_at_each_step_what_update_computes(method: str) -> None:
    """alibi-detect's online CvM calibrates on windows one row off from those that it scores."""
    rng, detector = np.random.default_rng(5), made(method, window=12)
    assert isinstance(detector, Windowed)
    chosen = rng.permutation(detector._size)[:24]
    if isinstance(detector, OnlineMMD):
        stream = detector._rows[chosen[12:]]
    else:  # its reference is kept as features: put those of known rows in their place
        assert isinstance(detector, OnlineLSDD)
        stream = rng.normal(size=(12, 2))
        detector._features[chosen[12:]] = detector._basis.features(stream)
        detector._sums = detector._features.sum(axis=0)
    detector.reset()
    detector._start(chosen)
    found = []
    for row in stream * detector._spread + detector._middle:
        detector.rows += 1
        found.append(detector._score(row))
    assert found == pytest.approx(detector._paths(chosen[None, :])[0, 1:], rel=1e-9, abs=1e-14)


def test_online_lsdd_is_lsdd_of_the_fixed_part_and_the_latest_rows() -> None:
    detector = made("lsdd")
    assert isinstance(detector, OnlineLSDD)
    stream = rows("lsdd", np.random.default_rng(1), 10)
    for row in stream:
        detector.update(row)
    basis, y = detector._basis, (stream - detector._middle) / detector._spread
    h = basis.vectors @ detector._fixed - gaussian(y, basis.centres, [basis.width]).mean(axis=0)
    matrix = gaussian(basis.centres, basis.centres, [np.sqrt(2) * basis.width])
    found = [
        2 * h @ t - t @ matrix @ t
        for ridge in 4.0 ** -np.arange(10)
        for t in [np.linalg.solve(matrix + ridge * np.eye(len(h)), h)]
    ]
    assert detector.statistic is not None
    assert min(abs(value / detector.statistic - 1) for value in found) < 1e-6


def test_online_mmd_is_mmd_of_the_fixed_part_and_the_latest_rows() -> None:
    detector = made("mmd")
    assert isinstance(detector, OnlineMMD)
    stream = rows("mmd", np.random.default_rng(1), 10)
    for row in stream:
        detector.update(row)
    x, y = detector._fixed, (stream - detector._middle) / detector._spread
    kxx, kyy, kxy = (gaussian(a, b, detector._widths) for a, b in ((x, x), (y, y), (x, y)))
    n, w = len(x), len(y)
    known = (kxx.sum() - n) / (n * (n - 1)) + (kyy.sum() - w) / (w * (w - 1)) - 2 * kxy.mean()
    assert (n, w) == (180, 10)
    assert detector.statistic == pytest.approx(known, rel=1e-9)


def test_online_cvm_is_scipys_statistic_standardised() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=80), rng.normal(0.4, 1, size=15)
    n, m, total = 80, 15, 95
    known = cramervonmises_2samp(reference, window, method="asymptotic").statistic
    variance = (total + 1) * (4 * n * m * total - 3 * (n**2 + m**2) - 2 * n * m) / (45 * total**2 * 4 * n * m)
    places = np.sort(np.sort(reference).searchsorted(window))
    expected = (known - (1 + 1 / total) / 6) / np.sqrt(variance)
    assert standardised(places[None, :], n)[0] == pytest.approx(expected, rel=1e-9)
    detector = drift.online("cvm", reference, ert=100, window=15, simulations=500)
    for value in window:
        assert detector.statistic is None
        detector.update(value)
    assert detector.statistic == pytest.approx(expected, rel=1e-9)


def test_online_fisher_reads_scipys_p_values_from_tables() -> None:
    for alternative in ("two-sided", "greater", "less"):
        table = surprise(50, 12, 8, alternative)
        known = [fisher_exact([[k, 8 - k], [12, 38]], alternative=alternative).pvalue for k in range(9)]
        assert np.exp(-table) == pytest.approx(known, rel=1e-9)


def test_fisher_tells_more_from_fewer() -> None:
    for alternative, value, drifts in (
        ("greater", 1, True),
        ("greater", 0, False),
        ("less", 0, True),
        ("less", 1, False),
    ):
        reference = rows("fisher", np.random.default_rng(0), 400, 1, shift=1.0)
        detector = drift.online("fisher", reference, ert=200, window=12, simulations=1000, alternative=alternative)
        found = []
        for _ in range(12):
            detector.update(value)
            found.append(detector.drifted)
        assert found[-1] is drifts


@pytest.mark.parametrize("method", ["cvm", "fisher"])
def test_the_columns_that_drifted_are_named(method: str) -> None:
    rng, detector = np.random.default_rng(1), made(method, columns=3)
    for row in rows(method, rng, 60, 3):
        row[1] = 1.0 if method == "fisher" else row[1] + 3
        detector.update(row)
        if detector.drifted:
            break
    assert detector.drifted_columns == ["f1"]
    detector.reset()
    assert detector.drifted_columns == []


def test_constant_data_raise_no_alarm_beyond_the_rate() -> None:
    for method in ("mmd", "lsdd", "cvm", "fisher"):
        detector = drift.online(method, np.ones((100, 2)), ert=100, window=10, simulations=500)
        alarms = 0
        for _ in range(300):
            detector.update([1, 1])
            alarms += detector.drifted
        assert alarms <= (12 if method == "cvm" else 0)  # its ties are placed at random: it keeps to its rate


@pytest.mark.parametrize("method", ["mmd", "lsdd"])
def test_numbers_of_any_size_are_taken(method: str) -> None:
    rng = np.random.default_rng(0)
    for unit in (1e-300, 1e300):
        reference = unit * rng.normal(size=(200, 2))
        detector = drift.online(method, reference, ert=200, window=10, simulations=500)
        for row in unit * rng.normal(3, 1, size=(10, 2)):
            detector.update(row)
            if detector.drifted:
                break
        assert detector.drifted


def test_thresholds_leave_the_asked_for_share_of_streams_at_each_step() -> None:
    rng = np.random.default_rng(0)
    paths = np.cumsum(rng.normal(size=(20_000, 12)), axis=1)
    found = conditional(paths, 0.02, settled=4)
    assert len(found) == 9
    alive = np.ones(len(paths), dtype=bool)
    for place in range(8):
        assert np.mean(paths[alive, place] > found[place]) == pytest.approx(0.02, abs=0.0005)
        alive &= paths[:, place] <= found[place]
    alarms = exposed = 0
    for place in range(8, 12):
        exposed += int(alive.sum())
        alarms += int((paths[alive, place] > found[8]).sum())
        alive &= paths[:, place] <= found[8]
    assert alarms / exposed == pytest.approx(0.02, rel=0.02)


def test_a_rate_that_the_simulation_does_not_resolve_is_extrapolated() -> None:
    rng = np.random.default_rng(0)
    found = conditional(rng.exponential(size=(2000, 6)), 1e-5, settled=3)
    assert found == pytest.approx(np.full(4, np.log(1e5)), rel=0.15)


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("page", {}, "method: found 'page', allowed: cvm, fisher, lsdd, mmd"),
        ("mmd", {"window": 1}, "mmd.window: found 1, allowed: a number of rows, 2 or more, or several such numbers"),
        ("cvm", {"window": []}, "cvm.window: found [], allowed: a number of rows, 2 or more, or several such numbers"),
        ("cvm", {"window": [3, "a"]}, "cvm.window: found [3, 'a'], allowed: a number of rows, 2 or more, or several such numbers"),
        ("mmd", {"window": [5, 9]}, "mmd.window: found [5, 9], allowed: one number of rows"),
        ("mmd", {"ert": 10}, "mmd.ert: found 10, allowed: a number of rows above the shortest window, 10"),
        ("mmd", {"max_rows": 30}, "mmd.max_rows: found 30, allowed: 40 or more: four windows"),
        ("mmd", {"bandwidth": -1}, "mmd.bandwidth: found -1, allowed: None (the median heuristic), a number above 0, or several"),
        ("lsdd", {"centres": 171}, "lsdd.centres: found 171, allowed: None (a twentieth), or 1 to 170: they are rows of the reference"),
        ("fisher", {"alternative": "more"}, "fisher.alternative: found 'more', allowed: two-sided, greater, less"),
        ("fisher", {"smoothing": 0}, "fisher.smoothing: found 0, allowed: a number above 0, at most 1"),
        ("cvm", {"smoothing": 1}, "cvm.smoothing: found 1, allowed: the parameters ert, window, seed, simulations, max_rows"),
        ("cvm", {"simulations": 3}, "cvm.simulations: found 3, allowed: None (15 to an expected run time), or 100 or more"),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(method: str, params: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        made(method, **params)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("method", "reference", "text"),
    [
        ("mmd", np.ones((39, 2)), "reference has 39 complete rows; 40 are needed for a window of 10: four times as many"),
        ("cvm", np.ones((19, 2)), "reference has 19 complete rows; 20 are needed for a window of 10"),
        ("mmd", np.full((90, 1), np.nan), "reference has 0 complete rows; 40 are needed for a window of 10: four times as many"),
        ("fisher", np.full((90, 1), 0.5), "reference, column 'f0': found 0.5; the fisher detector takes zeros and ones"),
    ],
)  # fmt: skip
def test_references_that_are_too_small_or_of_another_kind_are_refused(
    method: str, reference: Floats, text: str
) -> None:
    with pytest.raises(DataError) as caught:
        drift.online(method, reference, ert=100, window=10)
    assert str(caught.value) == text


def test_a_row_of_other_numbers_than_0_and_1_is_refused_by_fisher() -> None:
    with pytest.raises(DataError, match=r"^the row: found 2; the fisher detector takes zeros and ones$"):
        made("fisher").update([0, 2])
