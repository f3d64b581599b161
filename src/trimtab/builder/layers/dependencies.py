"""The layer of what the function requires: wheels of the target's platform, with the lock that they were chosen by."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from trimtab.builder.abc import Layer, Lock, Package
from trimtab.builder.cache import Cache
from trimtab.builder.layers import places, pyc
from trimtab.builder.layers.compress import Compression
from trimtab.builder.layers.interpreter import Interpreter
from trimtab.builder.layers.layer import Entries, find_or_make
from trimtab.builder.requirements import install

_BLOCK = re.compile(r"(?m)^(?=\S)")
_NAME = re.compile(r"[\w.-]+")


def layer(
    lock: Lock,
    present: tuple[Package, ...],
    python: str,
    platform: str,
    interpreter: Interpreter | None,
    cache: Cache,
    compression: Compression,
) -> Layer:
    """Give the layer of `lock`: the whole of its text, and the packages of it that the runtime layer does not have.

    `present` is what that layer has. Errors: BuildError for what cannot be installed, StoreFull, StoreError.
    """
    needed = beyond(lock, present)
    inputs = [lock.digest, needed.digest, python, platform, pyc.identity(interpreter)]
    with TemporaryDirectory(prefix="trimtab-") as scratch:
        folder, modules = Path(scratch, "site"), Path(scratch, "pyc")

        def entries() -> Entries:
            install(needed, python, platform, folder)
            modules.mkdir()
            placed = placed_at(folder, places.site_packages(python))
            found = pyc.compiled(placed, interpreter, modules, checked=False)
            return {**found, places.LOCK: lock.text.encode()}

        return find_or_make("dependencies", inputs, cache, compression, entries)


def placed_at(folder: Path, place: str) -> Entries:
    """Give what uv installed into `folder`: scripts go to the environment's own `bin`, everything else to `place`."""
    entries: Entries = {}
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix()
            script = name.startswith("bin/")
            entries[f"{places.BIN}/{name.removeprefix('bin/')}" if script else f"{place}/{name}"] = path
    return entries


def beyond(lock: Lock, present: tuple[Package, ...]) -> Lock:
    """Give `lock` without what is `present` in the same version, in the runtime layer below."""
    there = {(package.name, package.version) for package in present}
    packages = tuple(each for each in lock.packages if (each.name, each.version) not in there)
    wanted = {package.name for package in packages}
    blocks = [block for block in _BLOCK.split(lock.text) if (name := _NAME.match(block)) and name[0] in wanted]
    text = "".join(blocks)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return msgspec.structs.replace(lock, text=text, packages=packages, digest=digest)
