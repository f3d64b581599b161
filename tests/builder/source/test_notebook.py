from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.builder.source import read_source
from trimtab.errors import SpecError
from trimtab.spec import Build, Source

HANDLER = "def handler(context, event):\n    return 1"


def test_code_cells_become_one_module_in_their_order(exports: Any) -> None:
    markdown = {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "import nothing"]}
    raw = {"cell_type": "raw", "metadata": {}, "source": "x ="}
    assert exports.text("import json", markdown, raw, "x = 1\n\ny = 2", "", "  \n", HANDLER) == (
        f"import json\nx = 1\ny = 2\n{HANDLER}"
    )


def test_the_same_cells_give_the_same_bytes_whatever_was_run(exports: Any, notebook: Callable[..., str]) -> None:
    first = exports.code("x = 1", HANDLER).files
    document = json.loads(exports.path.read_text())
    for cell in document["cells"]:
        cell |= {
            "execution_count": 7,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "x" * 10_000_000}],
        }
    document["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": "new"})
    exports.path.write_text(json.dumps(document))
    assert read_source(Source(path=str(exports.path)), Build(), "").files == first


@pytest.mark.parametrize("tag", ["ignore", "trimtab-ignore", "nuclio-ignore", "mlrun-ignore"])
def test_tagged_cells_are_left_out(exports: Any, tag: str) -> None:
    assert exports.text(("plot(1)", ["other", tag]), "x = 1") == "x = 1"


@pytest.mark.parametrize(
    "mark", ["# nuclio: ignore", "#mlrun:ignore", "   #  nuclio:  ignore  ", "y = 2  # mlrun: ignore"]
)
def test_cells_marked_by_a_comment_are_left_out(exports: Any, mark: str) -> None:
    assert exports.text(f"if True:\n  pass\n{mark}", "x = 1") == "x = 1"


def test_a_mark_in_a_string_is_no_mark(exports: Any) -> None:
    assert exports.text("x = '''\n# nuclio: ignore\n'''\ny = '# mlrun: ignore'") == (
        "x = '''\n# nuclio: ignore\n'''\ny = '# mlrun: ignore'"
    )


START, END = "# mlrun: start-code", "# mlrun: end-code"


@pytest.mark.parametrize(
    ("cells", "exported"),
    [
        (["a = 1", f"b = 1\n{START}\nc = 1", "d = 1"], "c = 1\nd = 1"),
        (["a = 1", f"b = 1\n{END}\nc = 1", "d = 1"], "a = 1\nb = 1"),
        (["a = 1", f"{START}\nb = 1\n{END}\nc = 1", "d = 1"], "b = 1"),
        (["a = 1", START, "b = 1", END, "c = 1", START, "d = 1", f"e = 1\n{END}", "f = 1"], "b = 1\nd = 1\ne = 1"),
        (["# nuclio: start-code\na = 1", "b = 1\n# nuclio: end-code", "c = 1"], "a = 1\nb = 1"),
        ([f"{START} other\na = 1\n{END} other", f"{START}\nb = 1"], "b = 1"),
        ([f"{START} my-fn\na = 1\n{END} my-fn", f"{START}\nb = 1"], "a = 1"),
        ([f"{START} my_fn\na = 1\n{END} my_fn", "b = 1", f"{START} my-fn\nc = 1"], "a = 1\nc = 1"),
    ],
)
def test_sections_are_cut_out_as_mlrun_does(exports: Any, cells: list[str], exported: str) -> None:
    assert exports.text(*cells, name="my-fn") == exported


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [START, f"x = 1\n{START}"],
            "model.ipynb, cell 2, line 2: found 'start-code inside a section', allowed: end-code",
        ),
        ([f"{END}\nx = 1\n{START}"], "cell 1, line 1: found 'end-code before start-code in one cell'"),
        ([START, END, "x", f"{END}\n{START}"], "cell 4, line 1: found 'end-code before start-code in one cell'"),
        (
            [START, END, END],
            "model.ipynb, cell 3, line 1: found 'end-code outside a section', allowed: start-code before",
        ),
        ([f"{START} other"], "model.ipynb: found 'my-fn', allowed: a section of it: start-code other"),
    ],
)
def test_marks_that_contradict_each_other_are_refused(exports: Any, cells: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        exports.code(*cells, name="my-fn")
    assert message in str(caught.value)


def test_only_the_first_mark_of_a_cell_counts_and_that_is_said(exports: Any) -> None:
    code = exports.code(f"{START}\na = 1\n{END}\nb = 1\n{START}\nc = 1")
    assert b"\na = 1\n" in code.files["model.py"]
    assert b"c = 1" not in code.files["model.py"]
    assert code.notes == ["model.ipynb, cell 1, line 5: only the first start-code of a cell counts"]


def test_return_marks_make_returns(exports: Any) -> None:
    text = exports.text(
        "def handler(context, event):\n    # nuclio: return\n    'x'",
        "%%nuclio handler second\ncontext.logger.info('''\na''')\n'Hello ' + event.body",
    )
    assert text == (
        "def handler(context, event):\n    # nuclio: return\n    return 'x'\n"
        "def second(context, event):\n    context.logger.info('''\na''')\n    return 'Hello ' + event.body"
    )


def test_a_dot_or_a_space_in_the_name_gives_a_module_that_can_be_imported(tmp_path: Path, notebook: Any) -> None:
    path = tmp_path / "my.model v2 (Größe).ipynb"
    path.write_text(notebook(HANDLER))
    for handler in ("", "my.model v2 (Größe)", "my_model_v2__Größe_", "my.model v2 (Größe).ipynb"):
        code = read_source(Source(path=str(path)), Build(), f"{handler}:handler")
        assert list(code.files) == ["my_model_v2__Größe_.py"]
        assert code.handler == "my_model_v2__Größe_:handler"
    with pytest.raises(SpecError, match=r"allowed: 'my_model_v2__Größe_:NAME' for my\.model v2"):
        read_source(Source(path=str(path)), Build(), "other:handler")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "as Jupyter saves it (JSON). Is a merge conflict left in it?"),
        ('{"cells": [\n<<<<<<< HEAD\n', "as Jupyter saves it (JSON). Is a merge conflict left in it?"),
        ("[]", "Expected `object`, got `array`"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}', "$.cells[0].source"),
        (
            '{"nbformat": 3, "worksheets": [{"cells": []}]}',
            "found 'a notebook of format 3', allowed: format 4. Open it in",
        ),
        ("{}", "found 'a notebook of format unknown', allowed: format 4"),
        ('{"nbformat": 4, "cells": []}', "found 'a notebook without code'"),
        (
            '{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "R"}}}',
            "found 'a notebook in r', allowed: a notebook in Python",
        ),
    ],
)
def test_what_is_no_notebook_of_ours_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_source(Source(path=str(path)), Build(), "")
    assert message in str(caught.value)


