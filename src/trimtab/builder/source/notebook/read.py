"""From a notebook's file to the code of a function."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from trimtab.builder.abc import Code, Content, Declared
from trimtab.builder.requirements.declared import script
from trimtab.builder.source import file
from trimtab.builder.source.notebook import document
from trimtab.builder.source.notebook.export import Exporter, Module, checks
from trimtab.builder.source.notebook.magics import Magics
from trimtab.builder.source.notebook.marks import Selection, select
from trimtab.builder.source.notebook.names import deploys_itself, undefined
from trimtab.errors import SpecError
from trimtab.spec import Build
from trimtab.spec.module import module_of

_SAVED = "Save the notebook first: what its file holds is what is exported"


def read(path: Path, build: Build, handler: str, *, name: str = "") -> Code:
    """Export a notebook; `name` is the function's, for its sections. Errors: SpecError with cell and line."""
    cells = document.read(path)
    if not cells:
        raise SpecError(str(path), "a notebook without code", "code cells that define the handler", hint=_SAVED)
    selection = select(cells, name, path.name)
    magics = Magics(lambda other: _beside(path, other))
    module = Exporter(path.name, path.name, magics, checked=checks(build.python)).module(selection.parts)
    _refuse_deployment(path, module)
    own = f"{module_of(path)}.py"
    if own in magics.files:
        raise SpecError(path.name, f"%%writefile {own}", "another name: the notebook itself becomes that file")
    files: dict[str, Content] = {**magics.files, own: module.text.encode()}
    return Code(
        files=dict(sorted(files.items())),
        handler=_handler(path, handler, files),
        origin=str(path),
        requirements=_required(module.text, path, magics),
        env=magics.env,
        commands=magics.commands,
        config={"apiVersion": "nuclio.io/v1", **magics.config} if magics.config else {},
        undefined=undefined(module.text, module.cells, [part.cell for part in selection.parts], selection.left_out),
        notes=_notes(path, selection, magics),
    )


def _refuse_deployment(path: Path, module: Module) -> None:
    try:
        line = deploys_itself(module.text)
    except (SyntaxError, ValueError):
        return  # of a newer Python, whose business it is
    if line is None:
        return
    cell, number = module.cells.locate(line) or (0, line)
    raise SpecError(
        f"{path.name}, cell {cell}, line {number}",
        "code_to_function",
        "what the function itself is made of",
        hint="The function would deploy itself whenever it starts: tag the cell 'ignore', or put '# mlrun: end-code' before",
    )


def _handler(path: Path, handler: str, files: dict[str, Content]) -> str:
    """Name the handler in the exported module; the notebook's own name means that module. Errors: SpecError."""
    module, colon, name = handler.partition(":")
    own = module_of(path)
    if module in {"", own, path.stem, path.name}:
        return f"{own}{colon}{name}"
    if f"{module.replace('.', '/')}.py" in files:
        return handler
    raise SpecError("spec.handler", handler, f"'{own}:NAME' for {path.name}, or a file that it writes (%%writefile)")


def _required(text: str, path: Path, magics: Magics) -> Declared:
    inline = script(text, path.name) or Declared()
    lines = list(dict.fromkeys([*inline.lines, *magics.requirements]))
    where = path.name if lines else ""
    return replace(inline, lines=lines, where=where, folder=path.parent)


def _beside(path: Path, other: str) -> str:
    """Read a file that a notebook names. Errors: SpecError."""
    try:
        return (path.parent / other).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path.name, f"-r {other}", f"a requirements file in {path.parent}") from error


def _notes(path: Path, selection: Selection, magics: Magics) -> list[str]:
    said = [*(f"{path.name}, {note}" for note in selection.notes), *magics.notes]
    if magics.dropped:
        said.append(f"{path.name}: left out: {', '.join(magics.dropped)}")
    if (path.parent / "requirements.txt").is_file() and not magics.requirements:
        said.append(file.forgotten(path))
    return said
