"""Functions as objects: what `code_to_function` and its like give, with the names that MLRun's users know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab.errors import Conflict, SpecError, TrimtabError
from trimtab.project import call, serving, triggers
from trimtab.project.code import qualified, source_of
from trimtab.project.mounts import Modifier
from trimtab.project.notebook import current
from trimtab.project.view import SpecView
from trimtab.spec import (
    Build,
    EnvSource,
    EnvVar,
    Function,
    FunctionSpec,
    KeyRef,
    Metadata,
    MicroBatch,
    Sink,
    Source,
    check,
    dump,
    load,
    to_dict,
)
from trimtab.spec.load import ALIASES
from trimtab.spec.quantity import Amount
from trimtab.spec.scalars import as_label

if TYPE_CHECKING:
    from trimtab.builder.abc import Built
    from trimtab.builder.verify import Verified
    from trimtab.deploy.abc import Target
    from trimtab.project.mock import MockServer
    from trimtab.project.run import Run

_KINDS = ("nuclio", "remote", "http", "serving", "job")


def code_to_function(
    name: str = "",
    project: str = "",
    *,
    filename: str | Path = "",
    handler: str | Callable[..., Any] = "",
    kind: str = "nuclio",
    image: str | None = None,
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    requirements_file: str = "",
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function of a Python file, a notebook, a folder or a git reference; by default one called over HTTP.

    Without `filename` it is the notebook that this is called in, as it was saved.
    `name` defaults to the file's, `handler` is a name in the file or `module:name`, `image` what the built image sits
    on. A `handler` that is a function itself, of this session or notebook, needs no file: it is pickled, with what it
    uses and with the versions of its libraries. Errors: SpecError.
    """
    build = Build(base_image=image or None)
    if not isinstance(handler, str):
        if filename:
            raise SpecError(
                "handler", handler, "the name of a function in `filename`, or a function without `filename`"
            )
        spec, own = _packed(handler, build), as_label(getattr(handler, "__name__", "function"))
    else:
        source = source_of(filename or current() or "")
        spec = FunctionSpec(handler=qualified(handler, source), source=source, build=build)
        own = as_label(_stem(source))
    spec.kind, spec.description = _kind(kind), description
    return _handle(spec, name or own, project, labels, requirements, requirements_file)


def _packed(function: Callable[..., Any], build: Build) -> FunctionSpec:
    """Describe a function of this session: the text of a module that unpickles it, for this very Python."""
    from trimtab.builder.source.callable import pack

    packed = pack(function)
    build.python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return FunctionSpec(handler=packed.handler, source=Source(code=packed.text), build=build)


def _stem(source: Source) -> str:
    if source.path is not None:
        return Path(source.path).resolve().stem
    from trimtab.builder.source.git import parse

    found = parse(str(source.git))
    return Path(found.folder or found.url.rstrip("/").removesuffix(".git")).stem


