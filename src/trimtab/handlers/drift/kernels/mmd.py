"""Maximum mean discrepancy: whether two samples differ in anything that a kernel sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift import quadratic
from trimtab.handlers.drift.kernels.answer import MOST_ROWS
from trimtab.handlers.drift.kernels.kernel_test import Found, kernel_test
from trimtab.handlers.drift.kernels.null import Null, memberships
from trimtab.handlers.drift.kernels.rbf import Bandwidth, bandwidths, gaussian
from trimtab.handlers.drift.kernels.sample import Pair

__all__ = ["MMD2", "VARIANTS", "blocks", "linear", "mmd"]

Floats = npt.NDArray[np.float64]
Variant = Literal["quadratic", "block", "linear"]

VARIANTS: dict[str, int] = {"quadratic": MOST_ROWS, "block": 20_000, "linear": 1_000_000}
"""The variants, and the rows of a side that each compares unless it is told otherwise."""
_CHUNK = 8192
_RELABELLINGS = 32  # of each block
_SPECTRUM = 1000


def _most(variant: str = "quadratic", **_: object) -> int:
    if variant not in VARIANTS:
        raise SpecError("mmd.variant", variant, ", ".join(VARIANTS))
    return VARIANTS[variant]


@kernel_test(least=4, max_rows=None, most=_most)
def mmd(
    sample: Pair, rng: np.random.Generator, *, variant: Variant = "quadratic", bandwidth: Bandwidth = None
) -> Found:
    """Kernel two-sample test (Gretton et al. 2012, JMLR 13:723).

    MMD2_u = sum_{i!=j} k(x_i,x_j) / (n(n-1)) + sum_{i!=j} k(y_i,y_j) / (m(m-1)) - 2 sum_ij k(x_i,y_j) / (nm) (equation
    3), with k(a,b) = exp(-|a-b|^2 / (2 s^2)) and s^2 half the median squared distance of reference rows. It is 0 in the
    mean where both samples are of one distribution, and above 0 where they are not, whatever the difference.

    - `variant="quadratic"` compares all pairs; its p-value is by permutations of the labels, `permutations` of them
      (with `tail` and `stop` as in `null.p_value`). Memory: 8 (n + m)^2 bytes.
    - `"block"` averages MMD2_u over S = sqrt(min(n, m)) blocks of rows (Zaremba, Gretton, Blaschko 2013, NIPS). The
      paper reads p off a normal law; with few blocks the statistic is skewed to the right, so here it is a gamma law
      with the first three cumulants of the blocks' relabellings, which add up over blocks.
    - `"linear"` averages h = k(x1,x2) + k(y1,y2) - k(x1,y2) - k(x2,y1) over pairs of rows (section 6); under the null h
      is symmetric about 0, and its studentised mean is read off a normal law. It needs many rows: its power is far
      lower.

    `bandwidth` is s, or several, whose kernels are averaged. `scale` is how features are standardised by the reference
    (`sample.pair`). `max_rows` rows of a side are compared at most: 2,000, 20,000 and 1,000,000 unless told.
    `per_feature=True` tests each feature alone as well, at the table's cost each (see `KernelTest`).
    """
    x, y = sample.reference, sample.current
    widths = bandwidths(bandwidth, x, rng, "mmd")
    if variant != "quadratic":
        statistic, null = (blocks if variant == "block" else linear)(x, y, widths, rng)
        return Found(statistic, p_value=null.p_value)
    both = np.concatenate([x, y])
    test = MMD2(gaussian(both, both, widths), len(x))
    return Found(test.observed, lambda count: test(memberships(len(x), len(y), count, rng)), test.law)


class MMD2:
    """MMD2_u of any n of the pooled rows against the others, by matrix products with the pooled rows' kernel.

    With K the kernel without its diagonal, r its row sums and W one 0/1 column a labelling: the sum within the first
    sample is the column sum of W * KW, that across is r'W less it, and the rest is within the second.
    """

    def __init__(self, kernel: Floats, n: int) -> None:
        np.fill_diagonal(kernel, 0.0)
        self.kernel, self.n, self.m = kernel, n, len(kernel) - n
        self.rows = kernel.sum(axis=1)
        self.total = float(self.rows.sum())

    @property
    def observed(self) -> float:
        """The statistic of the first n rows against the others."""
        first = np.zeros((len(self.kernel), 1))
        first[: self.n] = 1
        return float(self(first)[0])

    def law(self, statistic: float) -> float:
        """The upper tail without drift: of (1/n + 1/m) sum_i l_i (Z_i^2 - 1), Z standard normal (Gretton 2012, theorem 12).

        The l are the eigenvalues of the pooled rows' centred kernel over their number, on at most 1,000 rows.
        """
        chosen = np.unique(np.linspace(0, len(self.kernel) - 1, _SPECTRUM).astype(np.intp))
        matrix = self.kernel[np.ix_(chosen, chosen)]
        matrix[np.diag_indices_from(matrix)] = 1.0
        means = matrix.mean(axis=0)
        weights = np.linalg.eigvalsh(matrix - means - means[:, None] + means.mean()).clip(0.0) / len(matrix)
        return quadratic.tail(statistic / (1 / self.n + 1 / self.m) + float(weights.sum()), weights)

    def __call__(self, members: Floats) -> Floats:
        """Give the statistics of labellings, one a column; 1 marks the first sample's rows."""
        n, m = self.n, self.m
        within = np.einsum("ij,ij->j", members, self.kernel @ members)
        across = self.rows @ members - within
        others = self.total - 2 * across - within
        found: Floats = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)
        return found


