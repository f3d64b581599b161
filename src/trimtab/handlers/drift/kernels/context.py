"""Context-aware MMD: whether anything changed beyond what a change of context (hour, region, customer) explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift.kernels.kernel_test import Found, kernel_test
from trimtab.handlers.drift.kernels.rbf import gaussian, median_distance
from trimtab.handlers.drift.kernels.sample import Pair

__all__ = ["ADiTT", "context_mmd", "ridge_by_folds"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

HELD = 0.25
"""The share of current rows whose contexts are held out, to be conditioned on."""
_RIDGES = 2.0 ** -np.arange(21)
_FOLDS = 5
_LANDMARKS = 20


@kernel_test(least=20, permutations=100, max_rows=500, beside="context")
def context_mmd(sample: Pair, rng: np.random.Generator, *, context: str | Sequence[str] = ()) -> Found:
    """Test whether rows are distributed as they were in the contexts that current has: MMD-ADiTT.

    Cobb and Van Looveren 2022 (ICML, "Context-aware drift detection").

    `context` names the columns c that may change; x are the others. With Gaussian kernels K of x and L of c, and a
    quarter of current's contexts c~ held out: A_0 = L(c~, c_0) (L(c_0, c_0) + n lam_0 I)^-1 for the reference, A_1
    likewise for the rest of current; T = mean over rows of (a_0' K_00 a_0 + a_1' K_11 a_1 - 2 a_0' K_01 a_1), the mean
    squared distance of the two conditional mean embeddings. lam is chosen by 5-fold cross-validation of the embedding's
    loss over 2^-i, i <= 20.

    Under the null labels depend on the context alone: a domain classifier e(c) = P(current | c) (logistic regression on
    20 of Nystroem's features of L) is fitted, labels are redrawn from it `permutations` times, and T is computed anew
    (`tail` and `stop` as in `null.p_value`). Cost: O(permutations (n^3 + m^3)), hence 500 rows of a side unless told.
    `per_feature=True` tests each other column alone as well, in its context and at the table's cost (see `KernelTest`).
    """
    names = {context} if isinstance(context, str) else set(context)
    columns = dict.fromkeys(sample.features)
    if not (names and names < columns.keys()):
        raise SpecError("context_mmd.context", context, f"some, not all, of the columns {', '.join(columns)}")
    is_context = np.isin(sample.features, list(names))
    test = ADiTT(sample.reference, sample.current, is_context, rng)
    return Found(test.observed, test.draw)


class ADiTT:
    """The statistic of any labelling of the rows, and labellings that depend on the context alone."""

    def __init__(self, x: Floats, y: Floats, is_context: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.rng = rng
        held = rng.permutation(len(y))[: max(1, int(HELD * len(y)))]
        rows = np.concatenate([x, np.delete(y, held, axis=0)])
        self.labels = np.repeat([0, 1], [len(x), len(rows) - len(x)])
        features, contexts = rows[:, ~is_context], rows[:, is_context]
        self.width = median_distance(contexts[: len(x)], rng)
        self.kernel = gaussian(features, features, [median_distance(features[: len(x)], rng)])
        self.near = gaussian(contexts, contexts, [self.width])
        self.to_held = gaussian(y[held][:, is_context], contexts, [self.width])
        self.ridges = [
            ridge_by_folds(self.kernel[np.ix_(own, own)], self.near[np.ix_(own, own)], rng)
            for own in (np.flatnonzero(self.labels == label) for label in (0, 1))
        ]
        self.observed = self.statistic(self.labels)
        self.chances = self._chances(contexts)

    def statistic(self, labels: Labels) -> float:
        """Give T: with a = a_0 on the reference's rows and -a_1 on current's, it is the mean of a'Ka."""
        weights = np.empty_like(self.to_held)
        for label, sign in ((0, 1.0), (1, -1.0)):
            own = np.flatnonzero(labels == label)
            matrix = self.near[np.ix_(own, own)]
            matrix[np.diag_indices_from(matrix)] += len(own) * self.ridges[label]
            weights[:, own] = sign * np.linalg.solve(matrix, self.to_held[:, own].T).T
        return float(np.einsum("ij,ij->", weights, weights @ self.kernel)) / len(weights)

    def draw(self, count: int) -> Floats:
        """Give the statistics of that many redrawn labellings."""
        return np.array([self.statistic(self._redrawn()) for _ in range(count)])

    def _redrawn(self) -> Labels:
        while True:
            labels = (self.rng.random(len(self.chances)) < self.chances).astype(np.intp)
            if 2 <= labels.sum() <= len(labels) - 2:
                return labels

    def _chances(self, contexts: Floats) -> Floats:
        """Give e(c): too smooth a one redraws labels that the contexts explain less than the true ones, and alarms too often."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        near = Nystroem(gamma=0.5 / self.width**2, n_components=min(_LANDMARKS, len(contexts)), random_state=0)
        model: Any = make_pipeline(near, LogisticRegression(C=10, max_iter=1000))
        return np.asarray(model.fit(contexts, self.labels).predict_proba(contexts)[:, 1], dtype=np.float64)


def ridge_by_folds(kernel: Floats, near: Floats, rng: np.random.Generator) -> float:
    """Choose the ridge of a conditional mean embedding by the loss on held-out rows.

    The loss of row v is |phi(x_v) - sum_t a_t phi(x_t)|^2 = K_vv - 2 a'K_tv + a'K_tt a with a = (L_tt + n lam I)^-1
    L_tv; one eigendecomposition a fold serves all ridges.
    """
    losses = np.zeros(len(_RIDGES))
    for held in np.array_split(rng.permutation(len(kernel)), _FOLDS):
        train = np.setdiff1d(np.arange(len(kernel)), held)
        values, vectors = np.linalg.eigh(near[np.ix_(train, train)])
        turned = vectors.T @ near[np.ix_(train, held)]
        across = vectors.T @ kernel[np.ix_(train, held)]
        within = vectors.T @ kernel[np.ix_(train, train)] @ vectors
        for place, ridge in enumerate(_RIDGES):
            weights = turned / (np.maximum(values, 0) + len(train) * ridge)[:, None]
            losses[place] += float((weights * (within @ weights)).sum() - 2 * (weights * across).sum())
    return float(_RIDGES[np.argmin(losses)])
