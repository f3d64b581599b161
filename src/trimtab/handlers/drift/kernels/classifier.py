"""The classifier test: whether a model can tell current rows from reference rows, and by which features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.answer import answer, check_rows, too_few
from trimtab.handlers.drift.kernels.null import Tail, p_value
from trimtab.handlers.drift.kernels.rows import on_rows
from trimtab.handlers.drift.kernels.sample import plain
from trimtab.handlers.drift.kernels.separation import auc, mann_whitney, paired_gain, placements
from trimtab.handlers.drift.multiple import benjamini_hochberg
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.verdict import LEAST_ROWS

__all__ = ["CALIBRATIONS", "classifier"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

CALIBRATIONS = ("half", "permute")


class Estimator(Protocol):
    """What scikit-learn's classifiers are."""

    def fit(self, X: Floats, y: npt.NDArray[np.intp]) -> Any:  # noqa: N803
        """Learn."""


@on_rows
def classifier(
    reference: Frame,
    current: Frame,
    *,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    model: Estimator | None = None,
    calibration: Literal["half", "permute"] = "half",
    folds: int = 5,
    permutations: int = 100,
    tail: Tail = "count",
    stop: int | None = None,
    repeats: int = 5,
    max_rows: int | None = 10_000,
    seed: int = 0,
) -> Result:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017, ICLR; with the AUC in place of the accuracy).

    Reference rows are labelled 0, current ones 1; a model is fitted, and the statistic is the AUC of its scores s on n
    reference rows x_i and m current rows y_j that it has not seen, 1/2 in the mean without drift:

        AUC = 1/(nm) sum_ij (1[s(y_j) > s(x_i)] + 1[s(y_j) = s(x_i)] / 2)

    Two calibrations hold the level:

    - `half`: fit on one half, score the other. The scores are independent given the model, so that the AUC's p-value is
      Mann and Whitney's. One fit, and a p-value as fine as any alpha needs.
    - `permute`: out-of-fold scores of all rows (`folds` stratified folds); they depend on each other, and Mann and
      Whitney's p-value would be too small. So the labels are permuted, and all is fitted again, `permutations` times
      (`tail` and `stop` as in `null.p_value`). More power on few rows, for (1 + permutations) x folds fits.

    `model` is any scikit-learn classifier with `predict_proba` or `decision_function`; it is cloned, and should bring
    its own scaling (a pipeline). Without one it is gradient boosting on histograms, which finds broken correlations
    too. Missing values and categories come encoded (`sample.pair`), without scaling.

    `per_feature` says by which features: each one's values are shuffled among the held-out rows (`repeats` times), and
    its statistic and `effect` is what the AUC loses, with DeLong's p-value for the loss; a feature has drifted when the
    table has and Benjamini and Hochberg's procedure lists it at alpha. Features that say the same share the loss: of
    two equal ones neither may be named.
    """
    if few := too_few("classifier", (reference, current), alpha, max(min_rows, 8)):
        return few
    _check(calibration, folds, repeats, min(reference.rows, current.rows))
    check_rows("classifier", "max_rows", max_rows, 8)
    rng = np.random.default_rng(seed)
    sample = plain(reference, current, max_rows=max_rows, rng=rng)
    rows = np.concatenate([sample.reference, sample.current])
    labels = np.repeat([0, 1], [len(sample.reference), len(sample.current)])
    trial = _Trial(_model(model, seed), rows, sample.features, alpha, rng)
    with _threads(model):
        statistic, p = trial.half(labels)  # what the features say needs rows that one model has not seen
        if calibration == "permute":
            statistic = trial.folded(labels, folds)
            p = p_value(
                statistic,
                lambda count: np.array([trial.folded(rng.permutation(labels), folds) for _ in range(count)]),
                alpha=alpha,
                permutations=permutations,
                tail=tail,
                stop=stop,
                method="classifier",
            ).p_value
        features = trial.features(repeats, drifted=p < alpha, frames=(reference, current))
    return answer("classifier", (reference, current), statistic, p, alpha, per_feature=features, message=sample.remark)


def _check(calibration: str, folds: int, repeats: int, rows: int) -> None:
    if calibration not in CALIBRATIONS:
        raise SpecError("classifier.calibration", calibration, ", ".join(CALIBRATIONS))
    if not 2 <= folds <= rows:
        raise SpecError("classifier.folds", folds, f"2 to {rows}, the rows of the smaller side")
    if repeats < 1:
        raise SpecError("classifier.repeats", repeats, "1 or more")


def _model(given: Estimator | None, seed: int) -> Any:
    if given is None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, early_stopping=False, random_state=seed)
    if not (hasattr(given, "predict_proba") or hasattr(given, "decision_function")):
        raise SpecError("classifier.model", given, "a scikit-learn classifier with predict_proba or decision_function")
    return given


def _threads(given: Estimator | None) -> AbstractContextManager[Any]:
    """Keep our own model to one thread: its small trees gain little from more, and lose much where cores are shared."""
    if given is not None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def scores(model: Any, rows: Floats) -> Floats:
    """Give a fitted classifier's score for label 1."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)
    return np.asarray(model.decision_function(rows), dtype=np.float64)


