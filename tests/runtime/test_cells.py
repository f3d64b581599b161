"""The map from an exported module to its cells, and tracebacks that use it."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from trimtab.errors import ImportFailed
from trimtab.runtime.cells import Cells, Span, footer, place, read, with_cells
from trimtab.runtime.load import frames, load

MAP = Cells("Modell 1.ipynb", [Span(3, 2, 1, 1), Span(7, 4, 4, 3)])
MODULE = "# Exported\n\nx = 1\ny = 2\n\n\ndef f():\n    return 1 / 0\n\ndef handler(context, event): return f()\n\n"


def test_a_map_is_read_as_it_was_written() -> None:
    assert read(MODULE + footer(MAP)) == MAP
    assert read(MODULE) is None
    assert read(MODULE + footer(MAP) + "print(1)\n") is None
    assert read("x\n# trimtab cells: {}\n") is None
    assert read("x\n# trimtab cells: nonsense\n") is None


def test_lines_of_no_cell_have_no_place() -> None:
    assert [MAP.locate(line) for line in (2, 3, 4, 5, 7, 10, 11)] == [None, (1, 1), (1, 2), None, (4, 3), (4, 6), None]


def test_a_traceback_names_cell_and_line(tmp_path: Path) -> None:
    (tmp_path / "modell.py").write_text(MODULE + footer(MAP))
    loaded = load("modell:handler", tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        loaded.call(None, None)
    text = frames(caught.value)
    assert 'File "Modell 1.ipynb", cell 4, line 6, in handler' in text
    assert 'File "Modell 1.ipynb", cell 4, line 4, in f\n    return 1 / 0' in text
    assert "modell.py" not in text
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_an_import_that_fails_names_cell_and_line(tmp_path: Path) -> None:
    (tmp_path / "kaputt.py").write_text("# Exported\n\nimport json\nghost\n" + footer(MAP))
    with pytest.raises(ImportFailed) as caught:
        load("kaputt", tmp_path)
    assert caught.value.traceback == (
        'Traceback (most recent call last):\n  File "Modell 1.ipynb", cell 1, line 2, in <module>\n    ghost\n'
        "NameError: name 'ghost' is not defined\n"
    )


def test_other_files_are_left_as_they_are(tmp_path: Path) -> None:
    gone = f'File "{tmp_path}/gone.py", line 3, in f'
    assert with_cells(gone) == gone
    (tmp_path / "plain.py").write_text("x = 1\n")
    assert place(str(tmp_path / "plain.py"), 1) is None
    ours = "".join(traceback.format_stack())
    assert with_cells(ours) == ours


def test_a_changed_module_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("\n\nx\n" + footer(MAP))
    assert place(str(path), 3) == '"Modell 1.ipynb", cell 1, line 1'
    import os

    path.write_text("\n\nx\n" + footer(Cells("b.ipynb", [Span(3, 1, 9, 9)])))
    os.utime(path, ns=(1, 1))
    assert place(str(path), 3) == '"b.ipynb", cell 9, line 9'
