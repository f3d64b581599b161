from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.handlers.drift.kernels.levels import holds

from trimtab import drift
from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.context import ADiTT, ridge_by_folds
from trimtab.handlers.drift.kernels.rbf import gaussian


def made(rng: np.random.Generator, rows: int, context: float = 0.0, shift: float = 0.0) -> pd.DataFrame:
    c = rng.normal(context, 1, rows)
    return pd.DataFrame({"c": c, "x": np.sin(c) + c + rng.normal(0, 0.5, rows) + shift})


def p_values(trials: int, **moved: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        result = drift.detect(
            "context_mmd", made(rng, 120), made(rng, 120, **moved), context="c",
            permutations=39, tail="count", stop=8, seed=trial,
        )  # fmt: skip
        found.append(result.p_value)
    return np.array(found, dtype=np.float64)


def test_a_change_of_context_alone_is_no_drift_though_mmd_sees_one() -> None:
    found = p_values(60, context=1.0)
    assert np.mean(found <= 0.05) <= 0.17  # the resampling is exact only where the context's classifier is
    assert np.mean(found <= 0.2) <= 0.35
    rng = np.random.default_rng(0)
    assert drift.detect("mmd", made(rng, 120)[["x"]], made(rng, 120, context=1.0)[["x"]]).drifted is True


def test_it_holds_its_level_where_nothing_changed() -> None:
    assert holds(p_values(60), 0.05)


def test_a_change_within_contexts_is_found_whether_or_not_the_contexts_change_too() -> None:
    assert np.mean(p_values(20, shift=0.5) <= 0.05) >= 0.9
    assert np.mean(p_values(20, context=0.7, shift=0.5) <= 0.05) >= 0.9


def test_the_statistic_is_the_mean_distance_of_the_conditional_embeddings() -> None:
    """The paper's formula, term by term, with inverses."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 3)), rng.normal(size=(24, 3))
    test = ADiTT(x, y, np.array([False, False, True]), rng)
    (zero, one), held = (np.flatnonzero(test.labels == label) for label in (0, 1)), test.to_held
    a0, a1 = (
        held[:, own] @ np.linalg.inv(test.near[np.ix_(own, own)] + len(own) * ridge * np.eye(len(own)))
        for own, ridge in zip((zero, one), test.ridges, strict=True)
    )
    k = test.kernel
    terms = [
        p @ k[np.ix_(zero, zero)] @ p + q @ k[np.ix_(one, one)] @ q - 2 * p @ k[np.ix_(zero, one)] @ q
        for p, q in zip(a0, a1, strict=True)
    ]
    assert test.observed == pytest.approx(np.mean(terms), rel=1e-6)
    assert (len(zero), len(one), len(held)) == (25, 18, 6)


def test_the_ridge_is_small_where_the_context_says_much_and_large_where_it_says_nothing() -> None:
    rng = np.random.default_rng(0)
    c = rng.normal(size=(200, 1))
    near = gaussian(c, c, [1.0])
    told, silent = (gaussian(x, x, [1.0]) for x in (np.sin(3 * c), rng.normal(size=(200, 1))))
    assert ridge_by_folds(told, near, rng) < 1e-3 < ridge_by_folds(silent, near, rng)


def test_the_context_must_be_some_of_the_columns() -> None:
    frame = made(np.random.default_rng(0), 60)
    for context in ((), "hour", ["c", "x"]):
        with pytest.raises(
            SpecError, match=r"^context_mmd.context: found .*, allowed: some, not all, of the columns c, x$"
        ):
            drift.detect("context_mmd", frame, frame, context=context)
    assert drift.detect("context_mmd", frame, frame[:19], context="c").drifted is None


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    x, y = made(rng, 80), made(rng, 80)
    first, again, other = (drift.detect("context_mmd", x, y, context=["c"], permutations=20, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.statistic != other.statistic
