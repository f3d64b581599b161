"""Least-squares density difference: how far apart two densities are, without estimating either."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift import quadratic
from trimtab.handlers.drift.kernels.kernel_test import Found, kernel_test
from trimtab.handlers.drift.kernels.null import memberships
from trimtab.handlers.drift.kernels.rbf import gaussian, median_distance
from trimtab.handlers.drift.kernels.sample import Pair

__all__ = ["LSDD", "RIDGE_LOSS", "Basis", "lsdd", "ridge_of"]

Floats = npt.NDArray[np.float64]

RIDGE_LOSS = 0.2
"""The largest mean of 1 - t'Ht / h't over permutations that the ridge may cause (Bu 2018, section III)."""
_RIDGE_DRAWS = 100
_RIDGES = 4.0 ** -np.arange(10)


@kernel_test(least=4)
def lsdd(
    sample: Pair, rng: np.random.Generator, *, centres: int | None = None, bandwidth: float | None = None
) -> Found:
    """Two-sample test by the squared L2 distance of the densities (Sugiyama et al. 2013, Neural Comput. 25:2734).

    p - q is modelled as sum_l t_l exp(-|x-c_l|^2 / (2 s^2)). With h_l = mean_i k(x_i,c_l) - mean_j k(y_j,c_l) and H_ll'
    = exp(-|c_l-c_l'|^2 / (4 s^2)), t = (H + lam I)^-1 h and LSDD = 2 h't - t'Ht. The centres c are reference rows that
    take no part otherwise (n/20 of them, 10 to 200). H lacks its factor (pi s^2)^(d/2), beyond any float in many
    dimensions; p-values do not change by it, and `LSDD.distance` has it. lam is the largest 4^-i, i < 10, with a mean
    over permutations of 1 - t'Ht / h't below 0.2 (Bu, Alippi, Zhao 2018, IEEE TNNLS 29:324).

    The p-value is by permutations, with `tail` and `stop` as in `null.p_value`. Cost: O((n + m) (d + permutations)
    centres). `max_rows` rows of a side are compared at most, 2,000 unless told. `per_feature=True` tests each feature
    alone as well, at about the table's cost each (see `KernelTest`).
    """
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise SpecError("lsdd.bandwidth", bandwidth, "None (the median heuristic), or a number above 0")
    count = _centres(centres, len(sample.reference))
    order = rng.permutation(len(sample.reference))
    x, middle = sample.reference[order[count:]], sample.reference[order[:count]]
    test = LSDD(x, sample.current, middle, bandwidth or median_distance(sample.reference, rng), rng)
    return Found(test.observed, test.draw, test.law)


def _centres(given: int | None, rows: int) -> int:
    if given is None:
        return min(max(rows // 20, min(10, rows // 2)), 200)
    if not 1 <= given <= rows - 2:
        raise SpecError(
            "lsdd.centres", given, f"None (a twentieth), or 1 to {rows - 2}: they are rows of the reference"
        )
    return given


class Basis(NamedTuple):
    """The centres in coordinates in which H is diagonal, so that every ridge and every permutation costs a product."""

    centres: Floats
    width: float
    values: Floats
    """The eigenvalues of H."""
    vectors: Floats

    @classmethod
    def of(cls, centres: Floats, width: float) -> Basis:
        """Diagonalise H of these centres."""
        values, vectors = np.linalg.eigh(gaussian(centres, centres, [np.sqrt(2) * width]))
        return cls(centres, width, np.maximum(values, 0.0), vectors)

    def features(self, rows: Floats) -> Floats:
        """Give k(row, c) for each row, turned; their mean difference is V'h."""
        return gaussian(rows, self.centres, [self.width]) @ self.vectors

    def weights(self, ridge: float) -> Floats:
        """Give w with LSDD = sum_l w_l (V'h)_l^2: 2/(e + lam) - e/(e + lam)^2 for the eigenvalue e."""
        found: Floats = (self.values + 2 * ridge) / (self.values + ridge) ** 2
        return found


def ridge_of(basis: Basis, differences: Floats) -> float:
    """Give the largest ridge whose mean relative loss over these mean differences (a row each) stays below `RIDGE_LOSS`."""
    squares = differences**2
    for ridge in _RIDGES:
        whole = squares @ (1 / (basis.values + ridge))
        kept = squares @ (basis.values / (basis.values + ridge) ** 2)
        good = whole > 0
        if not good.any() or float((1 - kept[good] / whole[good]).mean()) < RIDGE_LOSS:
            return float(ridge)
    return float(_RIDGES[-1])


class LSDD:
    """LSDD of two samples and of their permutations."""

    def __init__(self, x: Floats, y: Floats, centres: Floats, width: float, rng: np.random.Generator) -> None:
        self.basis = Basis.of(centres, width)
        self.n, self.m, self.rng = len(x), len(y), rng
        self.rows = self.basis.features(np.concatenate([x, y]))
        self.total: Floats = self.rows.sum(axis=0)
        self._spare = self.differences(memberships(self.n, self.m, _RIDGE_DRAWS, rng))
        self.ridge = ridge_of(self.basis, self._spare)
        self.weights = self.basis.weights(self.ridge)
        first = np.repeat([1.0, 0.0], [self.n, self.m])[:, None]
        self.observed = float(self._of(first)[0])

    def differences(self, members: Floats) -> Floats:
        """Give the mean differences V'h of labellings: W'K/n - (1-W)'K/m."""
        sums: Floats = members.T @ self.rows
        return sums * (1 / self.n + 1 / self.m) - self.total / self.m

    def draw(self, count: int) -> Floats:
        """Give the statistics of that many permutations; those that chose the ridge come first."""
        ready, self._spare = self._spare[:count], self._spare[count:]
        found: Floats = ready**2 @ self.weights
        if len(ready) == count:
            return found
        return np.concatenate([found, self._of(memberships(self.n, self.m, count - len(ready), self.rng))])

    def law(self, statistic: float) -> float:
        """The upper tail without drift: of (1/n + 1/m) sum_i l_i Z_i^2, l the eigenvalues of the weighted rows' covariance."""
        rows = (self.rows - self.total / len(self.rows)) * np.sqrt(self.weights)
        weights = np.linalg.eigvalsh(rows.T @ rows / len(rows)).clip(0.0)
        return quadratic.tail(statistic / (1 / self.n + 1 / self.m), weights)

    @property
    def distance(self) -> float:
        """The integral of (p - q)^2 itself, in the unit of the rows that it was made of."""
        dimensions = self.basis.centres.shape[1]
        return float(self.observed / (np.pi * self.basis.width**2) ** (dimensions / 2))

    def _of(self, members: Floats) -> Floats:
        found: Floats = self.differences(members) ** 2 @ self.weights
        return found
