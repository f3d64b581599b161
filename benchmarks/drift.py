"""Drift on 100,000 x 50 floats against a fitted reference, single thread, and from sketches; what `trimtab.drift` costs to import.

Evidently runs its report with one `ValueDrift` a column, in an environment of its own, on the same numbers. MLRun's computation
is restated from its published code (mlrun 1.12, `get_df_stats` and `calculate_inputs_statistics`: `describe` of the table, two
histograms a feature, the three distances of the padded ones), because mlrun itself wants an older numpy and pandas than the
others here. Columns are contiguous, as files give them; all libraries are asked for one thread.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers import PYTHON
from benchmarks.rounds import Effort, alternate, milliseconds, say
from benchmarks.row import Row
from benchmarks.server import APPS
from benchmarks.wake import python
from trimtab import drift
from trimtab.handlers.drift import mlrun
from trimtab.handlers.drift.rule import check
from trimtab.sketches import Reference, Sketch

ROWS, COLUMNS = 100_000, 50
_EVIDENTLY = {"ks": "ks", "hellinger": "hellinger", "js": "jensenshannon", "psi": "psi"}
_WHY = (
    "comparing 100,000 values with 16 or 17 edges takes two thirds of the time, reading and rounding them a quarter; both are "
    "as fast as numpy's loops are"
)
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def rows(effort: Effort) -> list[Row]:
    """Measure. Errors: FileNotFoundError where the environment of the peers is missing."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` makes it")
    rounds = min(effort.rounds, 7)
    choice = np.random.default_rng(0)
    names = [f"f{place}" for place in range(COLUMNS)]
    before = pd.DataFrame({name: choice.normal(size=ROWS) for name in names})
    now = pd.DataFrame({name: choice.normal(0.02, 1, size=ROWS) for name in names})
    return [*_tables(before, now, rounds), *_sketches(before, now, rounds), *_import(effort)]


def _tables(before: pd.DataFrame, now: pd.DataFrame, rounds: int) -> list[Row]:
    reference = drift.fit(before)
    theirs = _evidently(rounds)
    stored = {name: np.histogram(before[name], bins=mlrun.BINS) for name in before.columns}
    sides: dict[str, Any] = {method: partial(drift.detect, method, reference, now) for method in (*_EVIDENTLY, "tvd")}
    sides["MLRun"] = partial(_mlrun, stored, now)
    found = alternate({name: partial(milliseconds, side) for name, side in sides.items()}, rounds)
    row = partial(Row, unit="ms", of="ratio", bound="at most")
    made = [
        row(
            what=f"`{method}`, {ROWS:,} x {COLUMNS}, fitted reference",
            ours=found[method],
            beside="Evidently",
            theirs=theirs[_EVIDENTLY[method]],
            must=1 / (20 if method == "ks" else 200),
            why=_WHY,
        )
        for method in _EVIDENTLY
    ]
    beside = "MLRun's computation, restated"
    made += [
        row(
            what=f"`{method}`, {ROWS:,} x {COLUMNS}, fitted reference",
            ours=found[method],
            beside=beside,
            theirs=found["MLRun"],
            must=0.1,
            why=_WHY,
        )
        for method in ("tvd", "hellinger")
    ]
    return made


def _evidently(rounds: int) -> dict[str, list[float]]:
    """Time the peer, in its own environment."""
    say("Evidently")
    methods = ",".join(_EVIDENTLY.values())
    command = [str(PYTHON), str(APPS / "drift_evidently.py"), str(ROWS), str(COLUMNS), str(min(rounds, 3)), methods]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **_SINGLE})
    found: dict[str, list[float]] = json.loads(run.stdout.splitlines()[-1])
    return found


def _mlrun(stored: dict[str, Any], now: pd.DataFrame) -> None:
    """Do what MLRun's monitor does with a window."""
    largest = np.finfo(np.float64).max
    statistics = now.describe(include="all", percentiles=[]).to_dict()
    seen, expected = {}, {}
    for name in now.columns:
        np.histogram(now[name], bins=mlrun.BINS)  # the window's own histogram, which is then replaced
        counts, edges = stored[name]
        padded = np.concatenate(([-largest], edges, [largest]))
        seen[name] = np.histogram(now[name].to_numpy(), bins=padded)[0] / statistics[name]["count"]
        expected[name] = np.concatenate(([0], counts, [0])) / counts.sum()
    left, right = pd.DataFrame(seen), pd.DataFrame(expected)
    for name in now.columns:
        for distance in (mlrun.tvd, mlrun.hellinger, mlrun.kld):
            distance(left[name].to_numpy(), right[name].to_numpy())


def _sketches(before: pd.DataFrame, now: pd.DataFrame, rounds: int) -> list[Row]:
    reference = Reference.fit(before)
    fitted = drift.fit(reference)
    few, many = Sketch.of(reference, now[:1000]), Sketch.of(reference, now)
    ones = Reference.fit(_ones(1))
    flags, seen = drift.fit(ones), Sketch.of(ones, _ones(2))
    sides = {
        "ones": partial(check, flags, [seen]),
        "few": partial(check, fitted, [few]),
        "many": partial(check, fitted, [many]),
        "day": partial(check, fitted, [many] * 24),
    }
    found = alternate({name: partial(milliseconds, side) for name, side in sides.items()}, rounds * 5)
    row = partial(Row, unit="ms", bound="at most")
    return [
        row(what=f"check of {COLUMNS} features from a sketch of {ROWS:,} rows", ours=found["many"], must=5),
        row(
            what="the same, beside one of 1,000 rows: independent of traffic",
            ours=found["many"],
            beside="1,000 rows",
            theirs=found["few"],
            must=1.25,
            of="ratio",
        ),
        row(what=f"check of {COLUMNS} binary features, half of their values missing", ours=found["ones"], must=5),
        row(what=f"check of {COLUMNS} features on both horizons, 24 sketches added up", ours=found["day"]),
    ]


def _ones(seed: int) -> dict[str, Any]:
    """Zeros and ones, every other one missing: each feature is tested exactly, by its values and by what is missing."""
    choice = np.random.default_rng(seed)
    values = np.where(choice.random((COLUMNS, ROWS)) < 0.5, np.nan, choice.random((COLUMNS, ROWS)) < 0.3)
    return {f"f{place}": column for place, column in enumerate(values)}


def _import(effort: Effort) -> list[Row]:
    codes = {"numpy": "import numpy", "drift": "import numpy, trimtab.drift"}
    sides = {name: partial(milliseconds, partial(python, code)) for name, code in codes.items()}
    found = alternate(sides, effort.count)
    over = [ours - bare for ours, bare in zip(found["drift"], found["numpy"], strict=True)]
    return [
        Row(
            what="`import trimtab.drift`, over numpy",
            unit="ms",
            ours=over,
            beside="`import numpy` in all",
            theirs=found["numpy"],
            must=300,
            bound="at most",
        )
    ]
