"""A function's code on this machine, in this process: for mock servers and local runs, which read it where it lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trimtab.errors import SpecError
from trimtab.project.view import has_source
from trimtab.spec import Function, FunctionSpec, Source
from trimtab.spec.module import module_of

if TYPE_CHECKING:
    from trimtab.builder.abc import Code
    from trimtab.runtime.load import Loaded

_ALLOWED = "the path of a .py file, of a notebook or of a folder, or git+https://HOST/REPOSITORY@REF#FOLDER"


def source_of(filename: object) -> Source:
    """Accept a Python file, a notebook or a folder that exists, or a git reference. Errors: SpecError."""
    if not isinstance(filename, str | os.PathLike) or not str(filename):
        hint = "In a notebook of Jupyter or VS Code it may be left out; nothing here says which notebook this is"
        raise SpecError("filename", filename or None, _ALLOWED, hint=hint if "IPython" in sys.modules else "")
    text = str(filename)
    if "://" in text or text.startswith("git+"):
        from trimtab.builder.source import git

        if not git.looks_like(text):
            raise SpecError("filename", text, _ALLOWED, hint="Clone or download it first")
        git.parse(text)
        return Source(git=text)
    path = Path(text)
    if not path.exists():
        raise SpecError("filename", text, _ALLOWED, hint=f"There is no such file in {Path.cwd()}")
    if path.is_file() and path.suffix not in {".py", ".ipynb"}:
        raise SpecError("filename", text, _ALLOWED)
    return Source(path=text)


def qualified(handler: str, source: Source) -> str:
    """Name the module of a handler that is a name alone, as MLRun's users write it, in the file it must be in."""
    path = Path(source.path or "")
    if not handler or ":" in handler or path.suffix not in {".py", ".ipynb"} or path.is_dir():
        return handler
    module = module_of(path)
    return handler if handler == module else f"{module}:{handler}"


@contextmanager
def loaded(function: Function, *, job: bool = False) -> Iterator[Loaded]:
    """Load the handler afresh, with the function's plain variables in the environment, which leave it at the end.

    Errors: SpecError (no code here), HandlerError.
    """
    from trimtab.runtime.load import load

    with located(function) as (handler, folder):
        yield load(handler, folder, job=job)


@contextmanager
def located(function: Function) -> Iterator[tuple[str, Path]]:
    """Give the handler and the folder it is in, to be loaded afresh, with the environment as `loaded` has it.

    Errors: SpecError (no code here), BuildError.
    """
    from trimtab.builder.source import applied, read_function

    spec = function.spec
    if not has_source(spec) and spec.kind != "serving":
        raise SpecError("spec.source", None, "a path, code or git, to run in this process")
    code = read_function(function)
    with _environment(applied(function, code)[0].spec), TemporaryDirectory(prefix="trimtab-") as scratch:
        folder = _folder(spec.source, code, Path(scratch) / "code")
        sys.modules.pop(code.handler.partition(":")[0], None)  # what an earlier load left: the file may have changed
        yield code.handler, folder


def _folder(source: Source, code: Code, scratch: Path) -> Path:
    """Give the folder that the code lies in: its own, or `scratch` for what has to be written first."""
    from trimtab.deploy.local.source import Snapshot

    path = Path(source.path or "")
    if source.path is not None and path.suffix != ".ipynb":
        return path if path.is_dir() else path.parent
    Snapshot(code.files).write(scratch)
    return scratch


@contextmanager
def _environment(spec: FunctionSpec) -> Iterator[None]:
    wanted = {variable.name: variable.value or "" for variable in spec.env if variable.value_from is None}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
