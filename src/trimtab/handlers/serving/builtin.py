"""The class that serves whatever has `predict`: scikit-learn's estimators and pipelines, and everything like them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.errors import ImportFailed, PermanentError
from trimtab.handlers.serving import fetch
from trimtab.handlers.serving.features import Features, Table
from trimtab.handlers.serving.model import ModelServer

_ARGMAX = ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier")
"""Whose `predict` is the most probable class by definition, so that one pass gives both."""


class BuiltIn(ModelServer):
    """Serves one object with `predict`, and `predict_proba` where it has it. Outputs go by these two names."""

    features: Features

    def load(self) -> None:
        """Read the model, checked and by its framework where it was logged, and learn what it takes."""
        place = self.model_path or ""
        if place.startswith("store://"):
            from trimtab.artifacts import load_model, open_store

            self.artifact = open_store().get(place)
            self.model = load_model(self.artifact)
        else:
            self.model = unpickle(fetch.fetch(place, "", self.get_param("sha256", None)).path)
        if not callable(getattr(self.model, "predict", None)):
            raise ImportFailed(f"{place}: found a {type(self.model).__name__}, allowed: an object with predict()")
        schema = self.artifact.model.schema if self.artifact is not None else None
        self.features = Features.of(self.model, schema)
        classes = getattr(self.model, "classes_", None)
        self.classes: list[Any] | None = classes.tolist() if isinstance(classes, np.ndarray) else None
        self.has_probabilities = _has(self.model, "predict_proba")
        kind = type(self.model)
        self.probabilities_later = (
            self.has_probabilities and kind.__module__.startswith("sklearn.") and kind.__name__ not in _ARGMAX
        )
        """Whether probabilities nobody asked for are worked out for the records alone, many rows at a time, in a thread:
        scikit-learn's estimators do not mind, and one pass does not give both."""
        # Names were checked by `features`; without this, each call on an array would say that it has none.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def predict_table(self, table: Table, *, probabilities: bool = False) -> dict[str, Any]:
        """Predict for a table of `features`."""
        model = self.model
        found = self._probabilities(table) if probabilities and self.has_probabilities else None
        if found is None:
            return {"predict": np.asarray(model.predict(table))}
        if type(model).__name__ in _ARGMAX and found.ndim == 2:
            return {"predict": model.classes_.take(found.argmax(axis=1)), "predict_proba": found}
        return {"predict": np.asarray(model.predict(table)), "predict_proba": found}

    def _probabilities(self, table: Table) -> Any:
        """Give the probabilities; None from a wrapper that has the method, and whose model has none."""
        try:
            return np.asarray(self.model.predict_proba(table))
        except (AttributeError, NotImplementedError) as exc:
            self.has_probabilities = self.probabilities_later = False
            self.logger.warn(f"model {self.name!r} has no probabilities: {exc}")
            return None

    def predict(self, request: dict[str, Any]) -> Any:
        """Answer rows, for a class that derives from this one and calls it."""
        return self.predict_table(self.features.rows(request["inputs"]))["predict"].tolist()

    def explain(self, request: dict[str, Any]) -> Any:
        """Refuse: the built-in class explains nothing."""
        raise PermanentError(f"model {self.name!r} explains nothing: its class has no explain", status=501)

    def warm(self) -> None:
        """Make a first prediction, which imports what is imported late; whether it succeeds does not matter."""
        if self.features.count is not None and self.features.numeric:
            row = self.features.rows([[0.0] * self.features.count])
            self.predict_table(row, probabilities=self.has_probabilities)


def _has(model: Any, method: str) -> bool:
    try:
        return callable(getattr(model, method, None))
    except Exception:  # a property that refuses, as that of an SVC without probabilities does
        return False


def unpickle(path: Path) -> Any:
    """Read a model from a file by its suffix. Errors: ImportFailed, which says what is missing; what the pickle raises."""
    if path.suffix == ".joblib":
        import joblib

        return joblib.load(path)
    try:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - a model is code; where it comes from was checked
    except ModuleNotFoundError as exc:
        raise ImportFailed(f"{path.name} needs the module {exc.name!r}: add it to the function's requirements") from exc
    except (pickle.UnpicklingError, EOFError) as exc:
        raise ImportFailed(f"{path.name} is no pickle, or is cut short: {exc}") from exc
