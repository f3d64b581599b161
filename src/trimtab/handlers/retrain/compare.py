"""Champion against challenger on the same rows: the metric of each, and a bootstrap interval on the difference.

The interval is the percentile bootstrap on paired rows (Efron and Tibshirani 1993, chapter 13): a resample takes the
same rows for both models, so what is hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.errors import SpecError
from trimtab.handlers.retrain.state import Figures

RESAMPLES = 2000
"""Enough for the ends of a 95 % interval to move by less than a twentieth of its width from seed to seed."""
_LESS_IS_BETTER = ("rmse", "mae")

Metric = Callable[[Any, Any], float]


def compare(
    metric: str,
    truth: Any,
    champion: Any,
    challenger: Any,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    data: str = "",
) -> Figures:
    """Compare two models' answers with the truth, each an array of one value a row.

    The gain is positive where the challenger is better, whatever the metric. Errors: SpecError for no rows, unequal
    lengths, or answers that are no numbers where the metric needs them.
    """
    import numpy as np

    truth, champion, challenger = (_column(metric, each) for each in (truth, champion, challenger))
    if not len(truth) or not len(truth) == len(champion) == len(challenger):
        found = f"{len(truth)} labels, {len(champion)} and {len(challenger)} answers"
        raise SpecError("rows to compare", found, "as many answers of both as labels, at least one")
    if metric not in _LESS_IS_BETTER and metric != "r2":
        truth, champion, challenger = _codes(truth, champion, challenger)
    sign = -1.0 if metric in _LESS_IS_BETTER else 1.0
    measure = METRICS[metric]
    ours, theirs = measure(truth, challenger), measure(truth, champion)
    draw = np.random.default_rng(seed)
    rows = len(truth)
    gains = np.empty(resamples)
    for index in range(resamples):
        chosen = draw.integers(0, rows, rows)
        t = truth[chosen]
        gains[index] = sign * (measure(t, challenger[chosen]) - measure(t, champion[chosen]))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(gains, [tail, 1.0 - tail])
    return Figures(
        metric=metric,
        champion=theirs,
        challenger=ours,
        gain=sign * (ours - theirs),
        low=float(low),
        high=float(high),
        rows=rows,
        data=data,
    )


def _column(metric: str, values: Any) -> Any:
    import numpy as np

    found = np.asarray(values)
    found = found.reshape(len(found)) if found.ndim == 2 and found.shape[1] == 1 else found
    if found.ndim != 1:
        raise SpecError("answers", f"an array of shape {found.shape}", "one value for each row")
    if metric not in (*_LESS_IS_BETTER, "r2"):
        return found
    try:
        numbers = found.astype(np.float64)
    except (TypeError, ValueError) as exc:
        raise SpecError("answers", f"values of type {found.dtype}", f"numbers, for the metric {metric!r}") from exc
    if not np.isfinite(numbers).all():
        raise SpecError("answers", "missing or infinite values", f"finite numbers, for the metric {metric!r}")
    return numbers


def _codes(*columns: Any) -> list[Any]:
    """Number the classes, so that resamples are compared as whole numbers; 1, 1.0 and "1" are the same class."""
    import numpy as np

    texts = [np.array([_class(value) for value in column.tolist()], dtype=str) for column in columns]
    _, codes = np.unique(np.concatenate(texts), return_inverse=True)
    ends = np.cumsum([len(column) for column in columns])
    return np.split(codes, ends[:-1])


def _class(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _accuracy(truth: Any, answers: Any) -> float:
    return float((truth == answers).mean())


def _counts(truth: Any, answers: Any) -> tuple[Any, Any, Any]:
    """Per class: rows that are it and were answered so, rows that are it, rows that were answered so."""
    import numpy as np

    size = int(max(truth.max(), answers.max())) + 1
    hits = np.bincount(truth[truth == answers], minlength=size)
    return hits, np.bincount(truth, minlength=size), np.bincount(answers, minlength=size)


def _balanced_accuracy(truth: Any, answers: Any) -> float:
    hits, actual, _ = _counts(truth, answers)
    there = actual > 0
    return float((hits[there] / actual[there]).mean())


def _f1(truth: Any, answers: Any) -> float:
    hits, actual, answered = _counts(truth, answers)
    total = actual + answered
    there = total > 0
    return float((2.0 * hits[there] / total[there]).mean())


def _rmse(truth: Any, answers: Any) -> float:
    return float(((truth - answers) ** 2).mean() ** 0.5)


def _mae(truth: Any, answers: Any) -> float:
    return float(abs(truth - answers).mean())


def _r2(truth: Any, answers: Any) -> float:
    total = float(((truth - truth.mean()) ** 2).sum())
    left = float(((truth - answers) ** 2).sum())
    return 1.0 - left / total if total else float(left == 0)


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
