from __future__ import annotations

from typing import Any

import pytest

from trimtab.builder.source import applied
from trimtab.errors import SpecError
from trimtab.spec import EnvVar, Function, FunctionSpec, Metadata, Scale, Source


@pytest.mark.parametrize(
    ("line", "requirements"),
    [
        ("%pip install six", ["six"]),
        ("%pip install -q --upgrade 'pandas>=2,<3' six==1.16 --no-cache-dir", ["pandas>=2,<3", "six==1.16"]),
        ("!pip install six > /dev/null 2>&1", ["six"]),
        ("!pip3 -q install six", None),
        ("!python -m pip install six | tail -1", ["six"]),
        ("!{sys.executable} -m pip install six", ["six"]),
        ("%uv pip install six", ["six"]),
        ("!uv pip install six", ["six"]),
        ("pip install six", ["six"]),
        ("!!pip install six", ["six"]),
        ("%pip install six \\\n  iniconfig", ["six", "iniconfig"]),
        ("%pip install pandas>=2  # the new one", ["pandas>=2"]),
        ("%pip install 'x[a,b] @ https://h/x-1.whl'", ["x[a,b] @ https://h/x-1.whl"]),
        ("%pip install six -i https://h/simple --extra-index-url=https://k/simple",
         ["six", "--index-url https://h/simple", "--extra-index-url https://k/simple"]),
        ("%nuclio cmd pip install six", ["six"]),
        ("%nuclio cmd -c python -m pip install six", ["six"]),
        ("%nuclio cmd --local-only pip install six", []),
        ("%%nuclio cmd\npip install six\n# a comment\n\npip install iniconfig", ["six", "iniconfig"]),
        ("%%pip install six", ["six"]),
        ("!pip install six>=1 2>&1", ["six>=1"]),
        ("%pip install 'six; python_version > \"3\"'", ['six; python_version > "3"']),
        ("%pip install x@https://h/x-1.whl#sha256=1 # why", ["x@https://h/x-1.whl#sha256=1"]),
        ("%conda install six", []),
    ],
)  # fmt: skip
def test_installations_become_requirements(exports: Any, line: str, requirements: list[str] | None) -> None:
    code = exports.code(line, "x = 1")
    assert code.requirements.lines == (requirements or [])
    assert code.commands == []
    assert code.requirements.where == ("model.ipynb" if requirements else "")
    assert bool(code.notes) == (requirements is None or "conda" in line)


def test_what_an_installation_cannot_say_elsewhere_is_named(exports: Any) -> None:
    code = exports.code("%pip install {name} $other ./here -e . -c limits.txt six && echo done")
    assert code.requirements.lines == ["six"]
    assert code.notes == [
        "model.ipynb, cell 1, line 1: what follows pip install is left out: && echo done",
        "model.ipynb, cell 1, line 1: '{name}' is not carried over: its value is only known in the notebook",
        "model.ipynb, cell 1, line 1: '$other' is not carried over: its value is only known in the notebook",
        "model.ipynb, cell 1, line 1: './here' is not carried over: it is a path of this machine",
        "model.ipynb, cell 1, line 1: -e . is not carried over: name a released version",
        "model.ipynb, cell 1, line 1: -c limits.txt is not carried over",
    ]


def test_commands_behind_an_installation_are_not_taken_for_packages(exports: Any) -> None:
    code = exports.code("!pip install six; rm -rf build&&ls")
    assert code.requirements.lines == ["six"]
    assert code.notes == ["model.ipynb, cell 1, line 1: what follows pip install is left out: ; rm -rf build && ls"]


def test_a_requirements_file_that_a_notebook_installs_is_read(exports: Any) -> None:
    (exports.folder / "needs.txt").write_text("six\n-r more.txt\n")
    (exports.folder / "more.txt").write_text("iniconfig>=2 # why\n")
    assert exports.code("!pip install -r needs.txt").requirements.lines == ["six", "iniconfig>=2"]
    with pytest.raises(SpecError, match=r"^model\.ipynb: found '-r gone\.txt', allowed: a requirements file in "):
        exports.code("!pip install -r gone.txt")


