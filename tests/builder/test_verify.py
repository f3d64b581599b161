from __future__ import annotations

import time
from pathlib import Path

import pytest

from trimtab.builder.abc import Code
from trimtab.builder.verify import Sample, verify
from trimtab.errors import NotVerified


def code(text: str, **more: bytes) -> Code:
    return Code(files={"main.py": text.encode(), **more}, handler="main:handler")


def test_a_handler_that_answers_the_sample_is_verified() -> None:
    text = (
        "import os, sys\nfrom helper import X\n\nasync def handler(context, event):\n"
        "    return {'got': event.body, 'path': event.path, 'x': X, 'env': os.environ.get('A'), 'odd': 'ODD' in os.environ}\n"
    )
    done = verify(code(text, **{"helper.py": b"X = 1\n"}), sample=Sample(body=[1], path="/p"), env={"A": "b"})
    assert (done.status, done.answer) == (200, '{"got":[1],"path":"/p","x":1,"env":"b","odd":false}')
    assert done.ms > 0


def test_init_context_and_emitting_work_in_it() -> None:
    text = (
        "def init_context(context): context.user_data.n = 3\n"
        "def handler(context, event):\n    context.emit(type='a.b', data={})\n    return str(context.user_data.n)\n"
    )
    assert verify(code(text)).answer == "3"


def test_a_job_is_called_with_parameters() -> None:
    done = verify(
        code("def handler(context, n: int):\n    return n * 2\n"), kind="job", sample=Sample(parameters={"n": 4})
    )
    assert (done.status, done.answer) == (0, "{'return': 8}")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "import nothing_here\n",
            "http",
            "main:handler fails in a clean process: 'main' failed while it was imported: Module",
        ),
        ("x = ghost\n", "http", "NameError: name 'ghost' is not defined"),
        ("x = 1\n", "http", "'main' has no 'handler'; found: nothing"),
        (
            "def handler(context, event): return ghost\n",
            "http",
            "the sample is answered by 500: NameError: name 'ghost'",
        ),
        (
            "def handler(context, event): return event.body['x']\n",
            "http",
            "the sample is answered by 500: KeyError: 'x' (is it the sample that it cannot take?)",
        ),
        ("def init_context(context): ghost\ndef handler(context, event): pass\n", "http", "NameError: name 'ghost'"),
        ("def handler(context, n: int): pass\n", "job", "parameter n: "),
        ("def handler(context): raise KeyError('no')\n", "job", "fails in a clean process: KeyError: 'no'"),
        ("import os\nos._exit(3)\n", "http", "main:handler: its process ended with code 3: it said nothing"),
        ("import sys\nsys.exit('bye')\n", "http", "SystemExit: bye"),
    ],
)
def test_what_fails_in_a_clean_process_is_told(text: str, kind: str, message: str) -> None:
    with pytest.raises(NotVerified) as caught:
        verify(code(text), kind=kind)
    assert message in str(caught.value)


def test_a_handler_that_hangs_is_given_up() -> None:
    with pytest.raises(NotVerified, match=r"^main:handler has not answered the sample within 2 s$"):
        verify(code("import time\ntime.sleep(600)\n"), timeout=2.0)


def test_what_the_handler_started_ends_with_it(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ndef handler(context, event): return 1\n"
    )
    assert verify(code(text)).status == 200
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while (
        Path(f"/proc/{pid}/stat").exists()
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_names_of_the_notebooks_memory_fail_though_the_sample_does_not_reach_them() -> None:
    text = "def handler(context, event):\n    return 1 if event.body == {} else model\n"
    hidden = code(text)
    hidden.undefined = ["cell 1, line 2 uses 'model', which no exported cell defines"]
    with pytest.raises(NotVerified) as caught:
        verify(hidden)
    assert str(caught.value) == (
        "main:handler fails in a clean process: only the notebook's memory has what it uses:\n"
        "  cell 1, line 2 uses 'model', which no exported cell defines"
    )


def test_nothing_of_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    verify(code("def handler(context, event): open('left', 'w').close()\n"))
    assert list(tmp_path.iterdir()) == []
