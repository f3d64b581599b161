"""Spot the difference: prototypes of what current has more, or less, of than the reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.answer import answer, check_rows, too_few
from trimtab.handlers.drift.kernels.rbf import gaussian, median_distance
from trimtab.handlers.drift.kernels.rows import on_rows
from trimtab.handlers.drift.kernels.sample import Scale, pair
from trimtab.handlers.drift.kernels.separation import auc, mann_whitney
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.verdict import LEAST_ROWS

__all__ = ["Spots", "spot_the_diff"]

Floats = npt.NDArray[np.float64]

NOTABLE = 0.25
"""A feature is named when its difference is at least this share of the largest one."""

RIDGE = 1e-3
"""The weight of sum c_j^2: without it two prototypes close to each other, of opposite signs, grow without bound."""


@on_rows
def spot_the_diff(
    reference: Frame,
    current: Frame,
    *,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    prototypes: int = 1,
    l1: float = 0.003,
    iterations: int = 200,
    bandwidth: float | None = None,
    scale: Scale = "std",
    max_rows: int | None = 10_000,
    seed: int = 0,
) -> Result:
    """A classifier that can be read (after Jitkrittum et al. 2016, NIPS, in the form of a classifier on prototypes).

    logit P(current | z) = b + sum_j c_j k(z, mean_ref + delta_j), k Gaussian of width `bandwidth` (the median
    heuristic), fitted by the mean log-loss (both samples weigh the same) + `l1` sum |delta| + 0.001 sum c_j^2 with
    L-BFGS-B and an analytic gradient, delta starting at half the difference of the means, or a bandwidth from 0. Fitted on one half; the other
    half's scores are tested by their AUC with Mann and Whitney's p-value, so that the level holds.

    mean_ref + delta_j is a row that current has more of (c_j > 0) or less of; because of the l1 term delta_j is 0 in
    features that do not matter. `per_feature` has the delta of largest size as `statistic`, in standard deviations of
    the reference, and `message` says which way. When the table has drifted, features with a quarter of the
    largest difference or more are named as drifted; they have no p-value of their own.
    """
    check_rows("spot_the_diff", "max_rows", max_rows, 8)
    check_rows("spot_the_diff", "prototypes", prototypes, 1)
    if few := too_few("spot_the_diff", (reference, current), alpha, max(min_rows, 8)):
        return few
    rng = np.random.default_rng(seed)
    sample = pair(reference, current, scale=scale, max_rows=max_rows, rng=rng, method="spot_the_diff")
    x, y = rng.permutation(sample.reference), rng.permutation(sample.current)
    half, other = len(x) // 2, len(y) // 2
    width = bandwidth or median_distance(x[:half], rng)
    spots = Spots.fitted(x[:half], y[:other], prototypes, width, l1, iterations, rng)
    left, right = spots.scores(x[half:]), spots.scores(y[other:])
    statistic, p = auc(left, right), mann_whitney(left, right)
    features = _features(sample.features, spots, (reference, current), drifted=p < alpha)
    message = "; ".join(text for text in (_words(spots, sample.features), sample.remark) if text)
    return answer("spot_the_diff", (reference, current), statistic, p, alpha, per_feature=features, message=message)


class Spots(NamedTuple):
    """A fitted model."""

    middle: Floats
    deltas: Floats
    """(prototypes, features)"""
    coefficients: Floats
    offset: float
    width: float

    def scores(self, rows: Floats) -> Floats:
        """Give the logit of each row."""
        found: Floats = self.offset + gaussian(rows, self.middle + self.deltas, [self.width]) @ self.coefficients
        return found

    @classmethod
    def fitted(
        cls, x: Floats, y: Floats, count: int, width: float, l1: float, iterations: int, rng: np.random.Generator
    ) -> Spots:
        """Fit; delta = positive part - negative part, both bounded by 0 below, so that the l1 term is smooth."""
        from scipy.optimize import minimize

        middle, d = x.mean(axis=0), x.shape[1]
        half = (y.mean(axis=0) - middle) / 2
        half *= min(1.0, width / max(float(np.linalg.norm(half)), 1e-300))  # farther out no row is near, nor a gradient
        start = np.tile(half, (count, 1))
        start += rng.normal(0, 0.1, start.shape) if count > 1 else 0
        signs = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
        first = np.concatenate([[0.0], signs, np.maximum(start, 0).ravel(), np.maximum(-start, 0).ravel()])
        loss = Loss(np.concatenate([x, y]) - middle, len(x), count, width, l1)
        bounds: list[tuple[float | None, float | None]] = [(None, None)] * (1 + count) + [(0, None)] * (2 * count * d)
        found: Any = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})
        offset, coefficients, deltas = loss.parts(found.x)
        return cls(middle, deltas, coefficients, offset, width)


class Loss:
    """The penalised log-loss and its gradient, as functions of (b, c, delta+, delta-) in one vector."""

    def __init__(self, rows: Floats, n: int, count: int, width: float, l1: float) -> None:
        self.rows, self.count, self.width, self.l1 = rows, count, width, l1
        self.labels = (np.arange(len(rows)) >= n).astype(np.float64)
        self.shares = np.where(self.labels == 1, 0.5 / (len(rows) - n), 0.5 / n)

    def parts(self, vector: Floats) -> tuple[float, Floats, Floats]:
        """Give b, c and delta."""
        c, rest = vector[1 : 1 + self.count], vector[1 + self.count :]
        over, under = np.split(rest, 2)
        return float(vector[0]), c, (over - under).reshape(self.count, -1)

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        """Give the loss and its gradient."""
        from scipy.special import expit

        b, c, deltas = self.parts(vector)
        kernel = gaussian(self.rows, deltas, [self.width])
        logits = b + kernel @ c
        value = float(self.shares @ (np.logaddexp(0, logits) - self.labels * logits))
        value += RIDGE * float(c @ c)
        error = self.shares * (expit(logits) - self.labels)
        pulled = kernel * error[:, None] * c
        by_delta = (pulled.T @ self.rows - pulled.sum(axis=0)[:, None] * deltas) / self.width**2
        gradient = np.concatenate(
            [
                [error.sum()],
                kernel.T @ error + 2 * RIDGE * c,
                (by_delta + self.l1).ravel(),
                (self.l1 - by_delta).ravel(),
            ]
        )
        return value + self.l1 * float(vector[1 + self.count :].sum()), gradient


def _largest(names: list[str], spots: Spots) -> dict[str, float]:
    """Give each feature's delta of largest size over its columns and the prototypes, signed by where current has more."""
    signed = spots.deltas * np.sign(spots.coefficients)[:, None]
    found: dict[str, float] = {}
    for place, name in enumerate(names):
        column = signed[:, place]
        value = float(column[np.argmax(np.abs(column))])
        found[name] = value if abs(value) >= abs(found.get(name, 0.0)) else found[name]
    return found


def _features(
    names: list[str], spots: Spots, frames: tuple[Frame, Frame], *, drifted: bool
) -> dict[str, FeatureResult]:
    largest = _largest(names, spots)
    floor = NOTABLE * max((abs(value) for value in largest.values()), default=0.0)
    return {
        name: FeatureResult(
            name=name,
            statistic=abs(value),
            threshold=floor,
            drifted=bool(drifted and abs(value) >= floor > 0),
            n_reference=frames[0].rows,
            n_current=frames[1].rows,
            message=f"current has {'more' if value > 0 else 'less'} of what lies above" if value else "",
        )
        for name, value in largest.items()
    }


def _words(spots: Spots, names: list[str]) -> str:
    told = []
    for delta, coefficient in zip(spots.deltas, spots.coefficients, strict=True):
        order = [place for place in np.argsort(-np.abs(delta))[:3] if abs(delta[place]) > 1e-3]
        if order and coefficient:
            moved = ", ".join(f"{names[place]} {delta[place]:+.2g} sd" for place in order)
            told.append(
                f"current has {'more' if coefficient > 0 else 'fewer'} rows near the reference's mean with {moved}"
            )
    return "; ".join(told)