def test_credentials_in_an_installation_are_refused_and_not_repeated(exports: Any) -> None:
    with pytest.raises(SpecError) as caught:
        exports.code("%pip install x --index-url https://me:geheim@h/simple")
    assert "geheim" not in str(caught.value)
    assert "cell 1, line 1: found 'https://***@h/simple', allowed: an index without credentials" in str(caught.value)


def test_nuclios_magics_become_commands_variables_and_settings(exports: Any) -> None:
    code = exports.code(
        "%nuclio cmd apt-get install -y libgomp1\n%nuclio env -c MODEL='a b'\n%nuclio env --local-only HERE=1",
        "%%nuclio env\nA=1\nB = two=2\n",
        "%nuclio config spec.maxReplicas = 5\n%nuclio config spec.build.commands += 'pip install six'",
        "%%nuclio config\nspec.minReplicas = 1\nspec.triggers.web = {'kind': 'http', 'maxWorkers': 2}\nspec.nothing = True",
    )
    assert code.commands == ["apt-get install -y libgomp1"]
    assert code.env == {"MODEL": "a b", "A": "1", "B": "two=2"}
    given = Function(
        metadata=Metadata(name="f"),
        spec=FunctionSpec(source=Source(path="model.ipynb"), scale=Scale(max=3), env=[EnvVar(name="A", value="mine")]),
    )
    function, leftovers = applied(given, code)
    spec = function.spec
    assert (spec.scale.min, spec.scale.max, spec.scale.workers, spec.scale.concurrency) == (1, 3, 2, 2)
    assert {each.name: each.value for each in spec.env} == {"A": "mine", "MODEL": "a b", "B": "two=2"}
    assert (spec.build.requirements, spec.build.commands) == (["six"], ["apt-get install -y libgomp1"])
    assert (spec.handler, spec.source.path, function.metadata.name) == ("model", "model.ipynb", "f")
    assert leftovers == ["%nuclio config is not carried over: spec.nothing: True"]


