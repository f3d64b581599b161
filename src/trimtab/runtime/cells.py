"""Which cell of a notebook a line of an exported module came from: the module's last line holds the map.

The map is in the module itself, so that it goes wherever the module goes: into a revision, an image, a debugger.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

MARK = "# trimtab cells: "
_PLACE = re.compile(r'File "(?P<file>[^"\n]+\.py)", line (?P<line>\d+)')


class Span(Struct, frozen=True, array_like=True):
    """Lines that came from one cell, one after the other: `line` is the module's, `first` the cell's, both from 1."""

    line: int
    count: int
    cell: int
    first: int


class Cells(Struct, frozen=True):
    """The map of one module. Cells are numbered as Jupyter numbers them when it runs a notebook from its top."""

    notebook: str
    spans: list[Span]

    def locate(self, line: int) -> tuple[int, int] | None:
        """Give the cell and the line in it of a line of the module; None for a line of no cell."""
        for span in self.spans:
            if span.line <= line < span.line + span.count:
                return span.cell, span.first + line - span.line
        return None


def footer(cells: Cells) -> str:
    """Write the map as the module's last line."""
    return f"{MARK}{msgspec.json.encode(cells).decode()}\n"


def read(text: str) -> Cells | None:
    """Read the map of a module; None where it has none."""
    _, mark, last = text.rstrip("\n").rpartition(f"\n{MARK}")
    if not mark or "\n" in last:
        return None
    try:
        return msgspec.json.decode(last, type=Cells)
    except msgspec.MsgspecError:
        return None


def with_cells(traceback: str) -> str:
    """Name notebook, cell and line in a traceback in the place of files and lines that were exported from one."""
    return _PLACE.sub(_place, traceback)


def place(file: str, line: int) -> str | None:
    """Name the cell that a line of a file came from; None for a file that is no notebook's."""
    try:
        cells = _of(file, Path(file).stat().st_mtime_ns)
    except OSError:
        return None
    found = None if cells is None else cells.locate(line)
    return None if cells is None or found is None else f'"{cells.notebook}", cell {found[0]}, line {found[1]}'


def _place(match: re.Match[str]) -> str:
    found = place(match["file"], int(match["line"]))
    return f"File {found}" if found else match[0]


@lru_cache(maxsize=64)
def _of(file: str, _changed: int) -> Cells | None:
    return read(Path(file).read_text("utf-8", "replace"))
