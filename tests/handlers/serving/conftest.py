"""Models that were really trained, in files, and functions that serve them in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import trimtab
from trimtab.project.mock import MockServer

IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train: `iris` on an array, `named` on a DataFrame, `gaps` that takes NaN, `mixed` with a column of words."""
    folder = tmp_path_factory.mktemp("models")
    frame, target = load_iris(return_X_y=True, as_frame=True)
    words = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 5, "colour": ["red", "blue"] * 10})
    encoder = ColumnTransformer(
        [("words", OneHotEncoder(handle_unknown="ignore"), ["colour"])], remainder="passthrough"
    )
    trained = {
        "iris": LogisticRegression(max_iter=500).fit(frame.to_numpy(), target),
        "named": LogisticRegression(max_iter=500).fit(frame, target),
        "gaps": HistGradientBoostingClassifier(max_iter=5).fit(frame.to_numpy(), target),
        "mixed": make_pipeline(encoder, LogisticRegression()).fit(words, [0, 1] * 10),
    }
    paths = {name: folder / f"{name}.pkl" for name in trained}
    for name, model in trained.items():
        paths[name].write_bytes(pickle.dumps(model))
    return paths


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., MockServer]]:
    """Give what starts a function in this process: of models by key, and a module's text for classes of their own."""
    with ExitStack() as stack:

        def start(code: str = "", *, change: Callable[[Any], Any] | None = None, **added: Any) -> MockServer:
            if code:
                path = tmp_path / "served.py"
                path.write_text(code, "utf-8")
                function = trimtab.code_to_function("served", filename=path, kind="serving")
            else:
                function = trimtab.new_function("served", kind="serving")
            for key, given in added.items():
                function.add_model(
                    key.replace("__", ":"), **(given if isinstance(given, dict) else {"model_path": given})
                )
            if change is not None:
                change(function)
            return stack.enter_context(function.to_mock_server())

        yield start


def numbers(values: Any) -> list[Any]:
    """Give an array as a list."""
    found: list[Any] = np.asarray(values).tolist()
    return found
