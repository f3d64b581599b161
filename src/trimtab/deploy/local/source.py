"""A function's code: read once at deploy, named by its digest, kept as the revision's own immutable copy."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimtab.errors import SpecError
from trimtab.spec import Function, FunctionSpec, Source
from trimtab.spec.serving import is_built_in

LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".ipynb_checkpoints", ".tox", ".trimtab", ".DS_Store"}
)
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)'")
LARGEST = 500 * 2**20
"""Bytes of a folder that are copied per revision; more is surely data, and belongs on a volume."""


class Snapshot:
    """The files of one source: (name inside the revision, path on disk or the bytes themselves)."""

    def __init__(self, files: dict[str, Path | bytes]) -> None:
        self.files = dict(sorted(files.items()))

    def digest(self) -> str:
        """Give the SHA-256 over names, executable bits and contents."""
        total = hashlib.sha256()
        for name, content in self.files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            total.update(f"{name}\0{_executable(content)}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
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
                target.chmod(0o755 if _executable(content) else 0o644)
        temporary.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def _executable(content: Path | bytes) -> bool:
    return not isinstance(content, bytes) and bool(content.stat().st_mode & stat.S_IXUSR)


def read(source: Source, handler: str, kind: str = "http") -> Snapshot:
    """Find the source's files. Errors: SpecError."""
    if source.git is not None:
        raise SpecError("spec.source.git", source.git, "a path or code on the local target", hint="Clone it first.")
    if source.code is not None:
        return Snapshot({f"{handler.partition(':')[0] or 'handler'}.py": source.code.encode()})
    if source == Source() and kind == "serving":
        return Snapshot({})  # the built-in class needs no code
    if source.path is None:
        raise SpecError("spec.source", {}, "a path (file or folder) or code")
    path = Path(source.path)
    if path.is_file():
        if path.suffix != ".py":
            raise SpecError("spec.source.path", source.path, "a .py file or a folder on the local target")
        return Snapshot({path.name: path})
    if path.is_dir():
        return Snapshot(dict(_walk(path)))
    raise SpecError("spec.source.path", source.path, "a file or folder that exists")


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    total = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(folder, name)
            if name in LEFT_OUT or name.endswith(".pyc") or not path.is_file():
                continue
            total += path.stat().st_size
            if total > LARGEST:
                raise SpecError("spec.source.path", str(root), f"at most {LARGEST // 2**20} MiB of files")
            yield path.relative_to(root).as_posix(), path


def module_of(spec: FunctionSpec, snapshot: Snapshot) -> str:
    """Name the module the handler is in: what the spec says, or the only module there is."""
    module = spec.handler.partition(":")[0]
    if module:
        return module
    modules = [name.removesuffix(".py") for name in snapshot.files if name.endswith(".py") and "/" not in name]
    for name in ("handler", "main"):
        if name in modules:
            return name
    if len(modules) == 1:
        return modules[0]
    if spec.kind == "serving" and all(is_built_in(each.class_name) or "." in each.class_name for each in spec.models):
        return ""
    raise SpecError("spec.handler", spec.handler, f"module:name, with module one of {', '.join(modules) or '(none)'}")


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
    """Explain an import that failed because one file was deployed out of a folder; empty where that is not it."""
    found = _MISSING.search(traceback)
    if found is None or origin.path is None or not Path(origin.path).is_file():
        return ""
    neighbour = Path(origin.path).parent / f"{found[1]}.py"
    if not neighbour.exists():
        return ""
    return f". {neighbour.name} lies beside {Path(origin.path).name}: deploy the folder to take both"


def with_handler(function: Function, module: str) -> Function:
    """Write down which module the handler is in, where the spec left it open."""
    if not module:
        return function
    name = function.spec.handler.partition(":")[2]
    spec = msgspec.structs.replace(function.spec, handler=f"{module}:{name}" if name else module)
    return msgspec.structs.replace(function, spec=spec)
