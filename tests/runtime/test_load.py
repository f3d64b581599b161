"""A handler is found, or it is said why not, and its kind is told by its shape."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from trimtab.errors import ImportFailed, ModuleMissing, NameMissing
from trimtab.runtime.load import frames, load

NAMES = ("model", "modell", "named", "shelf", "broken")
"""Modules that are written here."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = list(sys.path)
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:  # of other tests
        del sys.modules[name]
    modules = set(sys.modules)
    sys.path[:] = [entry for entry in path if not entry.startswith(str(tmp_path.parent))]
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source))
    return path


# Three different messages


def test_no_such_module(folder: Path) -> None:
    write(folder, "model.py", "")
    with pytest.raises(ModuleMissing, match=r"no module 'modell' in .*; there is model$"):
        load("modell:handler", folder)
    with pytest.raises(ModuleMissing, match=r"no file 'x/modell.py' in .*; there is no .py file$"):
        load("x/modell.py", folder)
    with pytest.raises(ModuleMissing, match="no handler is named"):
        load(":handler", folder)


def test_a_package_without_that_module(folder: Path) -> None:
    write(folder, "shelf/__init__.py", "")
    with pytest.raises(ModuleMissing, match=r"no module 'shelf.box'"):
        load("shelf.box:handler", folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import broken.inner", "ModuleNotFoundError: No module named 'broken.inner'"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError", "ValueError$"),
    ],
)
def test_the_module_failed(folder: Path, source: str, message: str) -> None:
    write(folder, "broken.py", source)
    with pytest.raises(ImportFailed, match=f"'broken' failed while it was imported: {message}") as caught:
        load("broken:handler", folder)
    assert "broken.py" in caught.value.traceback
    assert "importlib" not in caught.value.traceback
    assert "trimtab" not in caught.value.traceback.replace(str(folder), "")


def test_a_package_that_fails_is_not_called_missing(folder: Path) -> None:
    write(folder, "shelf/__init__.py", "import no_such_library")
    write(folder, "shelf/box.py", "def handler(event): ...")
    with pytest.raises(ImportFailed, match="no_such_library"):
        load("shelf.box:handler", folder)


def test_a_module_may_be_corrected_and_loaded_again(folder: Path) -> None:
    path = write(folder, "repaired.py", "1/0")
    with pytest.raises(ImportFailed):
        load("repaired", folder)
    path.write_text("def handler(event):\n    return 'repaired, and longer'\n")
    assert load("repaired", folder).call(None) == "repaired, and longer"


def test_no_such_name(folder: Path) -> None:
    write(
        folder,
        "named.py",
        "from json import dumps\ndef first(e): ...\nasync def second(e): ...\ndef _own(e): ...\nx = 1",
    )
    with pytest.raises(NameMissing, match=r"'named' has no 'third'; found: first, second$"):
        load("named:third", folder)
    with pytest.raises(NameMissing, match=r"has no 'handler', 'main', .*; name one of: first, second$"):
        load("named", folder)
    with pytest.raises(NameMissing, match="named:x is a int, which cannot be called"):
        load("named:x", folder)


@pytest.mark.parametrize(
    "source", ["def handler(): ...", "def handler(a, b, c): ...", "class handler:\n    def __call__(self): ..."]
)
def test_no_such_shape(folder: Path, source: str) -> None:
    write(folder, "shaped.py", source)
    with pytest.raises(NameMissing, match=r"a handler takes \(context, event\), \(event\) or \(scope, receive, send\)"):
        load("shaped", folder)


# Where it is


def test_a_name_may_be_left_out(folder: Path) -> None:
    write(folder, "usual.py", "def main(e): ...\ndef handle(e): ...")
    assert load("usual", folder).name == "main"
    write(folder, "only.py", "import json\ndef init_context(c): ...\ndef it(e): ...")
    loaded = load("only.py", folder)
    assert loaded.name == "it"
    assert loaded.init is not None


def test_a_handler_may_be_inside_something(folder: Path) -> None:
    write(folder, "nested.py", "class A:\n    @staticmethod\n    def run(event):\n        return 'inside'")
    assert load("nested:A.run", folder).call(None) == "inside"
    with pytest.raises(NameMissing, match=r"has no 'A.walk'"):
        load("nested:A.walk", folder)


