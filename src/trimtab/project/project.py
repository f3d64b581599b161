"""Projects: a name that functions, models, datasets and files belong to. Names are MLRun's."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.artifacts import Artifact, ArtifactStore, LogsArtifacts, StoreURI, absent, is_store_uri, open_store
from trimtab.artifacts.uri import KINDS, Kind
from trimtab.errors import Conflict, NotFound, SpecError
from trimtab.project.function import FunctionHandle
from trimtab.project.make import code_to_function, import_function
from trimtab.spec.scalars import LABEL, as_label

if TYPE_CHECKING:
    from trimtab.artifacts import Producer
    from trimtab.deploy.abc import Target
    from trimtab.project.run import Run
    from trimtab.spec.quantity import Amount

_DOCUMENTS = (".yaml", ".yml", ".json")


def get_or_create_project(name: str, context: str | Path = "./", *, user_project: bool = False) -> Project:
    """Give a project, made if it is not there. `context` is the folder that its functions' files are in.

    With `user_project` the user's name is put behind its own. Errors: SpecError (an impossible name), StoreError.
    """
    if user_project:
        name = f"{name}-{as_label(getpass.getuser())}"
    if not re.match(LABEL, name) or len(name) > 63:
        nearest = as_label(name)
        raise SpecError(
            "project",
            name,
            "lower-case letters, digits and '-', starting with a letter, at most 63 characters",
            hint=f"Try {nearest!r}" if nearest else "",
        )
    store = open_store()
    if name not in store.projects():
        store.add_project(name)
    return Project(name, context, store)


def load_project(context: str | Path = "./", *, name: str) -> Project:
    """Give a project that is there. Errors: NotFound, naming those there are."""
    store = open_store()
    if name not in store.projects():
        raise absent.project(store, name)
    return Project(name, context, store)


class Project(LogsArtifacts):
    """One project. What is logged through it belongs to it; functions are kept for as long as this object lives."""

    def __init__(self, name: str, context: str | Path, store: ArtifactStore) -> None:
        self.name, self.context = name, Path(context)
        self.functions: dict[str, FunctionHandle] = {}
        """What `set_function` made, by name."""
        self._store = store

    def __repr__(self) -> str:
        return f"Project({self.name!r}, store={self.store.url!r})"

    @property
    def artifact_path(self) -> str:
        """The URL of the store."""
        return self.store.url

    # Functions

    def set_function(
        self,
        func: str | Path | FunctionHandle | None = None,
        name: str = "",
        kind: str = "job",
        image: str | None = None,
        handler: str = "",
        *,
        requirements: Iterable[str] | str | None = None,
        requirements_file: str = "",
    ) -> FunctionHandle:
        """Add a function: a Python file or folder, a document (both relative to `context`), or one that is made.

        Without `func` it is the notebook that this is called in. Errors: SpecError.
        """
        if isinstance(func, FunctionHandle):
            made = func
        elif func is not None and Path(func).suffix in _DOCUMENTS:
            made = import_function(self.context / func)
        else:
            made = code_to_function(
                name,
                filename="" if func is None else self.context / func,
                kind=kind,
                image=image,
                handler=handler,
                requirements=requirements,
                requirements_file=requirements_file,
            )
        made.metadata.project = self.name
        made.metadata.name = name or made.metadata.name
        self.functions[made.metadata.name] = made
        return made

    def get_function(self, key: str) -> FunctionHandle:
        """Give a function that was set. Errors: NotFound, naming those that were."""
        if key not in self.functions:
            known = ", ".join(sorted(self.functions)) or "(none)"
            raise NotFound(f"project {self.name!r} has no function {key!r}; set here: {known}. `set_function` sets one")
        return self.functions[key]

    def run_function(self, function: str | FunctionHandle, handler: str = "", **arguments: Any) -> Run:
        """Run a job: `arguments` are those of `fn.run` (params, inputs, local, watch ...). Errors: as `fn.run`."""
        return self._function(function).run(handler=handler, **arguments)

    def deploy_function(self, function: str | FunctionHandle, target: Target | str | None = None) -> str:
        """Deploy a function; give its URL. Errors: as `fn.deploy`."""
        return self._function(function).deploy(target)

    def _function(self, function: str | FunctionHandle) -> FunctionHandle:
        if isinstance(function, str):
            return self.get_function(function)
        function.metadata.project = self.name
        return function

    # Models in service

    def enable_model_monitoring(
        self,
        base_period: Amount = "1h",
        *,
        rows: int | None = None,
        run_time: Amount = "2160h",
        effect: float | None = None,
        min_rows: int | None = None,
        flush: Amount | None = None,
        lateness: Amount | None = None,
        look: Amount = "30s",
        log_volume: str | None = None,
        target: Target | str | None = None,
        watch: bool = False,
    ) -> dict[str, str]:
        """Deploy what watches models: a monitor, the drift check on a timer, and the loop that retrains; give their URLs.

        They serve all projects of a target. `base_period` is a window's time, and `rows` the rows that close it before
        that; `run_time` is the expected time between two false alarms of one model, by default 90 days; `effect` is the
        share of a feature's rows that has to have moved, `min_rows` what a verdict needs. `flush` and `lateness` say how
        long rows wait to be counted and windows for late rows, `look` how often the loop looks at what goes on. Numbers
        are seconds. `log_volume` is the PersistentVolumeClaim, on a cluster, that holds the log of rows. Errors: SpecError, DeployFailed, TargetUnreachable.
        """
        from trimtab.project import monitoring
        from trimtab.project.target import find

        place = find(target)
        found = monitoring.functions(
            base_period,
            rows=rows,
            run_time=run_time,
            effect=effect,
            min_rows=min_rows,
            flush=flush,
            lateness=lateness,
            look=look,
            log_volume=log_volume,
            images=place.images,
        )
        return {each.metadata.name: each.deploy(place, watch=watch) for each in found}

    def disable_model_monitoring(self, *, target: Target | str | None = None) -> None:
        """Remove the functions that `enable_model_monitoring` deployed; what they know stays.

        Errors: NotFound, when there is none of them.
        """
        from trimtab.project import monitoring

        monitoring.remove(target)

    def log_labels(
        self, endpoint: str, ids: Iterable[str], labels: Iterable[Any], *, target: Target | str | None = None
    ) -> None:
        """Tell the monitor what was true of some rows: `endpoint` is `FUNCTION/KEY`, `ids` are the rows' own.

        A request of one row names it by its id; of several, row n is `ID-n`. Errors: SpecError, TargetUnreachable.
        """
        from trimtab.project import monitoring

        monitoring.log_labels(self.name, endpoint, list(ids), list(labels), target)

    # Artifacts

    def get_artifact(self, key: str, tag: str = "", *, iter: int = 0, tree: str | None = None) -> Artifact:
        """Find a version of a model, dataset or file by its key, or by its `store://` URI; `latest` unless told.

        Errors: NotFound, naming what there is; Conflict, for a key that artifacts of several kinds have.
        """
        if is_store_uri(key):
            return self.store.get(key)
        kinds = [kind for kind in KINDS if key in self.store.keys(kind, self.name)]
        if len(kinds) > 1:
            uris = ", ".join(f"store://{kind}/{self.name}/{key}" for kind in kinds)
            raise Conflict(f"{key!r} is the key of several artifacts: say which of {uris}")
        if not kinds:
            known = [f"{name} ({kind})" for kind in KINDS for name in self.store.keys(kind, self.name)]
            raise NotFound(f"project {self.name!r} has no artifact {key!r}; it has {', '.join(known) or '(none)'}")
        tag = tag or ("" if tree else "latest")
        return self.store.get(StoreURI(kind=kinds[0], project=self.name, key=key, iter=iter, tag=tag, tree=tree))

    def list_artifacts(
        self, name: str | None = None, tag: str | None = None, kind: Kind | None = None
    ) -> list[Artifact]:
        """Give all versions of all artifacts, or those of a key, a tag, a kind; by key, and newest first."""
        kinds = KINDS if kind is None else (kind,)
        return [artifact for each in kinds for artifact in self.store.list(each, self.name, name, tag=tag)]

    def list_models(self, name: str | None = None, tag: str | None = None) -> list[Artifact]:
        """Give all versions of all models, or those of a key or a tag."""
        return self.list_artifacts(name, tag, "models")

    # What LogsArtifacts asks for

    @property
    def store(self) -> ArtifactStore:
        """Where its artifacts are."""
        return self._store

    def _project_name(self) -> str:
        return self.name

    def _producer(self) -> Producer | None:
        return None

    def _logged(self, artifact: Artifact) -> None:
        """Nothing is kept: the store knows."""
