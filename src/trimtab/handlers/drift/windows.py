"""Windows added up as far as tests need it: counts and moments, without samples of rows and quantiles, which cost more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.sketches.categorical import CategoricalSketch
from trimtab.sketches.loglinear import LogLinear
from trimtab.sketches.numeric import NumericSketch
from trimtab.sketches.reservoir import Reservoir
from trimtab.sketches.sketch import ColumnSketch, Sketch

__all__ = ["added"]


def added(windows: Sequence[Sketch]) -> Sketch:
    """Add up the counts and moments of windows of one reference, one at least."""
    if len(windows) == 1:
        return windows[0]
    reference = windows[0].reference
    columns = {name: _column([window.columns[name] for window in windows]) for name in reference.names}
    return Sketch(reference, columns, Reservoir.empty(0), sum(window.rows for window in windows))


def _column(parts: Sequence[ColumnSketch]) -> ColumnSketch:
    numbers = [part for part in parts if isinstance(part, NumericSketch)]
    if numbers:
        return _numeric(numbers)
    total, *others = (part for part in parts if isinstance(part, CategoricalSketch))
    for other in others:
        total = total.merge(other)
    return total


def _numeric(parts: Sequence[NumericSketch]) -> NumericSketch:
    sizes, means = np.array([part.n for part in parts], float), np.array([part.mean for part in parts])
    n = int(sizes.sum())
    mean = float(means @ (sizes / n)) if n else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        m2 = float(sum(part.m2 for part in parts) + sizes @ (means - mean) ** 2)
    return NumericSketch(
        bins=np.sum([part.bins for part in parts], axis=0),
        missing=sum(part.missing for part in parts),
        invalid=sum(part.invalid for part in parts),
        positive_infinite=sum(part.positive_infinite for part in parts),
        negative_infinite=sum(part.negative_infinite for part in parts),
        n=n,
        mean=mean,
        m2=m2,
        min=min(part.min for part in parts),
        max=max(part.max for part in parts),
        buckets=LogLinear.empty(),
    )