def new_function(
    name: str = "",
    project: str = "",
    *,
    kind: str = "nuclio",
    image: str | None = None,
    command: str = "",
    handler: str | Callable[..., Any] = "",
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function to be filled in: of `command` (a Python file or notebook), of a `handler` that is a function of
    this session, of an `image` that holds it, or of nothing yet.

    Errors: SpecError.
    """
    if command or not isinstance(handler, str):
        return code_to_function(
            name,
            project,
            filename=command,
            handler=handler,
            kind=kind,
            image=image,
            description=description,
            requirements=requirements,
            labels=labels,
        )
    spec = FunctionSpec(kind=_kind(kind), description=description, handler=handler, build=Build(image=image or None))
    return _handle(spec, name, project, labels, requirements, "")


def import_function(path: str | Path) -> FunctionHandle:
    """Read a function from a document: ours, Nuclio's function.yaml, or what MLRun exported.

    What a foreign document says and cannot be carried over is warned of. Errors: SpecError.
    """
    if "://" in str(path):
        raise SpecError("path", str(path), "the path of a function.yaml or .json", hint="Download it first")
    return FunctionHandle(load(path))


def _kind(kind: str) -> Any:
    if kind not in _KINDS:
        raise SpecError("kind", kind, ", ".join(map(repr, _KINDS)))
    return ALIASES.get(kind, kind)


def _handle(
    spec: FunctionSpec,
    name: str,
    project: str,
    labels: Mapping[str, str] | None,
    requirements: Iterable[str] | str | None,
    requirements_file: str,
) -> FunctionHandle:
    metadata = Metadata(name=name, project=project or "default", labels=dict(labels or {}))
    function = FunctionHandle(Function(metadata=metadata, spec=spec))
    if requirements or requirements_file:
        function.with_requirements(requirements or [], requirements_file=requirements_file)
    return function


class FunctionHandle:
    """A function that is being described, and then deployed. `function` is the description itself.

    Methods that begin with `with_`, `set_`, `add_` or are called `apply` change it and give it back.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self._target: Target | None = None
        self._url = ""

    def __repr__(self) -> str:
        return (
            f"FunctionHandle(name={self.metadata.name!r}, kind={self.kind!r}, handler={self.function.spec.handler!r})"
        )

    # What it is

    @property
    def metadata(self) -> Metadata:
        """Name, namespace, project, labels, annotations."""
        return self.function.metadata

    @property
    def spec(self) -> SpecView:
        """The spec under our names and MLRun's (`min_replicas`, `max_replicas`, `replicas`, `image` ...)."""
        return SpecView(self.function.spec)

    @property
    def kind(self) -> str:
        """`http`, `serving` or `job`."""
        return self.function.spec.kind

    def to_dict(self) -> dict[str, Any]:
        """Give the document as plain data."""
        return to_dict(self.function)

    def to_yaml(self) -> str:
        """Give the document as YAML."""
        return dump(self.function)

    def to_json(self) -> str:
        """Give the document as JSON."""
        return dump(self.function, "json")

    def export(self, path: str | Path | None = None) -> str:
        """Give the document, as JSON where `path` ends in .json and as YAML elsewhere; write it there, if told where.

        Errors: SpecError: what is exported can be deployed.
        """
        json = path is not None and Path(path).suffix == ".json"
        text = dump(check(self.function), "json" if json else "yaml")
        if path is not None:
            Path(path).write_text(text, "utf-8")
        return text

    # Resources and scheduling

    def with_requests(
        self, mem: Amount | None = None, cpu: Amount | None = None, *, patch: bool = False
    ) -> FunctionHandle:
        """Set what a replica is sure to get; earlier requests are forgotten unless `patch` is set."""
        resources = self.function.spec.resources
        resources.requests = {**(resources.requests if patch else {}), **_amounts(memory=mem, cpu=cpu)}
        return self

    def with_limits(
        self,
        mem: Amount | None = None,
        cpu: Amount | None = None,
        gpus: int | None = None,
        gpu_type: str = "nvidia.com/gpu",
        *,
        patch: bool = False,
    ) -> FunctionHandle:
        """Set what a replica never exceeds; earlier limits are forgotten unless `patch` is set."""
        resources = self.function.spec.resources
        limits = _amounts(memory=mem, cpu=cpu, **{gpu_type: gpus})
        resources.limits = {**(resources.limits if patch else {}), **limits}
        return self

    def with_priority_class(self, name: str) -> FunctionHandle:
        """Set the PriorityClass of the replicas."""
        self.function.spec.scheduling.priority_class = name
        return self

    def with_node_selection(
        self,
        node_selector: Mapping[str, str] | None = None,
        affinity: Mapping[str, Any] | None = None,
        tolerations: Iterable[Mapping[str, Any]] | None = None,
    ) -> FunctionHandle:
        """Set which nodes may run the replicas; what is not given stays as it is."""
        scheduling = self.function.spec.scheduling
        if node_selector is not None:
            scheduling.node_selector = dict(node_selector)
        if affinity is not None:
            scheduling.affinity = dict(affinity)
        if tolerations is not None:
            scheduling.tolerations = [dict(each) for each in tolerations]
        return self

    def with_http(self, workers: int = 8, gateway_timeout: Amount | None = None) -> FunctionHandle:
        """Set how many processes a replica has, each working on one request at a time, and a request's time."""
        spec = self.function.spec
        spec.scale.workers = spec.scale.concurrency = workers
        if gateway_timeout is not None:
            spec.timeouts.request = gateway_timeout
        return self

    # Code around the code

    def with_requirements(
        self, requirements: Iterable[str] | str = (), *, overwrite: bool = False, requirements_file: str | Path = ""
    ) -> FunctionHandle:
        """Add Python requirements: a list, or the path of a requirements file. Errors: SpecError (no such file)."""
        build = self.function.spec.build
        given = _requirements(requirements) if isinstance(requirements, str) else list(requirements)
        given += _requirements(requirements_file) if requirements_file else []
        build.requirements = _added([] if overwrite else build.requirements, given)
        return self

    def with_commands(self, commands: Iterable[str], *, overwrite: bool = False) -> FunctionHandle:
        """Add shell commands that are run while the image is built."""
        build = self.function.spec.build
        build.commands = _added([] if overwrite else build.commands, commands)
        return self

    def set_env(self, name: str, value: Any = "") -> FunctionHandle:
        """Set an environment variable, in place of the one of that name."""
        return self._set(EnvVar(name=name, value=str(value)))

    def set_envs(self, env_vars: Mapping[str, Any]) -> FunctionHandle:
        """Set environment variables."""
        for name, value in env_vars.items():
            self.set_env(name, value)
        return self

    def set_env_from_secret(self, name: str, secret: str, secret_key: str = "") -> FunctionHandle:
        """Set an environment variable to a key (by default: of its own name) of a Secret."""
        reference = KeyRef(name=secret, key=secret_key or name)
        return self._set(EnvVar(name=name, value_from=EnvSource(secret_key_ref=reference)))

    def _set(self, variable: EnvVar) -> FunctionHandle:
        spec = self.function.spec
        spec.env = [*(each for each in spec.env if each.name != variable.name), variable]
        return self

    def apply(self, modifier: Modifier) -> FunctionHandle:
        """Apply a change, such as `trimtab.mount_pvc(...)`."""
        modifier(self)
        return self

    def add_trigger(self, name: str, spec: Any) -> FunctionHandle:
        """Add a trigger: `CronTrigger`, `EventTrigger`, `StreamTrigger`, a mapping with `kind`, or one of Nuclio's. Errors: SpecError."""
        triggers.add(self.function.spec, name, spec)
        return self

    # Models

    def add_model(
        self,
        key: str,
        model_path: str | Path | None = None,
        class_name: Any = None,
        *,
        sha256: str | None = None,
        batch: MicroBatch | Mapping[str, Any] | None = None,
        **params: Any,
    ) -> FunctionHandle:
        """Add a model to a function of kind serving, or replace the one of that key; `key` may have `:VERSION` behind it.

        `model_path` is a store:// URI (or a logged model itself), a path or an https URL; `class_name` a subclass of
        ModelServer in the function's code, or its name, or nothing for the built-in class; `params` are its parameters.
        Errors: SpecError.
        """
        serving.add(self.function.spec, serving.model(key, model_path, class_name, sha256, batch, params))
        return self

    def remove_model(self, key: str) -> FunctionHandle:
        """Take a model out again. Errors: SpecError, naming those that are there."""
        serving.remove(self.function.spec, key)
        return self

    def set_tracking(
        self,
        sink: Sink | str | None = None,
        sample: float | None = None,
        batch: int | None = None,
        *,
        age: str | float | None = None,
        stream_path: str | None = None,
        enable_tracking: bool = True,
    ) -> FunctionHandle:
        """Record what models are asked and answer, as events to a sink: a broker's name, or a URL.

        Without a sink the records go to the function's own, or to the broker `default`. `sample` is the share of requests
        (a number above 1 is MLRun's: one of so many), `batch` the rows of an event, `age` how long they wait for others.
        `stream_path` is MLRun's name of `sink`. Errors: SpecError.
        """
        serving.track(self.function.spec, sink or stream_path, sample, batch, age, on=enable_tracking)
        return self

    def set_retraining(self, function: FunctionHandle | str, **rule: Any) -> FunctionHandle:
        """Say which job trains anew when a model drifts, and how its model is compared and rolled out.

        `rule` are the fields of `spec.retrain` (on, confirm, cooldown, mode, data, comparison, rollout ...), mappings for
        the last two. The job gets the event `dev.trimtab.retrain`: give it that trigger, or have it done here by giving
        the job itself. Errors: SpecError.
        """
        serving.retrain(self.function.spec, function, rule)
        return self

    def load_model(
        self, key: str, model_path: str | Path | None = None, class_name: Any = None, **options: Any
    ) -> FunctionHandle:
        """Add a model to the function that runs, without deploying it again; block until it is served.

        Options are those of `add_model`. The next deployment begins with what `add_model` said. Errors: SpecError,
        DeployFailed (the model cannot be loaded, and nothing changed), NotFound.
        """
        from trimtab.project import live

        before = self.function.spec.models
        self.add_model(key, model_path, class_name, **options)
        try:
            live.change(self._where(), self.metadata.name, key, self.function.spec.models[-1])
        except TrimtabError:
            self.function.spec.models = before
            raise
        return self

    def unload_model(self, key: str) -> FunctionHandle:
        """Take a model away from the function that runs; block until it is gone. Errors: NotFound."""
        from trimtab.project import live

        live.change(self._where(), self.metadata.name, key, None)
        self.function.spec.models = [each for each in self.function.spec.models if each.key != key]
        return self

    # Where it runs

    def build(
        self,
        image: str = "",
        *,
        platforms: Iterable[str] = (),
        layout: str | Path | None = None,
        archive: str | Path | None = None,
        load: Literal["podman", "docker", "containerd", "kind"] | None = None,
        dry_run: bool = False,
        watch: bool = True,
    ) -> Built:
        """Make a container image and push it, or put it into a `layout` (folder), an `archive` (file) or an engine.

        Without `image` it is the function's name below TRIMTAB_REGISTRY. Steps are shown on stderr unless `watch` is
        False. Errors: SpecError, BuildError (RegistryError among them), StoreFull.
        """
        from trimtab.builder.build import build
        from trimtab.builder.request import BuildRequest
        from trimtab.project import show

        function = check(self.function)
        if platforms:
            function.spec.build.platforms = list(platforms)
        request = BuildRequest(
            function=function,
            image=image,
            layout=Path(layout) if layout else None,
            archive=Path(archive) if archive else None,
            load=load,
            dry_run=dry_run,
        )
        return build(request, show.step) if watch else build(request)

    def verify(self, body: Any = None, *, path: str = "/", params: Mapping[str, Any] | None = None) -> Verified:
        """Import the handler in a clean process of this machine and call it once, with `body` as JSON (a job: `params`).

        Errors: NotVerified, with the handler's traceback, and with names that only the notebook's memory has.
        """
        from trimtab.builder.verify import Sample
        from trimtab.project.verify import verified

        sample = Sample(body={} if body is None else body, path=path, parameters=dict(params or {}))
        return verified(check(self.function), sample)

    def deploy(self, target: Target | str | None = None, *, force: bool = False, watch: bool = True) -> str:
        """Deploy, and block until it is ready; give the URL, which ends in '/' (a job has none: '').

        Stages are shown on stderr unless `watch` is False. An unchanged function is left as it is unless `force`.
        Errors: SpecError, DeployFailed, TargetUnreachable.
        """
        from trimtab.project import show
        from trimtab.project.target import find

        self._target = find(target)
        deployment = self._target.deploy(check(self.function), force=force, progress=show.stage if watch else None)
        if watch:
            show.deployment(deployment)
        self._url = f"{deployment.url.rstrip('/')}/" if deployment.url else ""
        return self._url

    def invoke(
        self,
        path: str = "/",
        body: Any = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call the deployed function; give the body, JSON as objects and everything else as bytes.

        Without a method: GET without a body, POST with one. Objects and text that is JSON are sent as JSON. Errors:
        InvocationFailed (with `status` and `body`), NotFound, TargetUnreachable.
        """
        address, more = self._where().reach(self._address())
        made = call.request(path, body, method, {**more, **(headers or {})})
        return call.send(address, made, timeout).check(self.metadata.name).value

    def run(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        handler: str = "",
        artifact_path: str | None = None,
        local: bool = False,
        watch: bool = True,
        target: Target | str | None = None,
    ) -> Run:
        """Run the job once. With `watch`, block, and show its log on stderr; `local` runs it in this process.

        `handler` names another function of the same code. Errors: SpecError, RunFailed (with `run`) when it does not
        succeed while it is watched, Conflict for what is no job.
        """
        from trimtab.project import show
        from trimtab.project.run import Run, run_here
        from trimtab.project.target import find

        if self.kind != "job":
            raise Conflict(
                f"{self.metadata.name!r} is of kind {self.kind!r}: only jobs are run, `invoke` calls the others"
            )
        function = check(self.function)
        if handler:
            function.spec.handler = qualified(handler, function.spec.source)
        parameters, files = dict(params or {}), {name: str(path) for name, path in (inputs or {}).items()}
        if local:
            return run_here(function, parameters, files, artifact_path)
        place = find(target or self._target)
        info = place.run(
            function, parameters, inputs=files or None, artifact_path=artifact_path, wait=watch, on_log=show.line
        )
        run = Run(info, lambda: next(each for each in place.runs(function.metadata.name) if each.id == info.id))
        return run.check() if watch else run

    def to_mock_server(self) -> MockServer:
        """Start the function in this process, for tests: `server.test(path, body)`. Errors: SpecError, HandlerError."""
        from trimtab.project.mock import MockServer

        if self.kind == "job":
            raise Conflict(f"{self.metadata.name!r} is a job: `run(local=True)` runs it in this process")
        return MockServer(check(self.function))

    def delete(self) -> None:
        """Remove it from where it runs. Errors: NotFound, TargetUnreachable."""
        from trimtab.project.target import find

        find(self._target).delete(self.metadata.name)
        self._url = ""

    def _where(self) -> Target:
        from trimtab.project.target import find

        return find(self._target)

    def _address(self) -> str:
        from trimtab.project.target import find

        if not self._url:
            self._url = find(self._target).get(self.metadata.name).url
        if not self._url:
            raise Conflict(f"{self.metadata.name!r} is of kind {self.kind!r} and has no URL: `run` runs it")
        return self._url


def _amounts(**amounts: Amount | None) -> dict[str, Amount]:
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _added(before: list[str], given: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*before, *given]))


def _requirements(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise SpecError(
            "requirements", str(path), "a list, or the path of a requirements file that is there"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
