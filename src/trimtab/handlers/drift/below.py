"""How many values lie below each of a few edges, by comparing all values with each: for some dozens of edges faster than sorting.

Rounding to float32 keeps the order. So where an edge is the least float64 that rounds to its float32, a value lies below it
exactly when its float32 does, and half of the memory has to be read. `on_float32` moves edges to such places.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["below", "on_float32"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

_BLOCK = 1 << 17  # values whose float32 stay in a core's second cache


def below(values: Floats, edges: Floats) -> Counts:
    """Count the values below each edge: what `searchsorted` gives where they are sorted. NaN is below none."""
    found = np.zeros(len(edges), np.int64)
    size = min(len(values), _BLOCK)
    rounded, mask = np.empty(size, np.float32), np.empty(size, np.bool_)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = edges.astype(np.float32)
        sharp = _sharp(edges, narrow)
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            singles, less = rounded[: len(block)], mask[: len(block)]
            np.copyto(singles, block, casting="same_kind")
            low, high = singles.min(), singles.max()
            found += np.where(high < narrow, len(block), 0)
            none = (low > narrow) | (sharp & (low == narrow))
            for place in np.flatnonzero(~(none | (high < narrow))):
                if sharp[place]:
                    np.less(singles, narrow[place], out=less)
                else:
                    np.less(block, edges[place], out=less)
                found[place] += np.count_nonzero(less)
    return found


def on_float32(edges: Floats, ordered: Floats) -> Floats:
    """Move edges to the nearest place that float32 tells apart, where that parts these (sorted) values in the same way.

    Two edges with no number between them hold a single number, and stay.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = edges.astype(np.float32)
        single = edges[1:] == np.nextafter(edges[:-1], np.inf)
        still = np.append(single, False) | np.append(False, single)
        at, found = ordered.searchsorted(edges), edges.copy()
        for singles in (np.nextafter(narrow, np.float32(np.inf)), narrow):
            moved = _least(singles)
            fits = _sharp(moved, singles) & ~still & (ordered.searchsorted(moved) == at)
            found[fits] = moved[fits]
    return found if (found[1:] > found[:-1]).all() else edges


def _sharp(edges: Floats, narrow: Singles) -> npt.NDArray[np.bool_]:
    """Tell which edges are the least number of those that round to the same float32."""
    return np.asarray(np.nextafter(edges, -np.inf).astype(np.float32) < narrow)


def _least(narrow: Singles) -> Floats:
    """Give the least float64 that rounds to each float32, by the middle between it and the float32 before it."""
    before = np.nextafter(narrow, np.float32(-np.inf)).astype(np.float64)
    middle = before / 2 + narrow.astype(np.float64) / 2
    return np.asarray(np.where(middle.astype(np.float32) >= narrow, middle, np.nextafter(middle, np.inf)))
