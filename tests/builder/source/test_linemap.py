"""Whatever the cells hold, each exported line leads back to the line of the cell that it came from."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trimtab.builder.source.notebook.document import Cell
from trimtab.builder.source.notebook.export import Exporter
from trimtab.builder.source.notebook.magics import Magics
from trimtab.builder.source.notebook.marks import select
from trimtab.runtime.cells import read

LINES = st.one_of(
    st.sampled_from(
        [
            "x = 1",
            "",
            "def f(a, b):",
            "    return a",
            "'''",
            '"""',
            "y = (",
            ")",
            "%time x",
            "!ls \\",
            "    %pwd",
            "# %% cell 9",
            '# trimtab cells: {"notebook":"x","spans":[]}',
            "from __future__ import annotations",
            "# nuclio: return",
            "%%time",
            "%%bash",
            "s = 'ä\u2028ö'",
            "get_ipython().f(",
            "x?",
            "files = !ls",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12).map(lambda t: f"# {t}"),
)
CELLS = st.lists(st.lists(LINES, min_size=1, max_size=8), min_size=1, max_size=6)
DECORATION = ("pass", "#", "return", "")


def exported(cells: list[list[str]]) -> tuple[list[Cell], str]:
    numbered = [Cell(number, lines) for number, lines in enumerate(cells, 1)]
    exporter = Exporter("a.ipynb", "a.ipynb", Magics(lambda name: Path(name).read_text()), checked=False)
    return numbered, exporter.module(select(numbered, "f", "a.ipynb").parts).text


@given(CELLS)
def test_each_exported_line_leads_to_its_cell_and_line(cells: list[list[str]]) -> None:
    numbered, text = exported(cells)
    found = read(text)
    assert found is not None
    lines = text.split("\n")
    seen = set()
    for number, line in enumerate(lines, 1):
        place = found.locate(number)
        if place is None:
            continue
        seen.add(place)
        source = numbered[place[0] - 1].lines[place[1] - 1]
        # A line stands as it was, or as a comment (behind `pass` in a block), or behind a `return`.
        assert "".join(line.split()).endswith("".join(source.split()))
        left = line.replace(" ", "").strip().removesuffix(source.replace(" ", "").strip())
        assert left in {"", "#", "pass#", "return"}
    kept = {cell for cell, _ in seen}
    assert seen == {(cell, line) for cell in kept for line in range(1, len(numbered[cell - 1].lines) + 1)}


@given(CELLS)
def test_no_line_outside_of_the_map_comes_from_a_cell(cells: list[list[str]]) -> None:
    _, text = exported(cells)
    found = read(text)
    assert found is not None
    ours = ("# Exported from", "# %% cell ", "# trimtab cells: ", "from __future__")
    for number, line in enumerate(text.split("\n"), 1):
        if found.locate(number) is None:
            assert line == "" or line.startswith(ours)
