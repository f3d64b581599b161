from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.builder.abc import Content, Declared
from trimtab.builder.requirements import uv
from trimtab.builder.requirements.declared import declared
from trimtab.builder.requirements.listing import entries, redacted
from trimtab.errors import BuildError, SpecError

SCRIPT = '# /// script\n# requires-python = ">=3.12"\n# dependencies = [\n#   "six>=1",\n#   "iniconfig",\n# ]\n# ///\nimport six\n'
PROJECT = '[project]\nname = "f"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n'


def read(files: dict[str, str], notes: list[str] | None = None) -> Declared:
    contents: dict[str, Content] = {name: text.encode() for name, text in files.items()}
    return declared(contents, "main.py" if "main.py" in files else None, None, [] if notes is None else notes)


def test_a_script_block_says_what_its_file_needs() -> None:
    found = read({"main.py": SCRIPT})
    assert (found.lines, found.where, found.python) == (
        ["six>=1", "iniconfig"],
        "the script block of main.py",
        ">=3.12",
    )


def test_the_nearest_declaration_wins_and_the_others_are_named() -> None:
    notes: list[str] = []
    files = {"main.py": SCRIPT, "requirements.txt": "a\n", "pyproject.toml": PROJECT}
    assert read(files, notes).where == "the script block of main.py"
    assert notes == [
        "requirements.txt is not read: the script block of main.py says what is required",
        "pyproject.toml is not read: the script block of main.py says what is required",
    ]
    assert read({"requirements.txt": "a\n", "pyproject.toml": PROJECT}).lines == ["a"]
    assert read({"pyproject.toml": PROJECT}).lines == ["six"]
    assert read({"main.py": "x = 1\n", "pyproject.toml": "[tool.ruff]\n"}) == Declared()


