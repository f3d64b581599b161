"""Champion against challenger, on rows that neither was trained on by the loop: held out, labelled, and fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.artifacts import Artifact, ArtifactStore, load_model
from trimtab.artifacts.datasets import digest
from trimtab.handlers.retrain.compare import compare
from trimtab.handlers.retrain.rows import Rows, split
from trimtab.handlers.retrain.state import Figures
from trimtab.spec.retrain import Comparison

if TYPE_CHECKING:
    import pandas as pd


def contest(
    artifacts: ArtifactStore, rows: Rows, champion: str, challenger: str, since: float, wanted: Comparison
) -> tuple[Figures | None, int]:
    """Compare two versions on the held-out rows since a moment; no figures where there are fewer rows than needed.

    Errors: StoreError, for a model that cannot be loaded here; SpecError, for answers that cannot be compared.
    """
    _, held = split(rows.read(since), wanted.holdout)
    if len(held) < wanted.min_rows:
        return None, len(held)
    theirs, ours = (answers(artifacts.get(uri), held) for uri in (champion, challenger))
    truth = held[rows.label.name]
    found = compare(wanted.metric, truth, theirs, ours, confidence=wanted.confidence, data=digest(held)[:16])
    return found, len(held)


def answers(model: Artifact, frame: pd.DataFrame) -> Any:
    """Have a model answer rows. A model that was not trained on named columns gets the bare values."""
    import numpy as np

    loaded = load_model(model)
    names = model.model.schema.names if model.model.schema is not None else list(frame.columns[:-1])
    inputs = frame[names]
    return np.asarray(loaded.predict(inputs if hasattr(loaded, "feature_names_in_") else inputs.to_numpy()))


def agreement(rows: Rows, champion: str, challenger: str, since: float) -> float | None:
    """Give the share of rows that two endpoints answered alike; None while there is no row that both answered."""
    ours, theirs = (rows.predictions(endpoint, since) for endpoint in (challenger, champion))
    both = ours.index.intersection(theirs.index)
    return float((ours.loc[both] == theirs.loc[both]).mean()) if len(both) else None
