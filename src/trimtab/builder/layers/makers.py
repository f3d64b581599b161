"""What makes the layers of one build, and the locks that two of them are made of."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec
from msgspec import Struct

from trimtab.builder.abc import Code, Declared, Layer, Lock
from trimtab.builder.cache import Cache
from trimtab.builder.image.base import Base
from trimtab.builder.layers import code, dependencies, runtime
from trimtab.builder.layers.compress import Compression
from trimtab.builder.layers.interpreter import Interpreter
from trimtab.builder.requirements import resolve
from trimtab.errors import BuildError


class Makers(Struct, dict=True):
    """`locks_folder` keeps locks, `compiler` is a Python of the target's version on this machine (None: there is none)."""

    cache: Cache
    locks_folder: Path
    compression: Compression
    compiler: Interpreter | None

    @cached_property
    def own(self) -> runtime.Own:
        """Trimtab as it is installed here."""
        return runtime.own()

    def locks(self, base: Base, declared: Declared) -> tuple[Lock, Lock]:
        """Lock what Trimtab needs, and what the function needs.

        The function's packages come first on sys.path, so its versions win; where it leaves a choice, those of the
        runtime are chosen, and need no second copy. Errors: BuildError.
        """
        own = self._resolve(runtime.declared(self.own), base)
        pins = [f"{package.name}=={package.version}" for package in own.packages]
        held = msgspec.structs.replace(declared, constraints=[*declared.constraints, *pins])
        try:
            lock = self._resolve(held, base)
        except BuildError:
            lock = self._resolve(declared, base)
            self._check_runtime(own, lock, base)
        return own, lock

    def _check_runtime(self, own: Lock, lock: Lock, base: Base) -> None:
        """Refuse versions that Trimtab itself does not run with."""
        names = {package.name for package in own.packages}
        shared = [f"{each.name}=={each.version}" for each in lock.packages if each.name in names]
        try:
            self._resolve(Declared(lines=[*self.own.needs, *shared], where="trimtab itself"), base)
        except BuildError as exc:
            raise BuildError(f"the requirements do not go with what trimtab itself requires: {exc}") from exc

    def _resolve(self, declared: Declared, base: Base) -> Lock:
        return resolve(declared, base.python.version, str(base.platform), cache=self.locks_folder)

    def code(self, source: Code) -> Layer:
        """Give the layer of the function's files."""
        return code.layer(source, self.compiler, self.cache, self.compression)

    def dependencies(self, base: Base, lock: Lock, own: Lock) -> Layer:
        """Give the layer of what the function requires, on top of a runtime layer made of `own`."""
        target = (base.python.version, str(base.platform))
        return dependencies.layer(lock, own.packages, *target, self.compiler, self.cache, self.compression)

    def runtime(self, base: Base, lock: Lock) -> Layer:
        """Give the layer of Trimtab."""
        target = (base.python.version, str(base.platform), base.python.path)
        return runtime.layer(self.own, lock, *target, self.compiler, self.cache, self.compression)
