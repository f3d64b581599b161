from __future__ import annotations

from pathlib import Path

import click
import pytest

from trimtab.cli.source import read, split
from trimtab.errors import SpecError


def test_a_file_is_a_function_named_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "My_Func v2.py").touch()
    monkeypatch.chdir(tmp_path)
    function = read("My_Func v2.py")
    assert function.metadata.name == "my-func-v2"
    assert function.spec.source.path == str(tmp_path / "My_Func v2.py")
    assert function.spec.handler == "My_Func v2"


def test_a_name_after_a_colon_is_the_handler(hello: Path) -> None:
    assert read(f"{hello}:greet").spec.handler == "hello:greet"


def test_a_file_with_a_colon_in_its_name_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "a:b.py").touch()
    assert split(f"{tmp_path}/a:b.py") == (tmp_path / "a:b.py", "")
    assert split(f"{tmp_path}/a:b.py:c") == (tmp_path / "a:b.py", "c")


def test_a_folder_is_taken_as_it_is(tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    function = read(str(folder))
    assert (function.metadata.name, function.spec.source.path, function.spec.handler) == ("shop", str(folder), "")
    monkeypatch.chdir(folder)
    assert read(".").metadata.name == "shop"


def test_a_folders_document_describes_it(tmp_path: Path) -> None:
    (tmp_path / "function.yaml").write_text(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: greet}\nspec: {handler: 'x:y'}\n"
    )
    function = read(str(tmp_path))
    assert (function.metadata.name, function.spec.handler) == ("greet", "x:y")
    assert function.spec.source.path == str(tmp_path)


@pytest.mark.parametrize(("file", "name"), [("shop/function.yaml", "shop"), ("shop/resize.yml", "resize")])
def test_a_document_without_a_name_is_named_after_where_it_is(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text("apiVersion: trimtab.dev/v1\nkind: Function\nspec: {handler: 'x:y'}\n")
    assert read(str(path)).metadata.name == name


def test_what_a_foreign_document_loses_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "function.yaml"
    path.write_text(
        "apiVersion: nuclio.io/v1\nkind: NuclioFunction\nmetadata: {name: old}\n"
        "spec: {handler: 'main:handle', runtime: 'python:3.11', loggerSinks: [{level: debug}]}\n"
    )
    leftovers: list[str] = []
    assert read(str(path), leftovers).metadata.name == "old"
    assert any("loggerSinks" in leftover for leftover in leftovers)
    assert capsys.readouterr().err == ""
    read(str(path))
    assert "warning: not carried over: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.py", "there is no 'gone.py' here"),
        ("gone.py:x", "there is no 'gone.py' here"),
        ("hello.py:", "has a colon and no name after it"),
        ("notes.txt", "neither FILE.py[:handler], NOTEBOOK.ipynb[:handler], git+URL@REF#FOLDER, a folder"),
        ("function.yaml:x", "neither FILE.py[:handler], NOTEBOOK.ipynb[:handler], git+URL@REF#FOLDER, a folder"),
    ],
)
def test_what_is_no_source_is_refused(
    tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "function.yaml").touch()
    with pytest.raises(click.BadParameter) as caught:
        read(source)
    assert message in caught.value.format_message()


def test_a_refused_document_is_a_spec_error(tmp_path: Path) -> None:
    (tmp_path / "function.yaml").write_text("apiVersion: trimtab.dev/v1\nkind: Function\nspec: {handlr: x}\n")
    with pytest.raises(SpecError, match="handlr"):
        read(str(tmp_path))
