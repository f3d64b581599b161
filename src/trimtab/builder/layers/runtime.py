"""The layer of Trimtab itself, as it is installed here (a wheel, or a checkout with its edits), and what it needs.

It also makes /opt/trimtab a virtual environment on the base's Python, so that what the base has installed can be imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

import trimtab
from trimtab.builder.abc import Content, Declared, Layer, Lock
from trimtab.builder.cache import Cache
from trimtab.builder.layers import places, pyc
from trimtab.builder.layers.code import fingerprint
from trimtab.builder.layers.compress import Compression
from trimtab.builder.layers.dependencies import placed_at
from trimtab.builder.layers.interpreter import Interpreter
from trimtab.builder.layers.layer import Entries, find_or_make
from trimtab.builder.layers.tar import Link, Script
from trimtab.builder.requirements import install
from trimtab.errors import BuildError

PACKAGE = Path(trimtab.__file__).parent
_SCRIPT = Script(f"#!{places.PYTHON}\nfrom trimtab.cli import main\n\nmain()\n".encode())
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([^'"]+)['"]""")
_ITSELF = re.compile(r"\s*trimtab\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?:[=<>!~;@].*)?", re.IGNORECASE)
_OPAQUE = ".wh..wh..opq"
"""Hides what the folder holds in the layers below: another Trimtab, where a base image brings one."""
_KEPT = ("METADATA", "entry_points.txt", "WHEEL")


class Own(Struct, frozen=True):
    """Trimtab as it is here: its files by their names in site-packages, and its requirements."""

    files: dict[str, Content]
    needs: tuple[str, ...]
    pins: tuple[str, ...]
    """The versions that are installed here, as constraints: what was tested together is what runs."""


def own() -> Own:
    """Read what is installed here. Errors: BuildError when Trimtab runs from a bare copy."""
    try:
        itself = distribution("trimtab")
    except PackageNotFoundError as exc:
        raise BuildError("images need an installed trimtab (pip install, or pip install -e), not a bare copy") from exc
    files: dict[str, Content] = {
        f"trimtab/{path.relative_to(PACKAGE).as_posix()}": path
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in _KEPT:
        text = itself.read_text(name)
        if text is not None:
            files[f"trimtab-{itself.version}.dist-info/{name}"] = text.encode()
    needs = _needs(itself)
    return Own(files=files, needs=tuple(needs), pins=tuple(sorted(_pins(needs))))


def without_itself(lines: Iterable[str]) -> list[str]:
    """Give requirements with what `trimtab[ml]` among them adds in its place: Trimtab itself is in the runtime layer."""
    others: list[str] = []
    for line in lines:
        match = _ITSELF.fullmatch(line)
        if match is None:
            others.append(line)
        else:
            extras = {name.strip().lower() for name in (match["extras"] or "").split(",")}
            others += _needs(distribution("trimtab"), extras)
    return list(dict.fromkeys(others))


def declared(mine: Own) -> Declared:
    """Give Trimtab's own requirements, held to the versions that are installed here."""
    return Declared(lines=list(mine.needs), constraints=list(mine.pins), where="trimtab itself")


def layer(
    mine: Own,
    lock: Lock,
    python: str,
    platform: str,
    home: str,
    interpreter: Interpreter | None,
    cache: Cache,
    compression: Compression,
) -> Layer:
    """Give the layer for a base whose Python is `home`, the absolute path of its executable.

    Errors: BuildError for what cannot be installed, StoreFull, StoreError.
    """
    files = [[name, *fingerprint(content)] for name, content in sorted(mine.files.items())]
    inputs = [files, lock.digest, python, platform, home, pyc.identity(interpreter)]
    with TemporaryDirectory(prefix="trimtab-") as scratch:
        folder, modules = Path(scratch, "site"), Path(scratch, "pyc")

        def entries() -> Entries:
            install(lock, python, platform, folder)
            modules.mkdir()
            ours: Entries = {f"{places.RUNTIME}/{name}": content for name, content in mine.files.items()}
            everything = {**placed_at(folder, places.RUNTIME), **ours}
            compiled = pyc.compiled(everything, interpreter, modules, checked=False)
            return {**compiled, places.RUNTIME_LOCK: lock.text.encode(), **_environment(python, home)}

        return find_or_make("runtime", inputs, cache, compression, entries)


def _environment(python: str, home: str) -> Entries:
    config = f"home = {home.rpartition('/')[0]}\ninclude-system-site-packages = true\nversion = {python}\n"
    names = ("python", "python3", f"python{python}")
    links: Entries = {f"{places.BIN}/{name}": Link(home) for name in names}
    return {
        **links,
        f"{places.ROOT}/{_OPAQUE}": b"",
        f"{places.BIN}/trimtab": _SCRIPT,
        f"{places.ROOT}/pyvenv.cfg": config.encode(),
        f"{places.site_packages(python)}/trimtab.pth": f"/{places.RUNTIME}\n".encode(),
    }


def _needs(itself: Distribution, extras: set[str] | None = None) -> list[str]:
    """Name what Trimtab requires always, or what some of its extras add."""
    lines = itself.requires or []
    if extras is None:
        return sorted(line for line in lines if not _EXTRA.search(line))
    found = [(line, extra[1]) for line in lines if (extra := _EXTRA.search(line))]
    return sorted(line.partition(";")[0].strip() for line, extra in found if extra in extras)


def _pins(needs: Iterable[str]) -> set[str]:
    """Name the versions of `needs`, and of what those need, that are installed here."""
    pins: dict[str, str] = {}
    waiting = [each[0] for need in needs if (each := _NAME.match(need))]
    while waiting:
        name = waiting.pop()
        if name in pins:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or Python than this one
        pins[name] = f"{name}=={found.version}"
        lines = [line for line in found.requires or [] if not _EXTRA.search(line)]
        waiting.extend(each[0] for line in lines if (each := _NAME.match(line)))
    return set(pins.values())
