"""What a training is given: a dataset of labelled rows, none of them held out, as a version of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.artifacts import Artifact, ArtifactStore, DatasetSpec, LogsArtifacts, Producer, StoreURI, get_dataitem
from trimtab.errors import NotFound, SpecError, TrimtabError
from trimtab.handlers.retrain.rows import Rows, split

if TYPE_CHECKING:
    import pandas as pd


class Training:
    """One training's data. `wanted` is the data of the loop's action."""

    def __init__(self, artifacts: ArtifactStore, rows: Rows, wanted: dict[str, Any], least: int) -> None:
        self._artifacts, self._rows, self._wanted, self._least = artifacts, rows, wanted, least
        self._champion = artifacts.get(wanted["champion"])

    def dataset(self, identity: str) -> Artifact:
        """Give the dataset of this training, made when it is first asked for.

        Errors: TrimtabError while there are too few rows; SpecError, NotFound for what never will be.
        """
        key = f"{self._champion.key}-training"
        project = self._champion.project
        try:
            return self._artifacts.get(StoreURI(kind="datasets", project=project, key=key, tag=identity))
        except NotFound:
            frame = self._frame()
        log = _Log(self._artifacts, project, Producer(uid=identity, name="retrain"))
        return log.log_dataset(key, frame, tag=identity, label_column=self._rows.label.name)

    def parameters(self, dataset: Artifact) -> dict[str, Any]:
        """Give the job's parameters: those of them that its handler names arrive."""
        wanted = self._wanted
        return {
            "champion": self._champion.version_uri,
            "checkpoint": self._champion.version_uri if wanted["mode"] == "stateful" else None,
            "mode": wanted["mode"],
            "model_name": self._champion.key,
            "label_column": dataset.dataset.label_column,
            "features": self._rows.schema.names,
            "attempt": wanted["attempt"],
        }

    def _frame(self) -> pd.DataFrame:
        wanted = self._wanted
        recent = wanted["data"] == "window" or wanted["mode"] == "stateful"
        since = wanted.get("since", 0.0) if recent else 0.0
        until = wanted.get("until", 2e10) if wanted["data"] == "window" else 2e10
        inside, _ = split(self._rows.read(since, until), wanted["holdout"])
        if len(inside) < self._least:
            raise TrimtabError(f"{len(inside)} rows with labels are there to train on, {self._least} are needed")
        return self._with_former(inside) if wanted["data"] == "all" else inside

    def _with_former(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Put the champion's own training set in front."""
        import pandas as pd

        digest = self._champion.model.training_set
        for found in self._artifacts.list("datasets", self._champion.project):
            if digest and isinstance(found.spec, DatasetSpec) and found.spec.digest == digest:
                former = get_dataitem(found.version_uri, store=self._artifacts).as_df()
                return pd.concat([former[list(frame.columns)], frame], ignore_index=True)
        allowed = "window or log: the champion's training set was not logged as a dataset (log_dataset)"
        raise SpecError("spec.retrain.data", "all", allowed)


class _Log(LogsArtifacts):
    """Logs to a project without being one."""

    def __init__(self, store: ArtifactStore, project: str, producer: Producer) -> None:
        self._store, self._project, self._made_by = store, project, producer

    @property
    def store(self) -> ArtifactStore:
        return self._store

    def _project_name(self) -> str:
        return self._project

    def _producer(self) -> Producer:
        return self._made_by

    def _logged(self, artifact: Artifact) -> None:
        """Nobody else is told."""
