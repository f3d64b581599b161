"""Evidently's report on the same table, in the peers' environment: prints the milliseconds of each round as JSON."""

from __future__ import annotations

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from evidently import Dataset, Report  # noqa: E402
from evidently.metrics import ValueDrift  # noqa: E402


def main() -> None:
    """Arguments: rows, columns, rounds, methods by comma."""
    rows, columns, rounds = map(int, sys.argv[1:4])
    choice = np.random.default_rng(0)
    names = [f"f{place}" for place in range(columns)]
    reference = Dataset.from_pandas(pd.DataFrame({name: choice.normal(size=rows) for name in names}))
    current = Dataset.from_pandas(pd.DataFrame({name: choice.normal(0.02, 1, size=rows) for name in names}))
    found: dict[str, list[float]] = {}
    for method in sys.argv[4].split(","):
        report = Report([ValueDrift(column=name, method=method) for name in names])
        for number in range(-1, rounds):
            began = time.perf_counter()
            report.run(current, reference)
            if number >= 0:
                found.setdefault(method, []).append((time.perf_counter() - began) * 1000)
    print(json.dumps(found))


main()
