"""A notebook's cells as one Python module that has a line for each of their lines."""

from __future__ import annotations

import ast
import re
import sys
import warnings

from msgspec import Struct

from trimtab.builder.source.notebook.magics import Magics
from trimtab.builder.source.notebook.marks import Part, mark
from trimtab.builder.source.notebook.scan import inside
from trimtab.errors import SpecError
from trimtab.runtime.cells import Cells, Span, footer

_FUTURE = re.compile(r"from\s+__future__\s+import\s+(?:[\w\s,]+|\([\w\s,]+\)\s*)(?:#.*)?")


class Module(Struct, frozen=True):
    """The exported text, and its map."""

    text: str
    cells: Cells


class Exporter:
    """Exports the parts of one notebook; what its magics say goes to `magics`."""

    def __init__(self, name: str, where: str, magics: Magics, *, checked: bool = True) -> None:
        self.name, self.where, self.magics, self.checked = name, where, magics, checked
        self.futures: list[str] = []

    def module(self, parts: list[Part]) -> Module:
        """Export. Errors: SpecError naming cell and line of what is no Python, and of magics that cannot be read."""
        bodies = [(part, body) for part in parts if (body := self.body(part)) is not None]
        head = [f"# Exported from {self.name!r} by Trimtab; the last line says which cell each line came from.", ""]
        lines, spans = [*head, *dict.fromkeys(self.futures)], []
        for part, body in bodies:
            lines += ["", f"# %% cell {part.cell.number}"]
            spans.append(Span(len(lines) + 1, len(body), part.cell.number, part.begin + 1))
            lines += body
        cells = Cells(self.name, spans)
        return Module("\n".join([*lines, "", ""]) + footer(cells), cells)

    def body(self, part: Part) -> list[str] | None:
        """Give the lines that stand for a part's lines, one for one; None for a cell that is left out."""
        number, lines = part.cell.number, part.cell.lines
        opening = next((n for n, line in enumerate(lines) if line.strip()), 0)
        kind = "code"
        if lines[opening].startswith("%%"):
            body = "\n".join(lines[opening + 1 :])
            kind = self.magics.cell(lines[opening].strip(), body, number, self.place(number, opening))
        if kind == "out":
            return None
        if kind == "handler":
            return self._handler(part, opening)
        converted = self._converted(part, opening if kind == "body" else -1)
        self._check(converted, part)
        return converted

    def place(self, cell: int, line: int) -> str:
        """Say where a line (from 0) is."""
        return f"{self.where}, cell {cell}, line {line + 1}"

    def _converted(self, part: Part, skipped: int) -> list[str]:
        """Replace what is IPython's by comments (by `pass` where a block may need a statement), and mark returns."""
        converted, returns = [], False
        index = part.begin
        while index < part.end:
            line, scanned = part.cell.lines[index], part.scanned[index]
            if index == skipped:
                converted.append(f"# {line}")
            elif scanned.ipython:
                end = self._end(part, index)
                converted += self._ipython(part, index, end)
                index = end
                continue
            else:
                given, returns = _returned(line, scanned.statement, scanned.comment, returns)
                converted.append(self._future(given) if scanned.statement else given)
            index += 1
        return converted

    @staticmethod
    def _end(part: Part, index: int) -> int:
        end = index + 1
        while end < part.end and part.scanned[end].ipython and not part.scanned[end].statement:
            end += 1
        return end

    def _ipython(self, part: Part, begin: int, end: int) -> list[str]:
        lines = part.cell.lines[begin:end]
        self.magics.line("\n".join(lines), part.cell.number, self.place(part.cell.number, begin))
        indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
        first = f"{indent}{'pass  ' if indent else ''}# {lines[0].strip()}"
        return [first, *(f"{indent}# {line.strip()}" for line in lines[1:])]

    def _future(self, line: str) -> str:
        """Move an import from __future__ to the module's top, the only place where Python takes it."""
        if not _FUTURE.fullmatch(line.strip()):
            return line
        self.futures.append(line.strip())
        return f"# {line.strip()}"

    def _handler(self, part: Part, opening: int) -> list[str]:
        """Make a function of a `%%nuclio handler` cell, as Nuclio does: its last expression is what it returns."""
        name = part.cell.lines[opening].split()[2:3]
        body = self._converted(part, opening)
        given = body[opening + 1 :]
        try:
            last = ast.parse("\n".join(given)).body[-1:]
        except SyntaxError:
            last = []
        if last and isinstance(last[0], ast.Expr):
            at = last[0].lineno - 1
            given[at] = given[at][: last[0].col_offset] + "return " + given[at][last[0].col_offset :]
        inner = [
            f"    {line}" if not inside(part.cell.lines, opening + 1 + index) else line
            for index, line in enumerate(given)
        ]
        lines = [*body[:opening], f"def {name[0] if name else 'handler'}(context, event):", *(inner or ["    pass"])]
        self._check(lines, part)
        return lines

    def _check(self, lines: list[str], part: Part) -> None:
        if not self.checked:
            return
        text = "\n".join(lines)
        try:
            _compile(text)
        except SyntaxError as error:
            at = part.begin + (error.lineno or 1) - 1
            line = (error.text or "").strip() or part.cell.lines[min(at, len(part.cell.lines) - 1)].strip()
            raise SpecError(self.place(part.cell.number, at), line, "Python", hint=_advice(text, error)) from error
        except ValueError as error:
            raise SpecError(self.place(part.cell.number, part.begin), str(error), "Python") from error


def _compile(text: str, flags: int = 0) -> None:
    """Compile and forget. Errors: SyntaxError, ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import says it again, to those who read the log
        compile(text, "cell", "exec", flags, dont_inherit=True)


def _returned(line: str, statement: bool, comment: str, pending: bool) -> tuple[str, bool]:
    """Carry out `# nuclio: return`: the statement beside it, or else the next one, is what its function returns."""
    here = mark(comment)[0] == "return"
    code = line[: len(line) - len(comment)] if comment else line
    if statement and code.strip() and (here or pending):
        indent = len(line) - len(line.lstrip())
        return f"{line[:indent]}return {line[indent:]}", False
    return line, (here or pending) and not (statement and code.strip())


def _advice(text: str, error: SyntaxError) -> str:
    reason = f"{error.msg}"
    try:
        _compile(text, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return f"{reason}. Correct the cell, or tag it 'ignore'"
    return "await at the top of a cell works in notebooks only: put it into an async def, or tag the cell 'ignore'"


def checks(python: str | None) -> bool:
    """Whether our own parser can judge code that is meant for `python`."""
    parts = [int(part) for part in (python or "0").split(".")]
    return parts[:2] <= list(sys.version_info[:2])
