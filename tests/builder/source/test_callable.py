from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.builder.source import read_source
from trimtab.builder.source.callable import pack
from trimtab.errors import HandlerError, SpecError
from trimtab.runtime.load import load
from trimtab.runtime.pickled import differences
from trimtab.spec import Build, Source

LOCK = threading.Lock()
BIG = b"\0" * (20 * 2**20)


def run(code: str, folder: Path) -> str:
    """Run a session of its own, and give what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(text: str, handler: str, folder: Path) -> Any:
    """Load a packed function in another process, as a replica does, and call it."""
    (folder / "shipped").mkdir(exist_ok=True)
    (folder / "shipped" / "handler.py").write_text(text)
    code = (
        "from pathlib import Path\nfrom trimtab.runtime.load import load\n"
        f"print(load({handler!r}, Path('shipped')).call(None, 3))"
    )
    return run(code, folder).strip()


SESSION = """
import trimtab, numpy as np
FACTOR = 2
class Model:
    def predict(self, x): return x * FACTOR
model = Model()
def outer(offset):
    def predict(context, event):
        '''Predict.'''
        return int(np.asarray(model.predict(event)) + offset)
    return predict
fn = trimtab.code_to_function(handler=outer(10))
open("text", "w").write(fn.function.spec.source.code)
print(fn.metadata.name, fn.function.spec.handler, fn.function.spec.build.python)
"""


def test_a_closure_of_a_session_is_shipped_with_its_globals_and_its_libraries_versions(tmp_path: Path) -> None:
    printed = run(SESSION, tmp_path)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert printed.split() == ["predict", "handler:predict", python]
    text = (tmp_path / "text").read_text()
    assert call(text, "handler:predict", tmp_path) == "16"
    code = read_source(Source(code=text), Build(), "handler:predict")
    numpy = importlib.import_module("numpy").__version__
    cloudpickle = importlib.import_module("cloudpickle").__version__
    assert code.requirements.lines == [f"cloudpickle=={cloudpickle}", f"numpy=={numpy}"]
    assert code.requirements.python == f"=={python}.*"
    assert code.requirements.pinned


def test_modules_that_no_distribution_brings_travel_along(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "mine.py").write_text("import helper\n\ndef handler(context, event):\n    return helper.twice(event)\n")
    (session / "helper.py").write_text("from deeper import FACTOR\n\ndef twice(x):\n    return x * FACTOR\n")
    (session / "deeper.py").write_text("FACTOR = 2\n")
    run(
        "import trimtab, mine\nfn = trimtab.code_to_function(handler=mine.handler)\n"
        "open('text', 'w').write(fn.function.spec.source.code)",
        session,
    )
    assert call((session / "text").read_text(), "handler:handler", tmp_path) == "6"


def test_lambdas_classes_and_objects_are_callables_too(tmp_path: Path) -> None:
    run(
        "from trimtab.builder.source.callable import pack\n"
        "class Handler:\n    def __init__(self): self.n = 4\n    def __call__(self, context, event): return self.n + event\n"
        "for name, each in {'a': lambda c, e: e + 1, 'b': Handler, 'c': Handler()}.items():\n"
        "    packed = pack(each)\n    open(name, 'w').write(packed.handler + '\\n' + packed.text)\n",
        tmp_path,
    )
    answers = {}
    for name in "abc":
        handler, _, text = (tmp_path / name).read_text().partition("\n")
        answers[name] = (handler, call(text, handler, tmp_path))
    assert answers == {"a": ("handler:handler", "4"), "b": ("handler:Handler", "7"), "c": ("handler:Handler", "7")}


def with_lock(context: Any, event: Any) -> Any:
    return LOCK


def with_default(context: Any, event: Any, *, lock: Any = threading.Lock()) -> Any:  # noqa: B008
    return lock


def with_data(context: Any, event: Any) -> int:
    return len(BIG)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (with_lock, "'LOCK', which it uses, is of type _thread.lock and cannot be (cannot pickle"),
        (with_default, "'lock=', which it uses, is of type _thread.lock and cannot be (cannot pickle"),
        (with_data, "this one carries 20 MiB. Most of it is 'BIG' (20 MiB). Load it inside the function"),
        (3, "handler: found 3, allowed: a function, or the name of one in a file"),
    ],
)
def test_what_cannot_be_shipped_is_named(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        pack(function)
    assert message in str(caught.value)


def test_versions_are_checked_where_the_function_is_loaded(tmp_path: Path) -> None:
    text = pack(with_default.__class__).text.replace("python='3.", "python='2.")
    (tmp_path / "handler.py").write_text(text)
    with pytest.raises(HandlerError) as caught:
        load("handler:function", tmp_path)
    here = ".".join(map(str, sys.version_info[:3]))
    assert f"'function' cannot be used here: it was pickled under Python 2.{here[2:]}, and this is {here}" in str(
        caught.value
    )
    numpy = importlib.import_module("numpy").__version__
    assert differences(here, {"numpy": "0.1", "nothing-of-this-name": "1.0"}) == [
        "nothing-of-this-name 1.0, and it is not installed here",
        f"numpy 0.1, and this is {numpy}",
    ]
    assert differences(here, {"numpy": numpy}) == []


def test_a_broken_pickle_says_so(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "from trimtab.runtime.pickled import unpickle\n\n"
        f"f = unpickle('aGFsbG8=', name='f', python='{sys.version_info[0]}.{sys.version_info[1]}.0', versions={{}})\n"
    )
    with pytest.raises(HandlerError, match=r"^'f' cannot be unpickled: UnpicklingError: "):
        load("handler:f", tmp_path)


def test_a_function_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a function without `filename`$"):
        trimtab.code_to_function(handler=with_lock, filename="x.py")


def test_a_function_can_be_given_to_new_function_as_well() -> None:
    fn = trimtab.new_function("sum", handler=lambda context, event: event)
    assert (fn.metadata.name, fn.function.spec.handler, fn.kind) == ("sum", "handler:handler", "http")
