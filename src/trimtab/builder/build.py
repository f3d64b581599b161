"""From a function to an image where it belongs: read, resolve, make layers, put together, send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from trimtab.builder.abc import Built, Code, Declared, Layer, Package, Progress, Step
from trimtab.builder.cache import Cache, CorruptEntry
from trimtab.builder.destinations.abc import silent
from trimtab.builder.image import base as bases
from trimtab.builder.image.base import Base
from trimtab.builder.image.bundle import Bundle, bundle
from trimtab.builder.image.source import open_source
from trimtab.builder.layers import dependencies, interpreter, pyc, runtime
from trimtab.builder.layers.makers import Makers
from trimtab.builder.registry import parse
from trimtab.builder.request import BuildRequest, destination, named, platforms
from trimtab.builder.requirements.imports import missing
from trimtab.builder.requirements.python import check_python
from trimtab.builder.source import applied, read_function
from trimtab.config import settings
from trimtab.errors import SpecError
from trimtab.spec import Function, check

_TRIES = 3


def build(request: BuildRequest, progress: Progress = silent) -> Built:
    """Build an image and send it where `request` says; the same input gives the same digest.

    A damaged cache entry is noticed before its bytes are used, and made again. Errors: SpecError for the description,
    BuildError for what no image can be made of, RegistryError, StoreFull; whatever happens, no name is given to an image
    that is not whole.
    """
    notes: list[str] = []
    for left in reversed(range(_TRIES)):
        try:
            return _Build(request, progress, notes).run()
        except CorruptEntry as exc:
            if not left:
                raise
            notes.append(str(exc).replace("build again", "and made again"))
    raise AssertionError("unreachable")


def imaged(function: Function, progress: Progress = silent) -> tuple[Function, Built | None]:
    """Give `function` with an image to run, for targets that run nothing else: its own, or one that is built and pushed.

    What is built goes below `TRIMTAB_REGISTRY`, and is named by digest. Errors: as `build`.
    """
    if function.spec.build.image:
        return function, None
    built = build(BuildRequest(function=function), progress)
    spec = msgspec.structs.replace(
        function.spec, build=msgspec.structs.replace(function.spec.build, image=built.reference)
    )
    return msgspec.structs.replace(function, spec=spec), built


class _Build:
    """One try."""

    def __init__(self, request: BuildRequest, progress: Progress, notes: list[str]) -> None:
        self.here = here = settings()
        self.request, self.show, self.notes = request, progress, list(notes)
        self.steps: list[Step] = []
        self.name = named(request, here.registry)
        self.destination = destination(request, self.name)
        self.cache = Cache(here.home / "cache", here.cache_size * 2**20)
        self.locks = here.home / "cache" / "locks"

    def run(self) -> Built:
        function, code = self._read()
        found = self._bases(function, code.requirements)
        python = found[0].python.version
        compiler = interpreter.find(python)
        if compiler is None:
            self.notes.append(pyc.missing_note(python))
        layers, packages = [], []
        makers = Makers(self.cache, self.locks, self.request.compression, compiler)
        own_code = self._timed_layer("code", "", lambda: makers.code(code))
        for base in found:
            own, inside = self._layers(makers, base, _declared(function, code))
            layers.append([*own, own_code])
            packages.append(inside)
        self._propose(code, packages[0])
        whole = bundle(function, code, found, layers, packages)
        uploaded = self._send(whole)
        self.cache.trim()
        return self._built(code, whole, found, uploaded)

    def _read(self) -> tuple[Function, Code]:
        with self._timed("source") as step:
            function = check(self.request.function)
            code = read_function(function)
            function, said = applied(function, code)
            step.detail = f"{len(code.files)} files"
        self.notes += [*code.notes, *code.undefined, *said]
        if function.spec.build.commands:
            raise SpecError(
                "spec.build.commands",
                function.spec.build.commands,
                "nothing: an image is built without running anything of it",
                hint="Put what they install into a base image (spec.build.baseImage), or make them requirements",
            )
        return function, code

    def _bases(self, function: Function, declared: Declared) -> list[Base]:
        wanted = function.spec.build
        image = wanted.base_image or self.here.base_image
        python = wanted.python or (None if image else bases.running())
        image = image or bases.default_image(wanted.python)
        with self._timed("base") as step:
            source = open_source(image, self.cache, insecure=self.request.insecure)
            found = bases.read(source, platforms(self.request, self.destination), python, self.cache)
            step.detail = f"{found[0].name}, Python {found[0].python.version}"
        self.notes += bases.notes(source)
        check_python(declared, found[0].python.version)
        return found

    def _layers(self, makers: Makers, base: Base, declared: Declared) -> tuple[list[Layer], list[Package]]:
        platform = str(base.platform)
        with self._timed("lock", platform) as step:
            own, lock = makers.locks(base, declared)
            step.detail = f"{len(lock.packages)} packages"
        layers = [self._timed_layer("runtime", platform, lambda: makers.runtime(base, own))]
        if lock.packages:
            layers.append(self._timed_layer("dependencies", platform, lambda: makers.dependencies(base, lock, own)))
        return layers, [*own.packages, *dependencies.beyond(lock, own.packages).packages]

    def _propose(self, code: Code, packages: list[Package]) -> None:
        """Say what is imported and required nowhere; the base image may bring it, so it is no error."""
        provided = {"trimtab", *(package.name for package in packages)}
        for each in missing(code.files, code.handler, provided):
            if not each.optional:
                self.notes.append(f"{each}, unless the base image brings it")

    def _send(self, whole: Bundle) -> int:
        with self._timed("send") as step:
            if self.request.dry_run:
                missing = self.destination.missing(whole)
                step.total = sum(blob.size for blob in missing)
                step.detail = f"{len(missing)} blobs would be sent" if missing else "everything is there already"
                return step.total
            step.done = step.total = self.destination.send(whole, self.cache, self.show)
            step.detail = "sent" if step.done else "everything was there already"
        return step.done

    def _built(self, code: Code, whole: Bundle, found: list[Base], uploaded: int) -> Built:
        name = parse(self.name)
        base = found[0]
        at = base.source.reference.at(base.digest) if base.source.reference else f"{base.name}@{base.digest}"
        return Built(
            image=str(name),
            digest=whole.root.digest,
            reference=str(name.at(whole.root.digest)),
            base=str(at),
            python=base.python.version,
            platforms=[made.summary for made in whole.images],
            commit=code.revision or "",
            uploaded=uploaded,
            dry_run=self.request.dry_run,
            steps=self.steps,
            notes=list(dict.fromkeys(self.notes)),
        )

    def _timed_layer(self, name: str, platform: str, make: Callable[[], Layer]) -> Layer:
        with self._timed(name, platform) as step:
            layer = make()
            step.done = step.total = layer.size
            step.detail = "cached" if layer.cached else "made"
        return layer

    @contextmanager
    def _timed(self, name: str, platform: str = "") -> Iterator[Step]:
        step, started = Step(name=name, platform=platform), time.monotonic()
        self.show(step)
        yield step
        step.ms = (time.monotonic() - started) * 1000
        self.steps.append(step)
        self.show(step)


def _declared(function: Function, code: Code) -> Declared:
    """Give what the description and the source require together."""
    lines = runtime.without_itself([*function.spec.build.requirements, *code.requirements.lines])
    return msgspec.structs.replace(code.requirements, lines=lines)