def test_a_notebook_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_bytes(b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "\xff"}]}')
    with pytest.raises(SpecError, match="a notebook as Jupyter saves it"):
        read_source(Source(path=str(path)), Build(), "")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "x = 1\ndef f(:\n    pass",
            "model.ipynb, cell 2, line 2: found 'def f(:', allowed: Python. invalid syntax. Correct",
        ),
        (
            "x = await f()",
            "cell 2, line 1: found 'x = await f()', allowed: Python. await at the top of a cell works in note",
        ),
        ("x = 1\nreturn x", "cell 2, line 2: found 'return x', allowed: Python. 'return' outside function"),
        ("x = (\n%time 1", "cell 2, line 1: found 'x = (', allowed: Python. '(' was never closed"),
        ("x = '\x00'", "null bytes"),
    ],
)
def test_what_is_no_python_is_refused_with_cell_and_line(exports: Any, cell: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        exports.code("import json", cell)
    assert message in str(caught.value)


def test_syntax_of_a_newer_python_is_left_to_that_python(exports: Any) -> None:
    assert exports.code("x = (:", build=Build(python="3.99")).handler == "model"


def test_imports_from_the_future_go_to_the_top(exports: Any) -> None:
    content = exports.code("x = 1", "from __future__ import annotations\ny: Unknown = 2").files["model.py"]
    compile(content, "model.py", "exec")
    assert content.decode().split("\n")[2] == "from __future__ import annotations"


def test_a_cell_that_is_indented_as_a_whole_is_read_as_ipython_reads_it(exports: Any) -> None:
    assert exports.text('\n  %time 1\n  x = 1\n  if x:\n      y = """\na"""') == (
        '# %time 1\nx = 1\nif x:\n    y = """\na"""'
    )


def test_names_that_no_exported_cell_defines_are_named(exports: Any) -> None:
    code = exports.code(
        ("model = 3", ["ignore"]),
        "files = !ls\nimport os.path as p",
        "def handler(context, event):\n    return model, ghost, len(files), [i for i in p.sep], __name__",
        "display(1)\nclass A:\n    x = 1\n    y = x\n\ndef f():\n    global made\n    made = 1\n\ndef g(): return made",
    )
    assert code.undefined == [
        "cell 3, line 2 uses 'model', which no exported cell defines: cell 1 does, and the cell (tagged ignore) is left out",
        "cell 3, line 2 uses 'ghost', which no exported cell defines: it is left of a cell that was changed or deleted",
        "cell 3, line 2 uses 'files', which no exported cell defines: cell 2 does, by a line of IPython, which is left out",
        (
            "cell 4, line 1 uses 'display', which no exported cell defines: it is IPython's: `from IPython.display "
            "import display`, or tag the cell 'ignore'"
        ),
    ]
    for opaque in ("from json import *", "globals()['dumps'] = 1", "exec('dumps = 1')"):
        assert exports.code(opaque, "x = dumps(1)").undefined == []


def test_cells_of_another_language_are_left_out(exports: Any) -> None:
    sql = {"cell_type": "code", "metadata": {"vscode": {"languageId": "sql"}}, "source": "SELECT 1", "outputs": []}
    assert exports.text(sql, "x = 1") == "x = 1"


@pytest.mark.parametrize(
    "cell",
    [
        "fn = trimtab.code_to_function(filename='model.ipynb')\nfn.deploy()",
        "for x in [1]:\n    code_to_function('a').deploy()",
    ],
)
def test_a_notebook_that_would_deploy_itself_at_each_start_is_refused(exports: Any, cell: str) -> None:
    with pytest.raises(
        SpecError, match=r"model\.ipynb, cell 2, line [12]: found 'code_to_function', allowed: .*tag the cell"
    ):
        exports.code(HANDLER, cell)
    assert exports.code(HANDLER, (cell, ["ignore"])).handler == "model"
    inside = "if __name__ == '__main__':\n    code_to_function()\n\ndef later():\n    code_to_function()"
    assert exports.code(HANDLER, f"def code_to_function(): pass\n\n{inside}").handler == "model"


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text('{"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = \'\\ud83d\'"}]}')
    with pytest.raises(SpecError, match=r"x\.ipynb: found"):
        read_source(Source(path=str(path)), Build(), "")
