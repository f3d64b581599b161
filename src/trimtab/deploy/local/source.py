"""A function's code: read once at deploy, named by its digest, kept as the revision's own immutable copy."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from trimtab.builder.abc import Code, Content, Declared, is_executable
from trimtab.builder.requirements.imports import GUESS, propose
from trimtab.builder.requirements.python import check_python
from trimtab.builder.source import applied, read_function
from trimtab.errors import SpecError
from trimtab.spec import Function, Source, check

_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)'")
_CONSTRAINTS = ".trimtab-constraints.txt"
LARGEST = 500 * 2**20
"""Bytes of a folder that are copied per revision; more is surely data, and belongs on a volume."""


class Snapshot:
    """The files of one source: (name inside the revision, path on disk or the bytes themselves)."""

    def __init__(self, files: Mapping[str, Content]) -> None:
        self.files = dict(sorted(files.items()))

    def digest(self) -> str:
        """Give the SHA-256 over names, executable bits and contents."""
        total = hashlib.sha256()
        for name, content in self.files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            total.update(f"{name}\0{is_executable(content)}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
            total.update(data)
        return total.hexdigest()

    def write(self, folder: Path) -> None:
        """Write the files below `folder`, which appears complete or not at all."""
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        for name, content in self.files.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
                target.chmod(0o755 if is_executable(content) else 0o644)
        temporary.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def read(function: Function, copies: Path) -> tuple[Function, Code, list[str]]:
    """Read a function's source; give the function with what its code says of itself, the code, and notes on it.

    Below `copies` lie revisions' copies: they are taken as they are. Errors: SpecError, BuildError.
    """
    spec = function.spec
    path = Path(spec.source.path) if spec.source.path is not None else None
    if path is not None and path.is_relative_to(copies):
        return function, Code(files=dict(_copied(path)), handler=spec.handler), []
    code = read_function(function)
    total = sum(
        len(content) if isinstance(content, bytes) else content.stat().st_size for content in code.files.values()
    )
    if total > LARGEST:
        raise SpecError("spec.source.path", spec.source.path, f"at most {LARGEST // 2**20} MiB of files")
    if code.requirements.pinned and not spec.build.requirements and _are_here(code.requirements.lines):
        code.requirements = Declared()
    wanted = spec.build.python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if code.requirements.lines:
        check_python(code.requirements, ".".join(wanted.split(".")[:2]))
    code.requirements = _located(code)
    function, leftovers = applied(function, code)
    return check(function), code, [*code.notes, *code.undefined, *leftovers]


def _located(code: Code) -> Declared:
    """Have requirements that are files found from the revision's copy of the code: those that are not in it by their
    absolute path, and constraints from a file beside it."""
    declared, lines = code.requirements, []
    for line in declared.lines:
        beside = line.endswith(".whl") and "://" not in line and line.removeprefix("./") not in code.files
        lines.append(str((declared.folder or Path()).absolute() / line) if beside else line)
    if declared.constraints:
        code.files[_CONSTRAINTS] = "".join(f"{line}\n" for line in declared.constraints).encode()
        lines.append(f"--constraint {_CONSTRAINTS}")
    return msgspec.structs.replace(declared, lines=lines)


def _are_here(pins: list[str]) -> bool:
    """Whether this interpreter, which zygotes have too, has exactly these versions."""
    try:
        return all(version(name) == number for name, _, number in (pin.partition("==") for pin in pins))
    except PackageNotFoundError:
        return False


def _copied(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix(), path


def heavy_imports(snapshot: Snapshot, module: str, *, foreign: bool) -> list[str]:
    """Name what the handler's file imports at its top and its interpreter has: worth importing before a fork.

    Standard library modules are left out (cheap, or loaded already), and so are the function's own. For a `foreign`
    interpreter nothing is looked up here: its zygote skips what it does not have.
    """
    content = snapshot.files.get(f"{module.replace('.', '/')}.py")
    if content is None:
        return []
    try:
        tree = ast.parse(content if isinstance(content, bytes) else content.read_bytes())
    except (SyntaxError, ValueError):
        return []  # the replica reports it, with its traceback
    own = {name.partition("/")[0].removesuffix(".py") for name in snapshot.files}
    names = {name for node in tree.body for name in _imported(node)}
    return sorted(name for name in names if _installed(name.partition(".")[0], own, foreign=foreign))


def model_server_imports(*, foreign: bool) -> list[str]:
    """Name what nearly every model server needs, of which scikit-learn takes seconds: imported once, before the fork."""
    wanted = ("numpy", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline")
    return [name for name in wanted if _installed(name.partition(".")[0], set(), foreign=foreign)]


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def _installed(top: str, own: set[str], *, foreign: bool) -> bool:
    if top in own or top in sys.stdlib_module_names or top == "trimtab":
        return False
    if foreign:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def beside(origin: Source, traceback: str) -> str:
    """Explain an import that failed: a file that was not deployed with, or what to require; empty where it is neither."""
    found = _MISSING.search(traceback)
    if found is None:
        return ""
    neighbour = Path(origin.path or ".").parent / f"{found[1]}.py"
    if origin.path is not None and Path(origin.path).is_file() and neighbour.exists():
        return f". {neighbour.name} lies beside {Path(origin.path).name}: deploy the folder to take both"
    distribution, reason = propose(found[1])
    return "" if reason == GUESS else f". To have {found[1]!r}, require {distribution} ({reason})"
