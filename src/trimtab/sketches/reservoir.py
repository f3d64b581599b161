"""A uniform sample of rows that adds up exactly: every row has a number by chance, and the rows of the lowest are kept.

The number is a hash of the event's id and the row's place in it, so that a row has the same one whoever handles it and
however often (bottom-k sampling: Cohen, Kaplan, "Summarizing data using bottom-k sketches", PODC 2007).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Priorities = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def priorities(id: str, rows: int) -> Priorities:
    """Give the numbers of the rows of the event of this id."""
    seed = int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return scattered(seed, rows)


def scattered(seed: int, rows: int) -> Priorities:
    """Scatter seed + 0, seed + 1 ... over 64 bits (SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed % 2**64) + _GOLDEN * np.arange(1, rows + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


class Reservoir(Struct, kw_only=True):
    """The rows of the lowest numbers, in their order; `rows` hold a float or a level (None: missing) for each column."""

    capacity: int
    priorities: Priorities
    rows: list[tuple[Any, ...]]

    @classmethod
    def empty(cls, capacity: int) -> Reservoir:
        """Start without rows."""
        return cls(capacity=capacity, priorities=np.empty(0, np.uint64), rows=[])

    def candidates(self, offered: Priorities) -> npt.NDArray[np.intp]:
        """Find which of these could be kept."""
        limit = self.capacity
        if not limit:
            return np.empty(0, np.intp)
        if len(self.priorities) == limit:
            found = np.flatnonzero(offered <= self.priorities[-1])
        else:
            found = np.arange(len(offered))
        if len(found) <= limit:
            return found
        last = np.partition(offered[found], limit - 1)[limit - 1]
        return np.asarray(found[offered[found] <= last])

    def add(self, offered: Priorities, rows: Sequence[tuple[Any, ...]]) -> Reservoir:
        """Give the lowest of what is kept and what is offered; this one is not changed."""
        return self._lowest(self.capacity, offered, rows)

    def merge(self, other: Reservoir) -> Reservoir:
        """Give the lowest of two, as many as the smaller one may keep; neither is changed."""
        return self._lowest(min(self.capacity, other.capacity), other.priorities, other.rows)

    def _lowest(self, capacity: int, offered: Priorities, rows: Sequence[tuple[Any, ...]]) -> Reservoir:
        if not len(offered) and capacity == self.capacity:
            return self
        joined, every = np.concatenate((self.priorities, offered)), [*self.rows, *rows]
        order = np.argsort(joined, kind="stable")
        if len(order) > capacity:
            last = joined[order[capacity - 1]] if capacity else np.uint64(0)
            order = order[: np.searchsorted(joined[order], last, side="right")]
        kept = _untied(order, joined, every)[:capacity]
        return Reservoir(capacity=capacity, priorities=joined[kept], rows=[every[place] for place in kept])


def _untied(order: npt.NDArray[np.intp], numbers: Priorities, rows: Sequence[tuple[Any, ...]]) -> npt.NDArray[np.intp]:
    """Put rows of one number into the order of what they hold, so that it does not matter which came first."""
    lined = numbers[order]
    tied = np.flatnonzero(lined[1:] == lined[:-1])
    if not len(tied):
        return order
    texts = {place: repr(rows[place]) for place in {*order[tied].tolist(), *order[tied + 1].tolist()}}
    return np.array(sorted(order.tolist(), key=lambda place: (numbers[place], texts.get(place, ""))), dtype=np.intp)
