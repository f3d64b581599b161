"""The sketch of one categorical column: rows by the reference's levels, and a bounded account of all other levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from trimtab.sketches.levels import rank, tally
from trimtab.sketches.reference import CategoricalReference

KEPT = 256
"""Unseen levels that are counted each. With at most so many, the account is complete."""


class CategoricalSketch(Struct, kw_only=True):
    """Counts of one column of one window; everything adds up exactly.

    Of the levels that the reference does not list, the rows are counted (`unseen`), and the `KEPT` levels that are lowest
    by a hash are counted each. A level that is among the lowest of all was so from its first row on, so that its count is
    exact, whatever the order and however the rows were divided; the levels kept are a uniform sample of all levels, which
    gives `distinct` (Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002) to about 6 %. A level
    that many rows hold is in the row sample: one of a share s with probability 1 - (1 - s) ** sample.
    """

    counts: npt.NDArray[np.int64]
    """Rows by the reference's levels."""
    missing: int = 0
    unseen: int = 0
    """Rows of other levels."""
    kept: dict[str, int] = {}
    """Rows by unseen level."""
    complete: bool = True
    """Whether `kept` holds all unseen levels."""

    @classmethod
    def empty(cls, reference: CategoricalReference) -> CategoricalSketch:
        """Start without rows."""
        return cls(counts=np.zeros(len(reference.levels), np.int64), kept={})

    @property
    def rows(self) -> int:
        """All rows, the missing ones too."""
        return int(self.counts.sum()) + self.unseen + self.missing

    @property
    def distinct(self) -> int:
        """How many unseen levels there are; an estimate unless `complete`."""
        if self.complete:
            return len(self.kept)
        return round((KEPT - 1) / (max(map(rank, self.kept)) / 2**64))

    def update(self, values: Iterable[Any], places: dict[str, int], dtype: str = "") -> None:
        """Add values; `places` gives the reference's levels by their position."""
        counts, missing = tally(values, dtype)
        self.missing += missing
        unseen: dict[str, int] = {}
        added = np.zeros_like(self.counts)
        for text, number in counts.items():
            place = places.get(text)
            if place is None:
                unseen[text] = number
            else:
                added[place] = number
        self.counts = self.counts + added
        self.unseen += sum(unseen.values())
        self.kept, self.complete = _lowest(self.kept, unseen, complete=self.complete)

    def merge(self, other: CategoricalSketch) -> CategoricalSketch:
        """Add up two; neither is changed."""
        kept, complete = _lowest(self.kept, other.kept, complete=self.complete and other.complete)
        return CategoricalSketch(
            counts=self.counts + other.counts,
            missing=self.missing + other.missing,
            unseen=self.unseen + other.unseen,
            kept=kept,
            complete=complete,
        )


def _lowest(one: dict[str, int], two: dict[str, int], *, complete: bool) -> tuple[dict[str, int], bool]:
    """Add two accounts and keep what is lowest by the hash, in order of the text."""
    if not two:
        return one, complete
    joined = {text: one.get(text, 0) + two.get(text, 0) for text in {**one, **two}}
    if len(joined) > KEPT:
        joined = {text: joined[text] for text in sorted(joined, key=lambda text: (rank(text), text))[:KEPT]}
        complete = False
    return dict(sorted(joined.items())), complete
