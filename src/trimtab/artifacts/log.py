"""Logging of models, datasets and files, for whoever has a project: a project itself, and the context of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trimtab.artifacts import datasets
from trimtab.artifacts.types import DatasetSpec, FileSpec
from trimtab.artifacts.uri import Kind, check_name
from trimtab.errors import SpecError

if TYPE_CHECKING:
    from trimtab.artifacts.artifact import Artifact
    from trimtab.artifacts.store import ArtifactStore
    from trimtab.artifacts.types import Producer, Spec


class LogsArtifacts(ABC):
    """The methods, with MLRun's names. Each writes a new version, to which `latest` (and `tag`) then point.

    Errors of all: SpecError (what was given does not fit together), StoreFull, StoreError.
    """

    @property
    @abstractmethod
    def store(self) -> ArtifactStore:
        """Where artifacts are."""

    @abstractmethod
    def _project_name(self) -> str:
        """The project that they belong to."""

    @abstractmethod
    def _producer(self) -> Producer | None:
        """Who makes them."""

    @abstractmethod
    def _logged(self, artifact: Artifact) -> None:
        """Be told of a new version."""

    def _found(self, path: str | Path) -> Path:
        """Give the file or folder that a path means."""
        return Path(path)

    def log_model(
        self,
        key: str,
        body: Any = None,
        framework: str = "",
        tag: str = "",
        *,
        model: Any = None,
        model_file: str | Path = "",
        model_dir: str | Path = "",
        algorithm: str = "",
        metrics: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        training_set: Any = None,
        label_column: str | None = None,
        labels: Mapping[str, str] | None = None,
        extra_data: Mapping[str, Any] | None = None,
        iter: int = 0,
    ) -> Artifact:
        """Keep a model: an object (`model`), a file (`model_file`), a folder (`model_dir`), or bytes (`body` and a name).

        An object is written as its kind asks (pickle; ONNX and MLflow's own), or as the suffix of `model_file` says.
        `training_set` is a DataFrame, or an array of features: its columns (`label_column` apart), statistics and digest
        are kept, its rows are not (but for a sample). `extra_data` are further files: paths, text or bytes, by name.
        """
        from trimtab.artifacts.pack import Given, pack

        given = Given(
            model=model,
            body=body,
            file=self._found(model_file) if model_file and not model_dir else None,
            folder=self._found(model_dir) if model_dir else None,
            name=str(model_file) if model_dir else Path(model_file).name,
            framework=framework,
            algorithm=algorithm,
            metrics=dict(metrics or {}),
            parameters=dict(parameters or {}),
            training_set=training_set,
            label_column=label_column,
            extra_data={
                name: content if isinstance(content, bytes) else self._found(content)
                for name, content in (extra_data or {}).items()
            },
        )
        with TemporaryDirectory(prefix="trimtab-") as scratch:
            files, spec = pack(given, Path(scratch))
            return self._put("models", key, files, spec, tag, labels, iter)

    def log_dataset(
        self,
        key: str,
        df: Any,
        tag: str = "",
        *,
        format: str = "parquet",
        index: bool = False,
        label_column: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Keep a DataFrame, as `csv` or `parquet` (which keeps types, too); `index` says whether its index is written."""
        from trimtab.sketches.schema import Schema

        if not hasattr(df, "to_csv"):
            raise SpecError("df", type(df).__name__, "a pandas DataFrame")
        file = f"{check_name('key', key)}.{format}"
        spec = DatasetSpec(
            file=file,
            format=format,
            schema=Schema.of(df),
            rows=len(df),
            label_column=label_column,
            digest=datasets.digest(df),
        )
        with TemporaryDirectory(prefix="trimtab-") as scratch:
            path = Path(scratch) / file
            datasets.write(df, path, format, index=index)
            return self._put("datasets", key, {file: path}, spec, tag, labels)

    def log_artifact(
        self,
        key: str,
        body: str | bytes | None = None,
        local_path: str | Path = "",
        tag: str = "",
        *,
        labels: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Keep text or bytes (`body`), a file or a folder (`local_path`; without either: the file `key`)."""
        if body is not None:
            content = body.encode() if isinstance(body, str) else body
            return self._put("artifacts", key, {key: content}, FileSpec(file=key), tag, labels)
        path = self._found(local_path or key)
        if path.is_dir():
            return self._put("artifacts", key, files_below(path), FileSpec(), tag, labels)
        if not path.is_file():
            raise SpecError("local_path", str(path), "a file or folder that is there, or give `body`")
        return self._put("artifacts", key, {path.name: path}, FileSpec(file=path.name), tag, labels)

    def _put(
        self,
        kind: Kind,
        key: str,
        files: Mapping[str, Path | bytes],
        spec: Spec,
        tag: str,
        labels: Mapping[str, str] | None,
        iter: int = 0,
    ) -> Artifact:
        artifact = self.store.put(
            kind, self._project_name(), key, files, spec, tag=tag, iter=iter, labels=labels, producer=self._producer()
        )
        self._logged(artifact)
        return artifact


def files_below(folder: Path) -> dict[str, Path | bytes]:
    """Give the files of a folder by their path in it, sorted."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
