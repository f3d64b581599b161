"""What it costs to sketch rows: values a second, on one thread, for 100,000 rows of 50 float columns.

A sketch counts bins, missing values and infinities, keeps moments, extremes, quantile buckets and a sample of rows. The
limit beside it is `numpy.searchsorted` alone, which only finds the bins; the peer is `numpy.histogram` on fixed edges and
`pandas.DataFrame.describe`, which is what MLRun makes of a window. What merging and checking cost, and the bytes of a
sketch, depend on the columns and not on the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.rounds import Effort, alternate, milliseconds
from benchmarks.row import Row
from trimtab.sketches import NumericReference, Reference
from trimtab.sketches.numeric import bounds
from trimtab.sketches.sketch import Sketch, priorities

ROWS, COLUMNS = 100_000, 50


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    count = ROWS if effort.seconds > 1 else ROWS // 10
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(count, COLUMNS)), columns=[f"c{place}" for place in range(COLUMNS)])
    reference = Reference.fit(pd.DataFrame(rng.normal(size=(20_000, COLUMNS)), columns=frame.columns))
    found = alternate(_sides(reference, frame), effort.rounds)
    one, two = (Sketch.empty(reference), Sketch.empty(reference))
    for sketch, part in ((one, frame[::2]), (two, frame[1::2])):
        sketch.update(part, priorities=priorities(str(id(sketch)), len(part)))
    few = Sketch.of(reference, frame, sample=0)
    size, grown = len(few.to_bytes()) / 1024, len(Sketch.total([few] * 10).to_bytes()) / 1024
    return [
        Row(
            what="sketch update, 50 float columns",
            unit="M values/s",
            ours=found["sketch"],
            must=5.0,
            beside="limit: `numpy.searchsorted` alone",
            theirs=found["searchsorted"],
        ),
        Row(
            what="the same",
            unit="M values/s",
            ours=found["sketch"],
            beside="`numpy.histogram` and `describe`",
            theirs=found["histogram"],
        ),
        Row(
            what="merging two sketches of 50 columns",
            unit="ms",
            ours=[milliseconds(lambda: one.merge(two)) for _ in range(effort.rounds)],
        ),
        Row(
            what="bytes of a sketch of ten times the rows, without its sample",
            unit="KiB",
            ours=[grown],
            must=1.1,
            of="ratio",
            bound="at most",
            beside="of the rows",
            theirs=[size],
        ),
    ]


def _sides(reference: Reference, frame: pd.DataFrame) -> dict[str, Callable[[], float]]:
    edges = {column.name: bounds(column) for column in reference.columns if isinstance(column, NumericReference)}
    sketch = Sketch.empty(reference)
    values = frame.size / 1e6

    def rate(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return values / (time.perf_counter() - began)

    def histogram() -> None:
        for name in frame.columns:
            np.histogram(frame[name], edges[name])
        frame.describe()

    return {
        "sketch": lambda: rate(lambda: sketch.update(frame)),
        "searchsorted": lambda: rate(
            lambda: [np.searchsorted(edges[name], frame[name].to_numpy(), side="right") for name in frame.columns]
        ),
        "histogram": lambda: rate(histogram),
    }