def test_settings_leave_workers_alone_that_they_do_not_speak_of(exports: Any) -> None:
    code = exports.code("%nuclio config spec.maxReplicas = 5")
    function, _ = applied(Function(metadata=Metadata(name="f"), spec=FunctionSpec(source=Source(path="x"))), code)
    assert (function.spec.scale.max, function.spec.scale.concurrency) == (5, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%nuclio env NOVALUE", "cell 1, line 1: found '%nuclio env NOVALUE', allowed: NAME=VALUE"),
        ("%nuclio config spec.x", "allowed: spec.FIELD = VALUE, or spec.FIELD += VALUE"),
        ("%nuclio config spec.x = open('/etc/passwd')", "allowed: a Python value such as 5"),
        (
            "%nuclio config spec.x = 1\n%nuclio config spec.x.y = 1",
            "line 2: found '%nuclio config spec.x.y = 1', allowed: no",
        ),
        ("%nuclio config spec.x = 1\n%nuclio config spec.x += 1", "allowed: =, because spec.x is no list"),
    ],
)
def test_magics_of_ours_that_cannot_be_read_are_refused(exports: Any, line: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        exports.code(line)
    assert message in str(caught.value)


def test_a_secret_of_a_magic_is_not_repeated_in_an_error(exports: Any) -> None:
    with pytest.raises(SpecError) as caught:
        exports.code("%nuclio env 1TOKEN=geheim")
    assert "geheim" not in str(caught.value)


def test_writefile_becomes_the_file(exports: Any) -> None:
    code = exports.code(
        "%%writefile helper.py\nX = 1\n%notmagic = here\n",
        "%%writefile -a helper.py\nY = 2",
        "%%file data/one.json\n{}",
        "from helper import X",
    )
    assert code.files["helper.py"] == b"X = 1\n%notmagic = here\nY = 2\n"
    assert code.files["data/one.json"] == b"{}\n"
    assert b"notmagic" not in code.files["model.py"]
    assert exports.code("%%writefile helper.py\ndef h(c, e): pass", "x=1", handler="helper:h").handler == "helper:h"


@pytest.mark.parametrize("name", ["/etc/x.py", "../x.py", "a/../../x.py", "~/x.py", "{name}.py", "$HOME/x.py", ""])
def test_files_are_written_nowhere_but_in_the_functions_folder(exports: Any, name: str) -> None:
    code = exports.code(f"%%writefile {name}\nX = 1", "x = 1")
    assert list(code.files) == ["model.py"]
    assert "only files of the function's own folder are taken" in code.notes[0]


def test_the_notebooks_own_module_is_not_overwritten(exports: Any) -> None:
    with pytest.raises(SpecError, match=r"found '%%writefile model\.py', allowed: another name"):
        exports.code("%%writefile ./model.py\nX = 1")


def test_other_magics_are_dropped_and_listed(exports: Any) -> None:
    cells = (
        '%matplotlib inline\nimport json\n!ls "it\'s"\nfiles = !ls\njson?\n?json\njson.dumps??\nx = %time 1',
        "%%bash\necho ''' ( [",
        "%%time\ny = 1",
        "get_ipython().run_line_magic(\n    'a', # (\n    'b')\nz = 1",
        "%%javascript\nalert(1)",
        "%lsmagic  " + "x" * 100,
    )
    assert exports.text(*cells) == (
        '# %matplotlib inline\nimport json\n# !ls "it\'s"\n# files = !ls\n# json?\n# ?json\n# json.dumps??\n# x = %time 1\n'
        "# %%time\ny = 1\n"
        "# get_ipython().run_line_magic(\n# 'a', # (\n# 'b')\nz = 1\n"
        f"# {cells[-1]}"
    )
    assert exports.code(*cells).notes == [
        (
            'model.ipynb: left out: `%matplotlib inline` (cell 1), `!ls "it\'s"` (cell 1), `files = !ls` (cell 1), '
            "`json?` (cell 1), `?json` (cell 1), `json.dumps??` (cell 1), `x = %time 1` (cell 1), `%%bash` (cell 2), "
            "`%%time` (cell 3), `get_ipython().run_line_magic( 'a', # ( 'b')` (cell 4), `%%javascript` (cell 5), "
            f"`%lsmagic {'x' * 51}...` (cell 6)"
        )
    ]


def test_a_magic_in_a_block_leaves_a_statement(exports: Any) -> None:
    text = exports.text("def f():\n    %time 1\n\nif True:\n\t!ls \\\n\t  -l\nelse:\n    x = !ls")
    compile(text, "x", "exec")
    assert text == ("def f():\n    pass  # %time 1\nif True:\n\tpass  # !ls \\\n\t# -l\nelse:\n    pass  # x = !ls")


@pytest.mark.parametrize(
    "code",
    [
        "x = '''\n%time\n!ls\n'''",
        'y = f"""\n%d {1}\n"""',
        "z = (3\n%2)",
        "a = 5 \\\n% 3",
        "b = {\n  # '\n  1: 2,\n}",
        "c = 7; d = c % 2\nc %= 3\ne = c != 1\nassert c != 2",
        "s = 'a\\'b'\nt = \"%s\" % s\nu = r'\\'  # '''\nv = 'x' '''y\n%z'''",
        "def f(x):\n    return x if x else not x  # why?",
    ],
)
def test_python_is_left_as_it_is(exports: Any, code: str) -> None:
    exported = exports.code(code)
    assert f"\n{code}\n".encode() in exported.files["model.py"]
    assert exported.notes == []
