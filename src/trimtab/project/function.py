"""Functions as objects: what `code_to_function` and its like give, with the names that MLRun's users know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import Conflict, SpecError
from trimtab.project import call, triggers
from trimtab.project.code import check_file, qualified
from trimtab.project.mounts import Modifier
from trimtab.project.view import SpecView
from trimtab.spec import (
    Build,
    EnvSource,
    EnvVar,
    Function,
    FunctionSpec,
    KeyRef,
    Metadata,
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
    from trimtab.deploy.abc import Target
    from trimtab.project.mock import MockServer
    from trimtab.project.run import Run

_KINDS = ("nuclio", "remote", "http", "serving", "job")


def code_to_function(
    name: str = "",
    project: str = "",
    *,
    filename: str | Path = "",
    handler: str = "",
    kind: str = "nuclio",
    image: str | None = None,
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    requirements_file: str = "",
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function of a Python file or a folder; by default one that is called over HTTP.

    `name` defaults to the file's, `handler` is a name in the file or `module:name`, `image` what the built image sits
    on. Errors: SpecError.
    """
    path = check_file(filename)
    spec = FunctionSpec(
        kind=_kind(kind),
        description=description,
        handler=qualified(handler, path),
        source=Source(path=str(path)),
        build=Build(base_image=image or None),
    )
    return _handle(spec, name or as_label(path.resolve().stem), project, labels, requirements, requirements_file)


def new_function(
    name: str = "",
    project: str = "",
    *,
    kind: str = "nuclio",
    image: str | None = None,
    command: str = "",
    handler: str = "",
    description: str = "",
    requirements: Iterable[str] | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> FunctionHandle:
    """Make a function to be filled in: of `command` (a Python file), of an `image` that holds it, or of nothing yet.

    Errors: SpecError.
    """
    if command:
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

    # Where it runs

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
        made = call.request(path, body, method, headers)
        return call.send(self._address(), made, timeout).check(self.metadata.name).value

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
            path = function.spec.source.path
            function.spec.handler = qualified(handler, Path(path) if path else None)
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