def blocks(x: Floats, y: Floats, widths: Sequence[float], rng: np.random.Generator) -> tuple[float, Null]:
    """The block test: its statistic and p-value."""
    count = max(2, int(np.sqrt(min(len(x), len(y)))))
    n, m = len(x) // count, len(y) // count
    if n < 2 or m < 2:
        count = min(len(x), len(y)) // 2
        n, m = len(x) // count, len(y) // count
    left, right = rng.permutation(len(x)), rng.permutation(len(y))
    observed, null = np.empty(count), np.empty((count, _RELABELLINGS))
    for block in range(count):
        both = np.concatenate([x[left[block * n : (block + 1) * n]], y[right[block * m : (block + 1) * m]]])
        test = MMD2(gaussian(both, both, widths), n)
        observed[block] = test.observed
        null[block] = test(memberships(n, m, _RELABELLINGS, rng))
    return float(observed.mean()), Null(_added(float(observed.sum()), null), _RELABELLINGS)


def _added(total: float, null: Floats) -> float:
    """The upper tail of a sum over blocks, which are independent: their variances and third cumulants add up.

    Over all relabellings of a block the mean of MMD2_u is 0: each of its three terms has the mean of all pairs.
    """
    from scipy.stats import pearson3

    variance = float((null**2).mean(axis=1).sum())
    third = float((null**3).mean(axis=1).sum())
    if variance <= 0:
        return 1.0
    score = total / np.sqrt(variance)
    return max(float(pearson3.sf(score, max(third / variance**1.5, 0.0))), np.finfo(float).tiny)


def linear(x: Floats, y: Floats, widths: Sequence[float], rng: np.random.Generator) -> tuple[float, Null]:
    """The linear-time test: its statistic and p-value."""
    from scipy.stats import norm

    count = min(len(x), len(y)) // 2
    left, right = rng.permutation(len(x))[: 2 * count], rng.permutation(len(y))[: 2 * count]
    found = np.concatenate(
        [
            _pairs(x[left[first : first + _CHUNK]], y[right[first : first + _CHUNK]], widths)
            for first in range(0, 2 * count, _CHUNK)
        ]
    )
    mean, spread = float(found.mean()), float(found.std(ddof=1)) if count > 1 else 0.0
    if spread == 0:
        return mean, Null(1.0, 0)
    return mean, Null(max(float(norm.sf(np.sqrt(count) * mean / spread)), np.finfo(float).tiny), 0)


def _pairs(x: Floats, y: Floats, widths: Sequence[float]) -> Floats:
    def k(a: Floats, b: Floats) -> Floats:
        squares = ((a - b) ** 2).sum(axis=1)
        total = np.zeros(len(squares))
        for width in widths:
            total += np.exp(squares * (-0.5 / width**2))
        return total / len(widths)

    (x1, x2), (y1, y2) = (x[::2], x[1::2]), (y[::2], y[1::2])
    return k(x1, x2) + k(y1, y2) - k(x1, y2) - k(x2, y1)
