"""Which cells and lines a notebook's marks select: tags, and the comments of Nuclio and MLRun.

`ignore` leaves a cell out. `start-code` leaves out what is before it, `end-code` what is behind it; several sections are put
together. Sections that name a function are that function's; the others have those without a name.
"""

from __future__ import annotations

import re

from msgspec import Struct

from trimtab.builder.source.notebook.document import Cell
from trimtab.builder.source.notebook.scan import Line, scan
from trimtab.errors import SpecError
from trimtab.spec.scalars import as_label

IGNORED_TAGS = frozenset({"ignore", "trimtab-ignore", "nuclio-ignore", "mlrun-ignore"})
_MARK = re.compile(
    r"#[ \t]*(?:nuclio|mlrun|trimtab):[ \t]*(?P<kind>ignore|start|end|return)(?:-code)?\b[ \t]*(?P<name>[\w.-]*)",
    re.IGNORECASE,
)


class Part(Struct, frozen=True):
    """The lines `begin` to `end` (from 0, `end` excluded) of a cell; all of its lines were scanned."""

    cell: Cell
    scanned: list[Line]
    begin: int
    end: int


class Selection(Struct, frozen=True):
    """What is exported, and of every other cell why it is not."""

    parts: list[Part]
    left_out: list[tuple[Cell, str]]
    notes: list[str]


class _Mark(Struct, frozen=True):
    cell: int
    line: int
    kind: str
    name: str


def mark(comment: str) -> tuple[str, str]:
    """Read a comment as a mark: its kind and the name it gives; two empty texts where it is none."""
    found = _MARK.match(comment)
    return (found["kind"].lower(), found["name"]) if found else ("", "")


def select(cells: list[Cell], name: str, where: str) -> Selection:
    """Select what the function `name` is made of. Errors: SpecError for marks that contradict each other."""
    kept: list[Part] = []
    left_out: list[tuple[Cell, str]] = []
    for cell in cells:
        scanned = scan(cell.lines)
        reason = _ignored(cell, scanned)
        if reason:
            left_out.append((cell, reason))
        else:
            kept.append(Part(cell, scanned, 0, len(cell.lines)))
    marks = _marks(kept)
    relevant = _relevant(marks, name, where)
    if not relevant:
        return Selection(kept, left_out, [])
    parts = _sections(kept, relevant, where)
    taken = {part.cell.number for part in parts}
    left_out += [(part.cell, "outside start-code and end-code") for part in kept if part.cell.number not in taken]
    return Selection(parts, sorted(left_out, key=lambda pair: pair[0].number), _second(kept, relevant))


def _ignored(cell: Cell, scanned: list[Line]) -> str:
    tags = cell.tags & IGNORED_TAGS
    if tags:
        return f"tagged {min(tags)}"
    if cell.language != "python":
        return f"in {cell.language}"
    if not cell.lines[0].startswith("%%") and any(mark(line.comment)[0] == "ignore" for line in scanned):
        return "marked ignore"
    return ""


def _marks(parts: list[Part]) -> list[_Mark]:
    found = []
    for index, part in enumerate(parts):
        for number, line in enumerate(part.scanned):
            kind, name = mark(line.comment)
            if kind in {"start", "end"}:
                found.append(_Mark(index, number, kind, name))
    return found


def _relevant(marks: list[_Mark], name: str, where: str) -> list[_Mark]:
    named = [each for each in marks if each.name and as_label(each.name) == name]
    nameless = [each for each in marks if not each.name]
    if marks and not named and not nameless:
        names = sorted({each.name for each in marks})
        raise SpecError(where, name or "a function without a name", f"a section of it: start-code {', '.join(names)}")
    return named or nameless


def _first(marks: list[_Mark], cell: int, kind: str) -> int | None:
    return next((each.line for each in marks if (each.cell, each.kind) == (cell, kind)), None)


def _sections(parts: list[Part], marks: list[_Mark], where: str) -> list[Part]:
    """Cut the sections out. Of each kind the first mark of a cell counts, as with MLRun."""
    is_open = marks[0].kind == "end"
    found = []
    for index, part in enumerate(parts):
        start, end = _first(marks, index, "start"), _first(marks, index, "end")
        place = f"{where}, cell {part.cell.number}"
        if start is not None and end is not None and end < start:
            raise SpecError(f"{place}, line {end + 1}", "end-code before start-code in one cell", "a cell for each")
        if start is not None and is_open:
            raise SpecError(f"{place}, line {start + 1}", "start-code inside a section", "end-code before it")
        if end is not None and start is None and not is_open:
            raise SpecError(f"{place}, line {end + 1}", "end-code outside a section", "start-code before it")
        if start is not None or is_open:
            begin = 0 if start is None else start + 1
            found.append(Part(part.cell, part.scanned, begin, part.end if end is None else end))
        is_open = (is_open or start is not None) and end is None
    return found


def _second(parts: list[Part], marks: list[_Mark]) -> list[str]:
    """Say which marks did not count."""
    said = []
    for each in marks:
        if each.line != _first(marks, each.cell, each.kind):
            cell = parts[each.cell].cell.number
            said.append(f"cell {cell}, line {each.line + 1}: only the first {each.kind}-code of a cell counts")
    return said
