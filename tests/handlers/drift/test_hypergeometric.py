"""Tails of 2 x 2 tables against exact fractions, and where those take too long against scipy's."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trimtab.handlers.drift.hypergeometric import Tables, as_probable, tails

CELL = st.integers(0, 12) | st.integers(0, 700)
TINY = 1e-280  # below, floats end


def exact(a: int, b: int, c: int, d: int) -> tuple[float, float, float]:
    drawn, marked, others = a + b, a + c, b + d
    first, last = max(0, drawn - others), min(drawn, marked)
    each = [comb(marked, k) * comb(others, drawn - k) for k in range(first, last + 1)]
    total, at = comb(marked + others, drawn), each[a - first]
    rare = sum(one for one in each if one <= at * (1 + Fraction(1, 10**7)))
    lower, upper = sum(each[: a - first + 1]), sum(each[a - first :])
    return float(Fraction(lower, total)), float(Fraction(upper, total)), float(Fraction(rare, total))


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL), min_size=1, max_size=4))
def test_tails_are_those_of_exact_fractions(cells: list[tuple[int, int, int, int]]) -> None:
    tables = Tables(*np.array(cells, dtype=np.float64).T)
    found = np.stack((*tails(tables), as_probable(tables)), axis=1)
    for one, known in zip(found.tolist(), (exact(*table) for table in cells), strict=True):
        assert one == pytest.approx(known, rel=1e-10, abs=TINY)


@pytest.mark.parametrize("rows", [4000, 40_000, 10**6, 10**8])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_tails_of_many_terms_are_scipys(rows: int, share: float) -> None:
    drawn, marked = rows // 3, int(rows * share)
    law = stats.hypergeom(rows, marked, drawn)
    seen = np.unique(np.round(law.mean() + law.std() * np.array([-20, -8, -3, -1, -0.3, 0, 0.5, 2, 6, 15])))
    seen = seen[(seen >= 0) & (seen <= min(drawn, marked))]
    lower, upper = tails(Tables(seen, drawn - seen, marked - seen, rows - marked - drawn + seen))
    known = law.cdf(seen), law.sf(seen - 1)
    assert lower == pytest.approx(known[0], rel=1e-7, abs=TINY)
    assert upper == pytest.approx(known[1], rel=1e-7, abs=TINY)


def test_samples_are_read_a_row_each_and_many_at_once() -> None:
    choice = np.random.default_rng(0)
    left, right = choice.integers(0, 60, size=(40, 2)), choice.integers(0, 30, size=(40, 2))
    found = as_probable(Tables.of(left, right))
    known = [stats.fisher_exact([[n[1], n[0]], [m[1], m[0]]]).pvalue for m, n in zip(left, right, strict=True)]
    assert found == pytest.approx(known, rel=1e-9)
