"""Both samples as matrices that distances may be computed of: subsampled, encoded, and standardised by the reference."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift.column import Categorical, Column, Numeric
from trimtab.handlers.drift.frame import Frame

__all__ = ["LEVELS", "SCALES", "Floats", "Pair", "Scale", "location", "pair", "plain", "standardised"]

Floats = npt.NDArray[np.float64]
Scale = Literal["std", "robust", "rank", "none"]

SCALES = ("std", "robust", "rank", "none")
APART = 2.0
"""The distance between levels, and between missing and not: that of the two values of a balanced 0/1 column, standardised."""
LEVELS = 50
"""Levels of a categorical column that get a column of their own; the rarer ones share one."""
_ROUNDING = 1e-12
_FARTHEST = 1e100
_NORMAL_IQR = 1.3489795003921634  # the interquartile range of a standard normal


class Pair(NamedTuple):
    """Two matrices with the same columns."""

    reference: Floats
    current: Floats
    features: list[str]
    """The feature that each column of the matrices comes from."""
    remark: str
    """What a reader should know of how they were made."""


def pair(
    reference: Frame, current: Frame, *, scale: Scale, max_rows: int | None, rng: np.random.Generator, method: str
) -> Pair:
    """Encode both frames for distances.

    More than `max_rows` rows of a side are subsampled without replacement. A numeric column is standardised by the
    reference's mean and standard deviation (`std`), by its median and interquartile range (`robust`), or replaced by
    the normal score of its rank in the reference (`rank`, which no monotone transformation changes); a column that is
    constant in the reference has no width of its own and takes that of both samples. Missing and infinite values become
    the reference's median, and a column beside it marks them, `APART` from the others, so that missing values are never
    read as "no drift". A categorical column becomes one column a level (unseen and missing are levels); levels are
    `APART` from each other.
    """
    if scale not in SCALES:
        raise SpecError(f"{method}.scale", scale, ", ".join(SCALES))
    made = _made(reference, current, scale, max_rows, rng)
    if scale == "none" and max(np.abs(side).max(initial=0.0) for side in made[:2]) > _FARTHEST:
        raise DataError(f"{method}: some values are too large for distances; leave scale at its default")
    return made


def plain(reference: Frame, current: Frame, *, max_rows: int | None, rng: np.random.Generator) -> Pair:
    """Encode both frames without standardising them, for models that do so themselves."""
    return _made(reference, current, "none", max_rows, rng)


def _made(reference: Frame, current: Frame, scale: Scale, max_rows: int | None, rng: np.random.Generator) -> Pair:
    left, right = _rows(reference.rows, max_rows, rng), _rows(current.rows, max_rows, rng)
    columns: list[tuple[Floats, Floats]] = []
    features: list[str] = []
    for name, column in reference.columns.items():
        made = _encoded(column, current.columns[name], left, right, scale)
        columns += made
        features += [name] * len(made)
    remark = _remark(reference.rows, current.rows, max_rows)
    return Pair(_stack(columns, 0, len(left)), _stack(columns, 1, len(right)), features, remark)


def _rows(rows: int, most: int | None, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    if most is None or rows <= most:
        return np.arange(rows)
    return np.sort(rng.choice(rows, most, replace=False))


def _remark(reference: int, current: int, most: int | None) -> str:
    cut = [
        f"{most} of {rows} rows of {role}"
        for role, rows in (("the reference", reference), ("current", current))
        if most is not None and rows > most
    ]
    return f"compared on {' and '.join(cut)} (max_rows)" if cut else ""


def _stack(columns: list[tuple[Floats, Floats]], side: int, rows: int) -> Floats:
    return np.column_stack([column[side] for column in columns]) if columns else np.empty((rows, 0))


def _encoded(
    left: Column, right: Column, rows: npt.NDArray[np.intp], others: npt.NDArray[np.intp], scale: Scale
) -> list[tuple[Floats, Floats]]:
    if isinstance(left, Numeric) and isinstance(right, Numeric):
        return _numeric(left, right, rows, others, scale)
    assert isinstance(left, Categorical)
    assert isinstance(right, Categorical)
    return _levels(left, right, rows, others)


def _numeric(
    left: Numeric, right: Numeric, rows: npt.NDArray[np.intp], others: npt.NDArray[np.intp], scale: Scale
) -> list[tuple[Floats, Floats]]:
    known = left.finite
    middle = float(np.median(known)) if len(known) else 0.0
    ours, theirs = left.values[rows], right.values[others]
    marks = [(where(ours), where(theirs)) for where in (np.isnan, np.isposinf, np.isneginf)]
    found = [(x.astype(np.float64) * APART, y.astype(np.float64) * APART) for x, y in marks if x.any() or y.any()]
    whole = [np.where(np.isfinite(side), side, middle).astype(np.float64) for side in (ours, theirs)]
    return [_scaled(whole[0], whole[1], known, scale), *found]


def _scaled(x: Floats, y: Floats, known: Floats, scale: Scale) -> tuple[Floats, Floats]:
    if scale == "none" or not len(known):
        return x, y
    if scale == "rank":
        return _scores(x, known), _scores(y, known)
    centre, width = location(known, robust=scale == "robust")
    if width == 0:
        width = location(np.concatenate([x, y]))[1]
    return standardised(x, centre, width or 1.0), standardised(y, centre, width or 1.0)


def location(values: Floats, *, robust: bool = False) -> tuple[float, float]:
    """Give centre and width, of numbers of any size; the width is 0 where all are equal but for rounding."""
    unit = float(np.abs(values).max()) or 1.0
    parts = values / unit
    centre, width = float(parts.mean()), float(parts.std())
    if robust:
        low, middle, high = np.quantile(parts, [0.25, 0.5, 0.75])
        centre, width = float(middle), float(high - low) / _NORMAL_IQR or width
    return centre * unit, width * unit if width > _ROUNDING else 0.0


def standardised(values: Floats, centre: Any, width: Any) -> Floats:
    """Give (values - centre) / width, at most 1e100 in size, so that its square is a number."""
    with np.errstate(over="ignore"):
        found: Floats = np.clip((values - centre) / width, -_FARTHEST, _FARTHEST)
    return found


def _scores(values: Floats, known: Floats) -> Floats:
    from scipy.special import ndtri

    order = np.sort(known)
    ranks = (order.searchsorted(values, "left") + order.searchsorted(values, "right")) / 2
    scores: Floats = ndtri((ranks + 0.5) / (len(order) + 1))
    return scores


def _levels(
    left: Categorical, right: Categorical, rows: npt.NDArray[np.intp], others: npt.NDArray[np.intp]
) -> list[tuple[Floats, Floats]]:
    names = sorted({*left.levels, *right.levels})
    place = {name: number for number, name in enumerate(names)}
    ours, theirs = _codes(left, place)[rows], _codes(right, place)[others]
    counts = np.bincount(np.concatenate([ours, theirs]), minlength=len(names) + 1)
    order = np.argsort(-counts, kind="stable")
    kept, rare = order[:LEVELS][counts[order[:LEVELS]] > 0], order[LEVELS:]
    found = [(ours == level, theirs == level) for level in kept]
    if len(rare) and counts[rare].any():
        found.append((np.isin(ours, rare), np.isin(theirs, rare)))
    return [(x * APART * np.sqrt(0.5), y * APART * np.sqrt(0.5)) for x, y in found]


def _codes(column: Categorical, place: dict[str, int]) -> npt.NDArray[np.intp]:
    """Give the codes among the levels of both samples; the missing ones are the last level."""
    to = np.array([*(place[name] for name in column.levels), len(place)], dtype=np.intp)
    return to[column.codes]