def test_a_requirements_file_is_read_as_pip_reads_it() -> None:
    notes: list[str] = []
    files = {
        "requirements.txt": (
            "\ufeff# head\nsix >= 1.0  # why\r\n\npandas[x,y]>=2 ; python_version < '3.13'\nlong \\\n  ==1.0\n-r sub/more.txt\n"
            "--index-url https://h/simple\n--extra-index-url=https://${USER}:${PASS}@k/simple\n--pre\n-c limits.txt\n"
            "x @ https://h/x#egg=x\n./wheels/y-1-py3-none-any.whl"
        ),
        "sub/more.txt": "--requirement ../third.txt\ndeep\n",
        "third.txt": "third\n",
        "limits.txt": "six<2\n",
    }
    found = read(files, notes)
    assert found.lines == [
        "six >= 1.0",
        "pandas[x,y]>=2 ; python_version < '3.13'",
        "long    ==1.0",
        "third",
        "deep",
        "--index-url https://h/simple",
        "--extra-index-url https://${USER}:${PASS}@k/simple",
        "x @ https://h/x#egg=x",
        "./wheels/y-1-py3-none-any.whl",
    ]
    assert (found.constraints, found.lock) == (["six<2"], None)
    assert notes == ["requirements.txt, line 10: --pre is not carried over"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "-e .",
            "requirements.txt, line 1: found '-e .', allowed: packages with a version. -e installs from a folder that",
        ),
        ("six\n--editable=./lib", "requirements.txt, line 2: found '--editable=./lib'"),
        (
            "-r gone.txt",
            "spec.build.requirements: found 'gone.txt', allowed: one of the source's files: requirements.txt",
        ),
        (
            "-r ../../etc/passwd",
            "line 1: found '../../etc/passwd', allowed: a file of the same source, by its relative path",
        ),
        ("-r /etc/passwd", "found '/etc/passwd', allowed: a file of the same source"),
        ("-r https://me:geheim@h/r.txt", "found 'https://***@h/r.txt', allowed: a file of the same source"),
        (
            "-r requirements.txt",
            "requirements.txt -> requirements.txt: found 'a file that includes itself', allowed: files",
        ),
        (
            "--index-url https://me:geheim@h/simple",
            "found 'https://***@h/simple', allowed: an index without credentials. Put",
        ),
        ("-i https://geheim@h/simple", "found 'https://***@h/simple', allowed: an index without credentials"),
        ("--find-links https://me:geheim@h/x", "found 'https://***@h/x', allowed: an index without credentials"),
    ],
)
def test_what_a_requirements_file_must_not_say_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read({"requirements.txt": text})
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_hashes_make_a_lock() -> None:
    found = read(
        {"requirements.txt": f"six==1.17.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"}
    )
    assert found.lines == ["six==1.17.0"]
    assert found.lock is not None
    assert b"a" * 64 in found.lock
    assert read({"requirements.txt": f"six==1.17.0 --hash=sha256:{'a' * 64}\nother\n"}).lock is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main.py": SCRIPT.replace("[\n", "{\n")}, "the script block of main.py: found"),
        ({"main.py": SCRIPT + SCRIPT}, "main.py: found \"2 blocks '# /// script'\", allowed: one"),
        (
            {"main.py": '# /// script\n# dependencies = "six"\n# ///\n'},
            "dependencies: found 'six', allowed: a list of texts",
        ),
        ({"pyproject.toml": "[project"}, "pyproject.toml: found"),
        ({"pyproject.toml": "[project]\ndependencies = [1]\n"}, "pyproject.toml: project.dependencies: found [1]"),
        ({"uv.lock": "version = 1\n"}, "uv.lock: found 'no pyproject.toml beside it'"),
    ],
)
def test_declarations_that_cannot_be_read_say_where(files: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(files)
    assert message in str(caught.value)


def test_dynamic_dependencies_are_named() -> None:
    notes: list[str] = []
    assert read({"pyproject.toml": '[project]\nname = "f"\ndynamic = ["dependencies"]\n'}, notes).lines == []
    assert notes == ["pyproject.toml: dependencies are dynamic, so they are not read: list them in requirements.txt"]


def test_a_requirements_file_that_is_not_utf8_says_so() -> None:
    with pytest.raises(SpecError, match=r"^requirements\.txt: found b'\\xff', allowed: text in UTF-8$"):
        declared({"requirements.txt": b"\xff"}, None, None, [])


def test_a_uv_lock_gives_its_versions_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace('["six"]', '["iniconfig<2.1"]'))
    subprocess.run([uv.find(), "lock", "--quiet"], cwd=tmp_path, check=True, env=uv.environ())
    files = {name: (tmp_path / name).read_text() for name in ("pyproject.toml", "uv.lock")}
    notes: list[str] = []
    found = read({**files, "requirements.txt": "other\n"}, notes)
    assert found.where == "uv.lock"
    assert found.lines == ["iniconfig==2.0.0"]
    assert b"--hash=sha256:" in (found.lock or b"")
    assert b"://" not in (found.lock or b"")
    assert notes == ["requirements.txt is not read: uv.lock says what is required"]
    with pytest.raises(BuildError, match=r"^uv\.lock cannot be used:"):
        read({**files, "uv.lock": "version = 99\n"})
    shutil.rmtree(tmp_path)


@given(st.lists(st.sampled_from(["six", " six==1.0 # c", "# c", "", "a \\", "\\", "  b\\", "#\\", "x#y"]), max_size=8))
def test_logical_lines_keep_the_number_of_their_first_line(lines: list[str]) -> None:
    numbers = [number for _, number in entries("\n".join(lines))]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= len(lines) for number in numbers)


@given(st.text(st.characters(exclude_characters="/ '\"\n\r\t", categories=("L", "N", "P", "S")), min_size=1))
def test_credentials_never_survive_redaction(secret: str) -> None:
    text = f"failed for https://user:{secret}x7@host/path and https://{secret}x7@host"
    assert f"{secret}x7" not in redacted(text)