class _Trial:
    """The pooled rows, the model, and the last held-out half with the model that has not seen it."""

    def __init__(self, model: Any, rows: Floats, names: Sequence[str], alpha: float, rng: np.random.Generator) -> None:
        self.model, self.rows, self.names, self.alpha, self.rng = model, rows, names, alpha, rng
        self.held: tuple[Any, Floats, npt.NDArray[np.bool_]] | None = None

    def half(self, labels: npt.NDArray[np.intp]) -> tuple[float, float]:
        """Fit on one half, score the other: the AUC and its p-value."""
        train, test = _split(labels, 2, self.rng)
        fitted = self._fit(train, labels)
        found, is_current = scores(fitted, self.rows[test]), labels[test] == 1
        self.held = fitted, self.rows[test], is_current
        return auc(found[~is_current], found[is_current]), mann_whitney(found[~is_current], found[is_current])

    def folded(self, labels: npt.NDArray[np.intp], folds: int) -> float:
        """Score every row by a model that has not seen it: the mean over folds of their AUC."""
        parts = _split(labels, folds, self.rng)
        found = []
        for place, test in enumerate(parts):
            train = np.concatenate([part for other, part in enumerate(parts) if other != place])
            score = scores(self._fit(train, labels), self.rows[test])
            found.append(auc(score[labels[test] == 0], score[labels[test] == 1]))
        return float(np.mean(found))

    def _fit(self, train: Rows, labels: npt.NDArray[np.intp]) -> Any:
        from sklearn.base import clone

        return clone(self.model).fit(self.rows[train], labels[train])

    def features(self, repeats: int, *, drifted: bool, frames: tuple[Frame, Frame]) -> dict[str, FeatureResult]:
        """Say what each feature adds to telling the held-out rows apart."""
        assert self.held is not None
        fitted, rows, is_current = self.held
        score = scores(fitted, rows)
        full = placements(score[~is_current], score[is_current])
        found = {
            name: paired_gain(full, self._shuffled(fitted, rows, is_current, name, repeats))
            for name in dict.fromkeys(self.names)
        }
        adjusted = benjamini_hochberg([p for _, p in found.values()])
        return {
            name: FeatureResult(
                name=name,
                statistic=gain,
                p_value=p,
                threshold=self.alpha,
                drifted=bool(drifted and corrected < self.alpha),
                effect=gain,
                n_reference=frames[0].rows,
                n_current=frames[1].rows,
            )
            for (name, (gain, p)), corrected in zip(found.items(), adjusted, strict=True)
        }

    def _shuffled(
        self, fitted: Any, rows: Floats, is_current: npt.NDArray[np.bool_], name: str, repeats: int
    ) -> tuple[Floats, Floats]:
        """Give the mean placements over shuffles of a feature's columns, which move together."""
        columns = [place for place, other in enumerate(self.names) if other == name]
        found = []
        for _ in range(repeats):
            changed = rows.copy()
            changed[:, columns] = rows[self.rng.permutation(len(rows))][:, columns]
            score = scores(fitted, changed)
            found.append(placements(score[~is_current], score[is_current]))
        return np.mean([above for above, _ in found], axis=0), np.mean([below for _, below in found], axis=0)


def _split(labels: npt.NDArray[np.intp], parts: int, rng: np.random.Generator) -> list[Rows]:
    """Split the rows at random into parts, with either label's share the same in all."""
    found: list[list[Rows]] = [[] for _ in range(parts)]
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        for place, part in enumerate(np.array_split(rows, parts)):
            found[place].append(part)
    return [np.concatenate(part) for part in found]
