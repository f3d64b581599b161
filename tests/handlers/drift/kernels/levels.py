"""How often a test rejects where nothing has drifted, and where something has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from trimtab import drift

Floats = npt.NDArray[np.float64]
Make = Callable[[np.random.Generator, int], Floats]


def normal(columns: int) -> Make:
    return lambda rng, rows: rng.normal(size=(rows, columns))


def p_values(
    method: str,
    trials: int,
    *,
    rows: tuple[int, int],
    make: Make,
    moved: Callable[[Floats], Any] | None = None,
    **params: Any,
) -> Floats:
    found = []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        reference, current = make(rng, rows[0]), make(rng, rows[1])
        result = drift.detect(method, reference, moved(current) if moved else current, seed=trial, **params)
        assert result.p_value is not None
        assert 0 < result.p_value <= 1
        found.append(result.p_value)
    return np.array(found)


def holds(p_values: Floats, level: float) -> bool:
    """Whether the number of rejections is one that the level explains; 1 in 1,000 on either side would not be."""
    low, high = binom.ppf([0.001, 0.999], len(p_values), level)
    return bool(low <= np.count_nonzero(p_values <= level) <= high)
