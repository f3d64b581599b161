"""A function's description as an object, with the names that MLRun's users know for what may be said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from trimtab.errors import SpecError
from trimtab.project import serving, triggers
from trimtab.project.mounts import Modifier
from trimtab.project.view import SpecView
from trimtab.spec import EnvSource, EnvVar, Function, KeyRef, Metadata, MicroBatch, Sink, check, dump, to_dict
from trimtab.spec.quantity import Amount


class Description:
    """A function that is being described. `function` is the description itself.

    Methods that begin with `with_`, `set_`, `add_` or are called `apply` change it and give it back.
    """

    def __init__(self, function: Function) -> None:
        self.function = function

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.metadata.name!r}, kind={self.kind!r}, handler={self.function.spec.handler!r})"

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

    def with_requests(self, mem: Amount | None = None, cpu: Amount | None = None, *, patch: bool = False) -> Self:
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
    ) -> Self:
        """Set what a replica never exceeds; earlier limits are forgotten unless `patch` is set."""
        resources = self.function.spec.resources
        limits = _amounts(memory=mem, cpu=cpu, **{gpu_type: gpus})
        resources.limits = {**(resources.limits if patch else {}), **limits}
        return self

    def with_priority_class(self, name: str) -> Self:
        """Set the PriorityClass of the replicas."""
        self.function.spec.scheduling.priority_class = name
        return self

    def with_node_selection(
        self,
        node_selector: Mapping[str, str] | None = None,
        affinity: Mapping[str, Any] | None = None,
        tolerations: Iterable[Mapping[str, Any]] | None = None,
    ) -> Self:
        """Set which nodes may run the replicas; what is not given stays as it is."""
        scheduling = self.function.spec.scheduling
        if node_selector is not None:
            scheduling.node_selector = dict(node_selector)
        if affinity is not None:
            scheduling.affinity = dict(affinity)
        if tolerations is not None:
            scheduling.tolerations = [dict(each) for each in tolerations]
        return self

    def with_http(self, workers: int = 8, gateway_timeout: Amount | None = None) -> Self:
        """Set how many processes a replica has, each working on one request at a time, and a request's time."""
        spec = self.function.spec
        spec.scale.workers = spec.scale.concurrency = workers
        if gateway_timeout is not None:
            spec.timeouts.request = gateway_timeout
        return self

    # Code around the code

    def with_requirements(
        self, requirements: Iterable[str] | str = (), *, overwrite: bool = False, requirements_file: str | Path = ""
    ) -> Self:
        """Add Python requirements: a list, or the path of a requirements file. Errors: SpecError (no such file)."""
        build = self.function.spec.build
        given = _requirements(requirements) if isinstance(requirements, str) else list(requirements)
        given += _requirements(requirements_file) if requirements_file else []
        build.requirements = _added([] if overwrite else build.requirements, given)
        return self

    def with_commands(self, commands: Iterable[str], *, overwrite: bool = False) -> Self:
        """Add shell commands that are run while the image is built."""
        build = self.function.spec.build
        build.commands = _added([] if overwrite else build.commands, commands)
        return self

    def set_env(self, name: str, value: Any = "") -> Self:
        """Set an environment variable, in place of the one of that name."""
        return self._set(EnvVar(name=name, value=str(value)))

    def set_envs(self, env_vars: Mapping[str, Any]) -> Self:
        """Set environment variables."""
        for name, value in env_vars.items():
            self.set_env(name, value)
        return self

    def set_env_from_secret(self, name: str, secret: str, secret_key: str = "") -> Self:
        """Set an environment variable to a key (by default: of its own name) of a Secret."""
        reference = KeyRef(name=secret, key=secret_key or name)
        return self._set(EnvVar(name=name, value_from=EnvSource(secret_key_ref=reference)))

    def _set(self, variable: EnvVar) -> Self:
        spec = self.function.spec
        spec.env = [*(each for each in spec.env if each.name != variable.name), variable]
        return self

    def apply(self, modifier: Modifier) -> Self:
        """Apply a change, such as `trimtab.mount_pvc(...)`."""
        modifier(self)
        return self

    def add_trigger(self, name: str, spec: Any) -> Self:
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
    ) -> Self:
        """Add a model to a function of kind serving, or replace the one of that key; `key` may have `:VERSION` behind it.

        `model_path` is a store:// URI (or a logged model itself), a path or an https URL; `class_name` a subclass of
        ModelServer in the function's code, or its name, or nothing for the built-in class; `params` are its parameters.
        Errors: SpecError.
        """
        serving.add(self.function.spec, serving.model(key, model_path, class_name, sha256, batch, params))
        return self

    def remove_model(self, key: str) -> Self:
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
    ) -> Self:
        """Record what models are asked and answer, as events to a sink: a broker's name, or a URL.

        Without a sink the records go to the function's own, or to the broker `default`. `sample` is the share of requests
        (a number above 1 is MLRun's: one of so many), `batch` the rows of an event, `age` how long they wait for others.
        `stream_path` is MLRun's name of `sink`. Errors: SpecError.
        """
        serving.track(self.function.spec, sink or stream_path, sample, batch, age, on=enable_tracking)
        return self

    def set_retraining(self, function: Description | str, **rule: Any) -> Self:
        """Say which job trains anew when a model drifts, and how its model is compared and rolled out.

        `rule` are the fields of `spec.retrain` (on, confirm, cooldown, mode, data, comparison, rollout ...), mappings for
        the last two. The job gets the event `dev.trimtab.retrain`: give it that trigger, or have it done here by giving
        the job itself. Errors: SpecError.
        """
        serving.retrain(self.function.spec, function, rule)
        return self


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
