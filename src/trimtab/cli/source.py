"""From what a person names (a file, a folder, a document) to the function that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from trimtab.cli import output as out
from trimtab.spec import Function, FunctionSpec, Metadata, Source
from trimtab.spec.module import module_of
from trimtab.spec.scalars import as_label

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes

CODE = {".py", ".ipynb"}
DOCUMENTS = {".yaml", ".yml", ".json"}
_DOCUMENT_NAMES = ("function.yaml", "function.yml", "function.json")


def read(source: str, leftovers: list[str] | None = None) -> Function:
    """Read SOURCE: `FILE.py[:handler]`, a notebook, a folder, a git reference or a document; paths become absolute.

    What a foreign document says and cannot be carried over goes to `leftovers`, or else to stderr. Errors: click.BadParameter for what is not there, SpecError for a document that is refused.
    """
    if (git := _git(source)) is not None:
        return git
    path, handler = split(source)
    if path.is_dir() and not handler:
        return _folder(path, leftovers)
    if path.suffix in CODE:
        return _file(path, handler)
    if path.suffix in DOCUMENTS and not handler:
        return _document(path, leftovers)
    raise _bad(
        f"{source!r} is neither FILE.py[:handler], NOTEBOOK.ipynb[:handler], git+URL@REF#FOLDER, a folder (see --handler), nor a function.yaml or .json"
    )


def models_only(changes: Changes) -> Function:
    """Give a model server that has no code of its own. Errors: click.UsageError where nothing says that it is one."""
    if not changes.model or changes.kind not in (None, "serving"):
        raise click.UsageError("name a SOURCE, or the models of a model server: --model KEY=PATH")
    name = as_label(changes.model[0][0].partition(":")[0])
    return Function(metadata=Metadata(name=name), spec=FunctionSpec(kind="serving"))


def split(source: str) -> tuple[Path, str]:
    """Split `PATH[:handler]`; the path exists and is absolute."""
    path, colon, handler = Path(source), "", ""
    if not path.exists() and ":" in source:
        text, colon, handler = source.rpartition(":")
        path = Path(text)
    if not path.exists():
        raise _bad(f"there is no {str(path)!r} here ({Path.cwd()})")
    if colon and not handler:
        raise _bad(f"{source!r} has a colon and no name after it")
    return path.absolute(), handler


def _file(path: Path, handler: str) -> Function:
    module = module_of(path)
    return _function(path, path.stem, f"{module}:{handler}" if handler else module)


def _git(source: str) -> Function | None:
    """Read `git+https://HOST/REPOSITORY@REF#FOLDER`; None for what is a file's name."""
    if not source.startswith("git+"):
        return None
    from trimtab.builder.source.git import parse

    found = parse(source)
    name = Path(found.folder or found.url.rstrip("/").removesuffix(".git")).stem
    return Function(metadata=Metadata(name=as_label(name)), spec=FunctionSpec(source=Source(git=source)))


def _folder(path: Path, leftovers: list[str] | None) -> Function:
    """Read a folder's document, or take the folder as it is; the target finds the only module if no handler is named."""
    document = next((path / name for name in _DOCUMENT_NAMES if (path / name).is_file()), None)
    return _document(document, leftovers) if document else _function(path, path.resolve().name, "")


def _function(path: Path, name: str, handler: str) -> Function:
    spec = FunctionSpec(handler=handler, source=Source(path=str(path)))
    return Function(metadata=Metadata(name=as_label(name)), spec=spec)


def _document(path: Path, leftovers: list[str] | None) -> Function:
    from trimtab.spec import load

    rest: list[str] = []
    function = load(path, leftovers=rest)
    if leftovers is not None:
        leftovers.extend(rest)
    else:
        for leftover in rest:
            out.warn(f"not carried over: {leftover}")
    if function.metadata.name:
        return function
    name = path.parent.name if path.stem == "function" else path.stem
    return replace(function, metadata=replace(function.metadata, name=as_label(name)))


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="SOURCE")
