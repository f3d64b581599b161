"""Drift of a model's uncertainty: rows that it hesitates over more (or less) than it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, SpecError
from trimtab.handlers.drift import ks
from trimtab.handlers.drift.chi2 import fisher_p_values
from trimtab.handlers.drift.column import Categorical, Numeric
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.answer import answer, too_few
from trimtab.handlers.drift.kernels.rows import on_rows
from trimtab.handlers.drift.result import Result
from trimtab.handlers.drift.verdict import LEAST_ROWS

__all__ = ["classifier_uncertainty", "regressor_uncertainty", "table"]

Floats = npt.NDArray[np.float64]

UNCERTAINTIES = ("entropy", "margin")


@on_rows
def classifier_uncertainty(
    reference: Frame,
    current: Frame,
    *,
    alpha: float = 0.05,
    min_rows: int = LEAST_ROWS,
    model: Any = None,
    uncertainty: Literal["entropy", "margin"] = "entropy",
    margin: float = 0.1,
) -> Result:
    """Test whether a classifier's uncertainty is distributed as it was (Sethi and Kantardzic 2017, Expert Syst. Appl. 82:77).

    - `entropy`: u = -sum_k p_k log p_k of each row's class probabilities; the two-sample Kolmogorov-Smirnov test of u.
    - `margin`: rows whose two largest probabilities differ by less than `margin` lie in the margin (MD3's margin
      density); Fisher's exact test, two-sided, of their shares. The statistic is current's share less the reference's.

    `model` is a fitted classifier with `predict_proba`, or a function from rows to probabilities (rows, classes).
    Without one the columns are the probabilities themselves, one a class. The reference must be rows that the model was
    not trained on: it is surer of those than of any others. `per_feature` is empty: an uncertainty is one number of a
    whole row, and belongs to none of its features.
    """
    if uncertainty not in UNCERTAINTIES:
        raise SpecError("classifier_uncertainty.uncertainty", uncertainty, ", ".join(UNCERTAINTIES))
    if not 0 < margin <= 1:
        raise SpecError("classifier_uncertainty.margin", margin, "a number above 0, at most 1")
    name, frames = "classifier_uncertainty", (reference, current)
    if few := too_few(name, frames, alpha, min_rows):
        return few
    left, right = (
        _probabilities(frame, model, role) for frame, role in zip(frames, ("reference", "current"), strict=True)
    )
    if uncertainty == "entropy":
        return _compared(name, frames, _entropy(left), _entropy(right), alpha)
    return _margins(name, frames, _near(left, margin), _near(right, margin), alpha)


@on_rows
def regressor_uncertainty(
    reference: Frame, current: Frame, *, alpha: float = 0.05, min_rows: int = LEAST_ROWS, model: Any = None
) -> Result:
    """Test whether an ensemble of regressors disagrees as it did (after Sethi and Kantardzic 2017, for regression).

    u = the standard deviation of a row's predictions over the ensemble; the two-sample Kolmogorov-Smirnov test of u.

    `model` is a fitted ensemble with `estimators_` (bagging, forests), or a function from rows to predictions (rows,
    members), such as one that repeats a network's forward pass with dropout (Gal and Ghahramani 2016, ICML). Without
    one the columns are the predictions themselves, one a member. The reference must be rows that the ensemble was not
    trained on. `per_feature` is empty, as in `classifier_uncertainty`.
    """
    name, frames = "regressor_uncertainty", (reference, current)
    if few := too_few(name, frames, alpha, min_rows):
        return few
    left, right = (
        _members(frame, model, role).std(axis=1) for frame, role in zip(frames, ("reference", "current"), strict=True)
    )
    return _compared(name, frames, left, right, alpha)


def table(frame: Frame, model: Any) -> Any:
    """Give the rows as a model takes them: a DataFrame where it was fitted to one or there are levels, else an array."""
    columns = frame.columns.values()
    if not hasattr(model, "feature_names_in_") and all(isinstance(column, Numeric) for column in columns):
        return np.column_stack([column.values for column in frame.numeric])
    import pandas as pd

    made = pd.DataFrame({column.name: _values(column) for column in columns})
    return made[list(model.feature_names_in_)] if _knows(model, made) else made


def _knows(model: Any, made: Any) -> bool:
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return False
    if lost := [str(name) for name in names if name not in made.columns]:
        raise DataError(f"the model was fitted to columns that the data lacks: {', '.join(lost)}", lost[0])
    return True


def _values(column: Numeric | Categorical) -> Any:
    if isinstance(column, Numeric):
        return column.values
    return np.array([*column.levels, None], dtype=object)[column.codes]


def _asked(call: Callable[[Any], Any], frame: Frame, model: Any, role: str, shape: str) -> Floats:
    found = np.asarray(call(table(frame, model)), dtype=np.float64)
    if found.ndim != 2 or len(found) != frame.rows or found.shape[1] < 2:
        raise DataError(f"the model gave shape {found.shape} for {frame.rows} rows of {role}; expected: {shape}")
    return _finite(found, role)


def _finite(found: Floats, role: str) -> Floats:
    bad = int(np.count_nonzero(~np.isfinite(found).all(axis=1)))
    if bad:
        raise DataError(f"{role}: the model's output is missing or infinite in {bad} of {len(found)} rows")
    return found


def _own(frame: Frame, role: str) -> Floats:
    if frame.categorical or len(frame.columns) < 2:
        raise DataError(
            f"{role}: without model=, the columns must be the model's outputs: two or more columns of numbers; "
            f"found {', '.join(frame.names)}"
        )
    return _finite(np.column_stack([column.values for column in frame.numeric]), role)


def _probabilities(frame: Frame, model: Any, role: str) -> Floats:
    if model is None:
        found = _own(frame, role)
    else:
        call = getattr(model, "predict_proba", model)
        if not callable(call):
            raise SpecError("classifier_uncertainty.model", model, "a classifier with predict_proba, or a function")
        found = _asked(call, frame, model, role, "(rows, classes)")
    if (found < -1e-6).any() or not np.allclose(found.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"{role}: class probabilities must be 0 or above and add up to 1 in every row")
    return np.clip(found, 0, 1)


def _members(frame: Frame, model: Any, role: str) -> Floats:
    if model is None:
        return _own(frame, role)
    if hasattr(model, "estimators_"):
        return _asked(lambda rows: _ensemble(model, rows), frame, model, role, "(rows, members)")
    if not callable(model):
        raise SpecError("regressor_uncertainty.model", model, "an ensemble with estimators_, or a function")
    return _asked(model, frame, model, role, "(rows, members)")


def _ensemble(model: Any, rows: Any) -> Floats:
    """Ask every member; they were fitted to arrays, and a bagging's each to features of its own."""
    values = rows if isinstance(rows, np.ndarray) else rows.to_numpy(dtype=np.float64)
    chosen = getattr(model, "estimators_features_", None) or [slice(None)] * len(model.estimators_)
    members = np.ravel(model.estimators_)
    return np.column_stack([member.predict(values[:, own]) for member, own in zip(members, chosen, strict=True)])


def _entropy(probabilities: Floats) -> Floats:
    from scipy.special import entr

    found: Floats = entr(probabilities).sum(axis=1)
    return found


def _near(probabilities: Floats, margin: float) -> npt.NDArray[np.bool_]:
    top = np.sort(probabilities, axis=1)
    near: npt.NDArray[np.bool_] = top[:, -1] - top[:, -2] < margin
    return near


def _compared(name: str, frames: tuple[Frame, Frame], left: Floats, right: Floats, alpha: float) -> Result:
    x, y = np.sort(left), np.sort(right)
    distance = ks.distance(x, y)
    words = f"mean uncertainty {x.mean():.4g} in the reference, {y.mean():.4g} in current"
    return answer(name, frames, distance, ks.p_value(x, y, distance), alpha, message=words)


def _margins(
    name: str, frames: tuple[Frame, Frame], left: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], alpha: float
) -> Result:
    before, now = (np.array([[np.count_nonzero(~side), np.count_nonzero(side)]]) for side in (left, right))
    words = f"{left.mean():.2%} of the reference and {right.mean():.2%} of current lie in the margin"
    p_value = float(fisher_p_values(before, now)[0])
    return answer(name, frames, float(right.mean() - left.mean()), p_value, alpha, message=words)