def test_a_module_of_a_package_or_a_folder(folder: Path) -> None:
    write(folder, "shelf/__init__.py", "")
    write(folder, "shelf/words.py", "WORD = 'shelf'")
    write(folder, "shelf/box.py", "from .words import WORD\ndef handler(event):\n    return WORD")
    assert load("shelf.box", folder).call(None) == "shelf"
    write(folder, "drawer/help.py", "WORD = 'drawer'")
    write(folder, "drawer/pen.py", "from help import WORD\ndef handler(event):\n    return WORD")
    assert load("drawer/pen.py", folder).call(None) == "drawer"
    assert load(str(folder / "drawer" / "pen.py"), Path("/")).call(None) == "drawer"


def test_a_file_by_a_name_that_cannot_be_imported(folder: Path) -> None:
    write(folder, "my-function.v2.py", "def handler(event):\n    return 'odd'")
    assert load("my-function.v2.py", folder).call(None) == "odd"


def test_an_installed_module(folder: Path) -> None:
    assert load("textwrap:dedent", folder).call is dedent


@pytest.mark.parametrize("name", ["json", "time", "sys", "numpy"])
def test_a_file_named_like_a_library_that_is_loaded_leaves_the_library_alone(folder: Path, name: str) -> None:
    library = __import__(name)
    write(folder, f"{name}.py", f"import {name} as library\ndef handler(event):\n    return library.__name__")
    loaded = load(name, folder)
    assert sys.modules[name] is library
    assert loaded.call(None) == name
    with pytest.raises(NameMissing):
        load(f"{name}:no_such_name", folder)


def test_a_package_named_like_a_library_that_is_loaded(folder: Path) -> None:
    write(folder, "json/__init__.py", "from .part import handler")
    write(folder, "json/part.py", "def handler(event):\n    return 'mine'")
    assert load("json:handler", folder).call(None) == "mine"
    assert sys.modules["json"] is json


def test_functions_of_one_name_in_several_folders(folder: Path) -> None:
    for which in ("a", "b"):
        write(folder, f"{which}/function_of_many.py", f"def handler(event):\n    return {which!r}")
    found = [load("function_of_many", folder / which).call(None) for which in ("a", "b", "a")]
    assert found == ["a", "b", "a"]


# What it is


@pytest.mark.parametrize(
    ("source", "flavour", "arity"),
    [
        ("def handler(context, event): ...", "event", 2),
        ("async def handler(context, event): ...", "event", 2),
        ("def handler(event): ...", "event", 1),
        ("def handler(event, verbose=False): ...", "event", 1),
        ("def handler(context, event=None): ...", "event", 2),
        ("def handler(*args, **kwargs): ...", "event", 2),
        ("def handler(event, *args): ...", "event", 2),
        ("async def handler(event):\n    yield", "event", 1),
        ("class handler:\n    def __call__(self, context, event): ...", "event", 2),
        ("class handler:\n    async def handle(self, event): ...", "event", 1),
        ("import functools\nhandler = functools.partial(lambda a, context, event: a, 1)", "event", 2),
        ("import functools\ndef f(context, event): ...\n@functools.wraps(f)\ndef handler(*a): ...", "event", 2),
        ("async def handler(scope, receive, send): ...", "asgi", 2),
        ("async def handler(s, r, x): ...", "asgi", 2),
        ("class handler:\n    async def __call__(self, scope, receive, send): ...", "asgi", 2),
        ("from starlette.applications import Starlette\nhandler = Starlette()", "asgi", 2),
        ("async def handle(scope, receive, send): ...", "knative", 2),
        ("class F:\n    async def handle(self, scope, receive, send): ...\ndef new():\n    return F()", "knative", 2),
        ("class handler:\n    async def handle(self, scope, receive, send): ...", "knative", 2),
    ],
)
def test_the_kind_is_told_by_the_shape(folder: Path, source: str, flavour: str, arity: int) -> None:
    write(folder, "kinds.py", source)
    loaded = load("kinds", folder)
    assert (loaded.flavour, loaded.arity) == (flavour, arity)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def new():\n    return 1", NameMissing),
        ("def new():\n    1/0", ImportFailed),
        ("class handler:\n    def __init__(self):\n        raise SystemExit", ImportFailed),
        ("class handler: ...", NameMissing),
        ("class handler:\n    def __init__(self, model): ...\n    def __call__(self, event): ...", ImportFailed),
    ],
)
def test_an_object_that_cannot_be_made(folder: Path, source: str, error: type[Exception]) -> None:
    write(folder, "made.py", source)
    with pytest.raises(error):
        load("made", folder)


