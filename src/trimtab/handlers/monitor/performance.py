"""How right a model was, from the labels that arrived: figures that add up, and a test whether it got worse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from trimtab.sketches.levels import level

CLASSES = 100
"""Classes that are counted each; further ones are counted together, under `REST`."""
REST = "(other)"
LEAST = 30
"""Joined rows below which no verdict is given."""
FLOOR = 0.02
"""A smaller loss of accuracy is no harm, however many rows prove it ..."""
SHARE = 0.05
"""... nor a smaller growth of the error of a regression, as a share of it."""


class Performance(Struct, kw_only=True):
    """Of one window. Counts and sums: those of two windows add up to those of both."""

    task: Literal["classification", "regression"]
    joined: int = 0
    """Rows whose label arrived."""
    correct: int = 0
    confusion: dict[str, dict[str, int]] = {}
    """Rows by label and prediction."""
    error: float = 0.0
    """The sum of prediction minus label ..."""
    absolute: float = 0.0
    squared: float = 0.0
    fourth: float = 0.0
    """... and of its size, square and fourth power."""
    label: float = 0.0
    """The sum of labels, and of their squares."""
    label_squared: float = 0.0
    unusable: int = 0
    """Labels or predictions of a regression that are no finite numbers."""

    def add(self, prediction: Any, label: Any) -> None:
        """Count one row."""
        if self.task == "classification":
            self._classified(level(prediction), level(label))
            return
        try:
            found, truth = float(prediction), float(label)
        except (TypeError, ValueError, OverflowError):
            found = truth = math.nan
        if not math.isfinite(found - truth):
            self.unusable += 1
            return
        distance = found - truth
        self.joined += 1
        self.error += distance
        self.absolute += abs(distance)
        self.squared += distance * distance
        self.fourth += distance * distance * (distance * distance)
        self.label += truth
        self.label_squared += truth * truth

    def merge(self, other: Performance) -> Performance:
        """Add up two of one task; neither is changed."""
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name not in ("task", "confusion")
        }
        merged = Performance(task=self.task, confusion={}, **sums)
        for part in (self, other):
            for truth, found in part.confusion.items():
                for prediction, rows in found.items():
                    merged._count(truth, prediction, rows)
        return merged

    def metrics(self) -> dict[str, float | None]:
        """Give the usual figures; None where there are no rows to work them out from.

        Classification: accuracy; precision, recall and f1 as the mean over the classes among the labels (macro).
        Regression: rmse, mae, bias (the mean of prediction minus label), r2.
        """
        if self.task == "classification":
            return self._classification()
        n = self.joined
        spread = self.label_squared - self.label * self.label / n if n else 0.0
        return {
            "rmse": math.sqrt(self.squared / n) if n else None,
            "mae": self.absolute / n if n else None,
            "bias": self.error / n if n else None,
            "r2": 1 - self.squared / spread if spread > 0 else None,
        }

    def _classified(self, prediction: str | None, label: str | None) -> None:
        if prediction is None or label is None:
            self.unusable += 1
            return
        self.joined += 1
        self.correct += prediction == label
        self._count(label, prediction, 1)

    def _count(self, label: str, prediction: str, rows: int) -> None:
        found = self.confusion.get(label, {})
        name = prediction
        if prediction not in found:  # it may be one class too many
            found = self.confusion.setdefault(self._kept(label), {})
            name = self._kept(prediction)
        found[name] = found.get(name, 0) + rows

    def _kept(self, name: str) -> str:
        if name in self.confusion:
            return name
        known = set(self.confusion).union(*self.confusion.values())
        return name if name in known or len(known) < CLASSES else REST

    def _classification(self) -> dict[str, float | None]:
        if not self.joined:
            return dict.fromkeys(("accuracy", "precision", "recall", "f1"))
        predicted: dict[str, int] = {}
        for found in self.confusion.values():
            for name, rows in found.items():
                predicted[name] = predicted.get(name, 0) + rows
        each = []
        for name, found in self.confusion.items():
            hits = found.get(name, 0)
            precision = hits / predicted[name] if predicted.get(name) else 0.0
            recall = hits / sum(found.values())
            f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
            each.append((precision, recall, f1))
        precision, recall, f1 = (sum(column) / len(each) for column in zip(*each, strict=True))
        return {"accuracy": self.correct / self.joined, "precision": precision, "recall": recall, "f1": f1}


class Comparison(Struct, frozen=True, kw_only=True):
    """One metric against a baseline. `dropped` None: not enough labels to say."""

    metric: str
    value: float | None
    baseline: float | None
    p_value: float | None
    """Of a loss at least as large, if nothing had changed; one-sided."""
    dropped: bool | None


def compare(current: Performance, baseline: Performance | Mapping[str, Any], *, alpha: float = 0.001) -> Comparison:
    """Say whether a model got worse: significantly, and by more than a trifle.

    `baseline` is the performance of earlier windows, or the metrics that were logged with the model (`accuracy` or `rmse`;
    taken as exact). Accuracy: two proportions, pooled. Regression: the mean squared error, with the variance of the
    squared errors, which is a z test whatever the distribution of the errors (Welch). Below 30 labels: no verdict.
    """
    metric = "accuracy" if current.task == "classification" else "rmse"
    value = current.metrics()[metric]
    before = baseline.metrics()[metric] if isinstance(baseline, Performance) else baseline.get(metric)
    few = current.joined < LEAST or (isinstance(baseline, Performance) and baseline.joined < LEAST)
    if few or value is None or not isinstance(before, int | float):
        known = float(before) if isinstance(before, int | float) else None
        return Comparison(metric=metric, value=value, baseline=known, p_value=None, dropped=None)
    rows = baseline.joined if isinstance(baseline, Performance) else math.inf
    if metric == "accuracy":
        p_value, large = _p_of_accuracy(value, current.joined, before, rows), before - value >= FLOOR
    else:
        p_value, large = _p_of_error(current, baseline, before), value >= before * (1 + SHARE)
    return Comparison(
        metric=metric, value=value, baseline=float(before), p_value=p_value, dropped=p_value < alpha and large
    )


def _p_of_accuracy(value: float, n: int, before: float, m: float) -> float:
    # One row more of each outcome: a baseline without errors would leave no room for chance (Agresti, Coull 1998).
    pooled = (before * n + 1) / (n + 2) if math.isinf(m) else (value * n + before * m + 1) / (n + m + 2)
    return _tail(before - value, pooled * (1 - pooled) * (1 / n + 1 / m))


def _p_of_error(current: Performance, baseline: Performance | Mapping[str, Any], before: float) -> float:
    variance = _variance(current) + (_variance(baseline) if isinstance(baseline, Performance) else 0.0)
    return _tail(current.squared / current.joined - before * before, variance)


def _variance(found: Performance) -> float:
    """Of the mean of the squared errors."""
    mean = found.squared / found.joined
    return max(found.fourth / found.joined - mean * mean, 0.0) / found.joined


def _tail(loss: float, variance: float) -> float:
    """Give the upper tail of the normal distribution."""
    if variance <= 0:
        return 0.0 if loss > 0 else 1.0
    return math.erfc(loss / math.sqrt(2 * variance)) / 2
