"""What the command line's flags change in a function's description."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import click
from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace

from trimtab.spec import (
    CronTrigger,
    EnvVar,
    EventTrigger,
    Function,
    FunctionSpec,
    Model,
    Sink,
    StreamTrigger,
    Tracking,
    Trigger,
)
from trimtab.spec.explain import explain
from trimtab.spec.module import module_of
from trimtab.spec.scalars import as_label
from trimtab.spec.stream import is_stream_url


class Changes(Struct, frozen=True, kw_only=True):
    """The flags that were given; None and empty leave the document's own value alone."""

    name: str | None = None
    project: str | None = None
    kind: Literal["http", "serving", "job"] | None = None
    handler: str | None = None
    requirements: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    scale: dict[str, Any] = {}
    timeout: str | None = None
    backoff_limit: int | None = None
    cron: tuple[str, ...] = ()
    timezone: str | None = None
    on: tuple[str, ...] = ()
    filter: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()
    sink: str | None = None
    model: tuple[tuple[str, str], ...] = ()
    track: bool = False

    def apply(self, function: Function) -> Function:
        """Give the function with these changes: values replace, variables are set by name, triggers are added."""
        spec = function.spec
        spec = replace(
            spec,
            kind=self.kind or ("serving" if self.model else spec.kind),
            handler=self._handler(spec),
            build=replace(spec.build, requirements=[*spec.build.requirements, *self._requirements()]),
            env=self._env(spec.env),
            scale=replace(spec.scale, **self.scale),
            triggers=[*spec.triggers, *self._triggers(spec.triggers)],
            sink=_sink(self.sink) if self.sink else spec.sink,
            models=self.models(spec.models),
            job=spec.job if self.backoff_limit is None else replace(spec.job, backoff_limit=self.backoff_limit),
        )
        if self.timeout and spec.kind == "job":
            spec.job = replace(spec.job, active_deadline=self.timeout)
        elif self.timeout:
            spec.timeouts = replace(spec.timeouts, request=self.timeout)
        if self.track:
            spec.tracking = spec.tracking or Tracking()
            spec.sink = spec.sink or Sink(broker="default")
        before = function.metadata
        metadata = replace(before, name=self.name or before.name, project=self.project or before.project)
        return replace(function, metadata=metadata, spec=spec)

    def _handler(self, spec: FunctionSpec) -> str:
        if not self.handler:
            return spec.handler
        path = Path(spec.source.path or "")
        if ":" in self.handler or path.suffix not in {".py", ".ipynb"} or self.handler == module_of(path):
            return self.handler
        return f"{module_of(path)}:{self.handler}"

    def _requirements(self) -> Iterable[str]:
        for item in self.requirements:
            yield from _lines(Path(item)) if item.endswith(".txt") else [item]

    def _env(self, before: list[EnvVar]) -> list[EnvVar]:
        given = dict(self.env)
        kept = [variable for variable in before if variable.name not in given]
        return [*kept, *(EnvVar(name=name, value=value) for name, value in given.items())]

    def models(self, before: list[Model]) -> list[Model]:
        """Give the models with those of the flags, each in place of the one of its key."""
        given = [_model(key, path) for key, path in self.model]
        kept = [model for model in before if model.key not in {each.key for each in given}]
        return [*kept, *given]

    def _triggers(self, before: list[Trigger]) -> list[Trigger]:
        names = Names(trigger.name for trigger in before)
        zone = self.timezone or "UTC"
        crons = [CronTrigger(name=names.new("cron"), schedule=text, timezone=zone) for text in self.cron]
        ons = [_exact(text, names) for text in self.on]
        selects = [EventTrigger(name=names.new("filter"), filters=[{"cesql": text}]) for text in self.filter]
        streams = [StreamTrigger(name=names.new("stream"), url=text) for text in self.stream]
        return [*crons, *ons, *selects, *streams]


class Names:
    """Gives each trigger a name that no other has: `cron`, `cron-2` ..., the same ones for the same flags."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, base: str) -> str:
        """Take the first free name."""
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}-{count}"
        self._taken.add(name)
        return name


def _exact(text: str, names: Names) -> EventTrigger:
    if text == "*":
        return EventTrigger(name=names.new("on-all"))
    attributes: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            message = f"{text!r}: say ATTRIBUTE=VALUE, such as type=com.example.made, or '*' for every event"
            raise click.BadParameter(message, param_hint="--on")
        attributes[name.strip()] = value
    first = attributes.get("type") or next(iter(attributes.values()))
    return EventTrigger(name=names.new(as_label(f"on-{first}", limit=40)), filters=[{"exact": attributes}])


def _model(key: str, path: str) -> Model:
    document = {"key": key, "path": path if "://" in path else str(Path(path).absolute())}
    try:
        return convert(document, Model)
    except ValidationError as error:
        raise click.BadParameter(str(explain(document, Model, "model") or error), param_hint="--model") from error


def _sink(text: str) -> Sink:
    if is_stream_url(text):
        return Sink(stream=text)
    return Sink(uri=text) if re.match(r"https?://", text) else Sink(broker=text)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise click.BadParameter(f"{str(path)!r}: {error.strerror}", param_hint="--requirements") from error
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