def test_a_job_takes_any_parameters(folder: Path) -> None:
    write(folder, "training.py", "def train(context, rows: int, *, deep=False): ...")
    assert load("training:train", folder, job=True).name == "train"


# Tracebacks


def test_a_traceback_begins_with_the_users_frames(folder: Path) -> None:
    write(folder, "importlib_demo/failing.py", "def handler(event):\n    return 1 / event")
    loaded = load("importlib_demo/failing.py", folder)
    try:
        loaded.call(0)
    except ZeroDivisionError as exc:
        text = frames(exc)
    assert "return 1 / event" in text
    assert "ZeroDivisionError" in text


def test_a_traceback_of_our_own_is_whole() -> None:
    from trimtab.runtime.codec import to_json

    with pytest.raises(TypeError) as caught:
        to_json(object())
    assert caught.tb is not None
    assert "in _plain" in frames(caught.value.with_traceback(caught.tb.tb_next))


# Nuclio's package


NUCLIO = """
    import json
    import nuclio_sdk
    from nuclio_sdk import Event, Logger

    def init_context(context):
        setattr(context.user_data, "seen", 0)
        context.logger.info_with("init", worker=context.worker_id)

    def handler(context: nuclio_sdk.Context, event: Event):
        context.user_data.seen += 1
        if event.path == "/fail":
            raise nuclio_sdk.ExceptionWithResponse(409, "taken")
        if event.path == "/dict":
            return nuclio_sdk.Response(body={"own": nuclio_sdk.__file__ is not None if hasattr(nuclio_sdk, "__file__") else False})
        return nuclio_sdk.Response(
            body=json.dumps({"seen": context.user_data.seen, "kind": event.trigger.kind, "headers": event.headers}),
            headers={"x-seen": context.user_data.seen},
            content_type="application/json",
            status_code=201,
        )
    """

ASK = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import load

async def main():
    app = App(load("function.py:handler", Path(sys.argv[1])), ReplicaConfig())
    await app.startup()
    for path in ("/", "/fail", "/dict"):
        sent = []
        async def receive():
            return {"type": "http.request", "body": b""}
        async def send(message):
            sent.append(message)
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"x-own", b"1")]}
        await app(scope, receive, send)
        print(json.dumps([sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"].decode()]))
    await app.shutdown()

asyncio.run(main())
"""

# What the package looks like from outside, in as much as functions see of it.
PACKAGE = """
class Response:
    def __init__(self, headers=None, body=None, content_type=None, status_code=200, event_id=None):
        self.headers, self.body, self.status_code = headers or {}, body, status_code
        self.content_type, self.event_id = content_type or "text/plain", event_id

class ExceptionWithResponse(IOError):
    def __init__(self, status_code, body=None, content_type=None):
        self.status_code, self.body, self.content_type = status_code, body, content_type

class Event: ...
class Logger: ...
class Context: ...
"""


@pytest.mark.parametrize("installed", [False, True])
def test_a_function_written_for_nuclio_runs_with_and_without_its_package(tmp_path: Path, installed: bool) -> None:
    write(tmp_path, "function.py", NUCLIO)
    packages = tmp_path / "packages"
    packages.mkdir()
    if installed:
        write(packages, "nuclio_sdk/__init__.py", PACKAGE)
    run = subprocess.run([sys.executable, "-c", ASK, tmp_path, packages], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answers: list[Any] = [json.loads(line) for line in run.stdout.splitlines()]
    status, headers, body = answers[0]
    assert (status, headers["x-seen"], headers["content-type"]) == (201, "1", "application/json")
    assert json.loads(body) == {"seen": 1, "kind": "http", "headers": {"x-own": "1"}}
    assert (answers[1][0], answers[1][2]) == (409, "taken")
    assert (answers[2][1]["content-type"], json.loads(answers[2][2])) == ("application/json", {"own": installed})
