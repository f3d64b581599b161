"""Methods that compare rows, with a sketch on one side and a table on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trimtab import drift
from trimtab.errors import DataError
from trimtab.sketches import Reference, Sketch

METHODS: dict[str, dict[str, Any]] = {
    "mmd": {},
    "lsdd": {},
    "classifier": {"repeats": 1},
    "spot_the_diff": {},
    "learned_kernel_mmd": {"iterations": 10},
    "context_mmd": {"context": "c", "permutations": 30, "max_rows": 120},
}


def table(seed: int, rows: int, shift: float = 0.0) -> pd.DataFrame:
    choice = np.random.default_rng(seed)
    words = choice.choice(["a", "b"], rows)
    return pd.DataFrame({"x": choice.normal(shift, 1, size=rows), "c": choice.normal(size=rows), "w": words})


@pytest.mark.parametrize("method", METHODS)
def test_a_table_beside_a_sketch_is_compared_by_its_own_rows(method: str) -> None:
    reference, params = Reference.fit(table(0, 3000), sample=400), METHODS[method]
    for shift, drifted in ((0.0, False), (2.0, True)):
        found = drift.detect(method, reference, table(7, 300, shift), alpha=0.01, **params)
        assert found.drifted is drifted
        assert (found.n_reference, found.n_current) == (3000, 300)
        assert "400 sampled of 3000 rows of the reference" in found.message
        assert "of current" not in found.message.replace("of 300 rows of current (max_rows)", "")


def test_either_side_may_be_the_sketch() -> None:
    window = Sketch.of(Reference.fit(table(0, 3000)), table(1, 500, 2.0), sample=200)
    found = drift.detect("mmd", table(2, 300), window)
    assert found.drifted is True
    assert found.message == "200 sampled of 500 rows of current"


def test_its_rows_are_those_that_were_given() -> None:
    reference = Reference.fit(table(0, 3000), sample=400)
    given, turned = table(1, 300, 0.2), table(1, 300, 0.2)[["w", "c", "x"]]
    rows = reference.sketch().sample()
    known = drift.detect("mmd", rows, given)
    for current in (given, turned, given.to_dict("list"), given.to_numpy(dtype=object)):
        found = drift.detect("mmd", reference, current)
        assert (found.statistic, found.p_value) == pytest.approx((known.statistic, known.p_value))
    chosen = drift.detect("mmd", reference, given.assign(extra=1), columns=["x"])
    assert chosen.statistic == pytest.approx(drift.detect("mmd", rows, given, columns=["x"]).statistic)


def test_outputs_that_were_sketched_too_need_not_be_in_the_table() -> None:
    reference = Reference.fit(table(0, 3000), predictions=["yes", "no"] * 1500)
    assert drift.detect("mmd", reference, table(1, 300)).drifted is False


def test_a_sketch_without_sampled_rows_is_refused_with_what_to_do() -> None:
    reference = Reference.fit(table(0, 500), sample=0)
    text = r"^reference: no rows were sampled when it was sketched, and this method compares rows; give tables on both"
    with pytest.raises(DataError, match=text):
        drift.detect("mmd", reference, table(1, 300))


def test_rows_that_a_sketch_counts_as_invalid_are_refused_by_name() -> None:
    reference, current = Reference.fit(table(0, 500)), table(1, 300).astype(object)
    current.loc[3, "x"] = "many"
    with pytest.raises(DataError, match=r"^current: column 'x' is numeric in the reference, and 1 of its 300 values"):
        drift.detect("mmd", reference, current)
