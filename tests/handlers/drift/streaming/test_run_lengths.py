"""The acceptance test of the online detectors: how many rows pass between false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from trimtab import drift

Floats = np.ndarray[Any, np.dtype[np.float64]]
Make = Callable[[np.random.Generator, int], Floats]

STREAMS = 120


def normal(columns: int) -> Make:
    return lambda rng, rows: rng.normal(size=(rows, columns))


def ones(chance: float, columns: int) -> Make:
    return lambda rng, rows: (rng.random((rows, columns)) < chance).astype(float)


def rounded(rng: np.random.Generator, rows: int) -> Floats:
    """Whole numbers, most of them 0."""
    return rng.poisson(0.4, size=(rows, 1)).astype(float)


def rows_without_end(make: Make, rng: np.random.Generator) -> Iterator[Floats]:
    while True:
        yield from make(rng, 100)


def run_lengths(method: str, make: Make, rows: int, ert: float, window: Any, **params: Any) -> Floats:
    found = []
    for stream in range(STREAMS):
        rng = np.random.default_rng(stream)
        detector = drift.online(method, make(rng, rows), ert=ert, window=window, seed=stream % 4, **params)
        count = 0
        for row in rows_without_end(make, rng):
            detector.update(row)
            count += 1
            if detector.drifted:
                break
        found.append(count)
    return np.array(found, dtype=np.float64)


@pytest.mark.parametrize(
    ("method", "make", "window", "params"),
    [
        ("cvm", normal(1), 10, {}),
        ("cvm", normal(4), [5, 15], {}),
        ("cvm", rounded, [5, 15], {}),
        ("fisher", ones(0.3, 1), 10, {}),
        ("fisher", ones(0.05, 3), [8, 16], {"alternative": "greater"}),
        ("mmd", normal(3), 10, {}),
        ("lsdd", normal(3), 10, {}),
    ],
    ids=["cvm", "cvm of 4 columns and 2 windows", "cvm of rounded numbers", "fisher", "fisher, greater", "mmd", "lsdd"],
)
def test_the_mean_run_between_false_alarms_is_what_was_asked_for(
    method: str, make: Make, window: Any, params: dict[str, Any]
) -> None:
    found = run_lengths(method, make, 300, 60, window, simulations=2000, **params)
    assert 0.7 * 60 <= found.mean() <= 1.5 * 60


def test_run_lengths_are_memoryless() -> None:
    """A geometric law: the spread is the mean, and a third of the runs outlast it."""
    found = run_lengths("mmd", normal(2), 300, 60, 10, simulations=2000)
    assert 0.7 < found.std() / found.mean() < 1.3
    assert 0.25 < np.mean(found > found.mean()) < 0.5
