"""What a job's handler finds in its first argument: parameters, inputs, and where its results and artifacts go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trimtab.artifacts import Artifact, ArtifactStore, DataItem, LogsArtifacts, Producer, get_dataitem, open_store
from trimtab.errors import NotFound, SpecError
from trimtab.runtime.context import Logger


class RunContext(LogsArtifacts):
    """One run's. Names are MLRun's."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.uid: str = message["run"]
        self.name: str = message["function"]
        self.project: str = message["project"]
        """The project's name; what is logged belongs to it."""
        self.parameters: dict[str, Any] = message["parameters"]
        self.inputs: dict[str, str] = message["inputs"]
        self.event: dict[str, Any] | None = message["event"]
        """The CloudEvent (JSON format) that started the run; None when somebody did."""
        self.artifact_path: str = message["artifact_path"]
        self.results: dict[str, Any] = {}
        self.artifacts: dict[str, str] = {}
        """What was logged: keys, and the URIs of the versions."""
        self.logger = Logger(self.name)
        self._store: ArtifactStore | None = None
        self._items: dict[str, DataItem] = {}

    def get_param(self, key: str, default: Any = None) -> Any:
        """Give a parameter, whether or not the handler names it."""
        return self.parameters.get(key, default)

    def get_input(self, key: str, url: str = "") -> DataItem:
        """Give an input, or the data at `url` where there is none of that name.

        Errors: SpecError, naming the inputs there are, or what a `store://` URI fails at.
        """
        if key not in self._items:
            place = self.inputs.get(key) or url
            if not place:
                raise SpecError(f"input {key}", None, f"one of {', '.join(self.inputs) or '(no inputs were given)'}")
            try:
                self._items[key] = self.get_dataitem(place, key=key)
            except NotFound as exc:
                raise SpecError(f"input {key}", place, "an artifact that is there", hint=str(exc)) from exc
        return self._items[key]

    def get_dataitem(self, url: str | os.PathLike[str], *, key: str = "") -> DataItem:
        """Give the data at a path, a URL or a `store://` URI. Errors: NotFound, SpecError."""
        return get_dataitem(url, key=key)

    def log_result(self, key: str, value: Any) -> None:
        """Record one result; it stands in the run's history."""
        self.results[key] = value

    def log_results(self, results: dict[str, Any]) -> None:
        """Record several."""
        self.results.update(results)

    def artifact(self, name: str) -> Path:
        """Give the path for a file of this run, in a folder that is made."""
        path = Path(self.artifact_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # What LogsArtifacts asks for

    @property
    def store(self) -> ArtifactStore:
        """Where artifacts are: `TRIMTAB_ARTIFACTS`, which a run has from the daemon."""
        if self._store is None:
            self._store = open_store()
        return self._store

    def _project_name(self) -> str:
        return self.project

    def _producer(self) -> Producer:
        return Producer(uid=self.uid, name=self.name, inputs={key: item.url for key, item in self._items.items()})

    def _logged(self, artifact: Artifact) -> None:
        self.artifacts[artifact.key] = artifact.version_uri

    def _found(self, path: str | Path) -> Path:
        """Look in the working directory, then among the run's files."""
        here, own = Path(path), Path(self.artifact_path) / path
        return own if own.exists() and not here.exists() else here


MLClientCtx = RunContext
"""The same under MLRun's name, for annotations."""
