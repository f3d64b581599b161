from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from trimtab.builder.source import read_source
from trimtab.errors import SpecError
from trimtab.spec import Build, Source


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def names(root: Path, handler: str = "main") -> list[str]:
    return list(read_source(Source(path=str(root)), Build(), handler).files)


def notes(root: Path) -> list[str]:
    return read_source(Source(path=str(root)), Build(), "main").notes


def test_a_folder_is_read_without_what_tools_leave_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "", "data/x.csv": "", ".git/config": "", "__pycache__/main.pyc": "", ".venv/bin/x": ""})
    assert names(tmp_path) == ["data/x.csv", "main.py"]


def test_ignore_files_leave_out_and_take_back(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.py": "",
            "a.log": "",
            "keep.log": "",
            "big.bin": "",
            "build/x.py": "",
            "sub/b.log": "",
            "sub/c.tmp": "",
            ".gitignore": "*.log\n!keep.log\n/build/\nbig.bin\n",
            "sub/.gitignore": "!b.log\n*.tmp\r\n",
            ".trimtabignore": "!big.bin\nkeep.log\n",
        },
    )
    assert names(tmp_path) == [".gitignore", ".trimtabignore", "big.bin", "main.py", "sub/.gitignore", "sub/b.log"]


def test_all_in_a_folder_but_one_file_can_be_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"main.py": "", "data/a": "", "data/keep.txt": "", "data/sub/b": "", ".gitignore": "data/**\n!data/keep.txt\n"},
    )
    assert names(tmp_path) == [".gitignore", "data/keep.txt", "main.py"]


def test_the_rules_of_the_repository_around_a_folder_count(tmp_path: Path) -> None:
    write(tmp_path, {".git/HEAD": "", ".gitignore": ".env\nfunctions/*/data/\n"})
    folder = write(tmp_path / "functions" / "one", {"main.py": "", ".env": "SECRET=1", "data/x": "", "sub/.env": ""})
    assert names(folder) == ["main.py"]


def test_a_folder_that_its_repository_ignores_is_read_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, {".git/HEAD": "", ".gitignore": "/scratch/\n*.csv\n"})
    folder = write(tmp_path / "scratch" / "one", {"main.py": "", "x.csv": ""})
    assert names(folder) == ["main.py", "x.csv"]


def test_a_handler_that_is_ignored_is_told_with_the_rule_and_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "", "other.py": "", ".gitignore": "*.txt\nmai*.py\n"})
    with pytest.raises(SpecError) as caught:
        names(tmp_path, "main:handler")
    assert str(caught.value) == (
        "spec.handler: found 'main:handler', allowed: a module that is not ignored. main.py is left out by 'mai*.py' in "
        ".gitignore: write '!main.py' into .trimtabignore to take it"
    )
    write(tmp_path, {".trimtabignore": "!main.py\n"})
    assert "main.py" in names(tmp_path, "main:handler")


def test_a_handler_in_a_folder_that_is_ignored_is_told_with_the_folder(tmp_path: Path) -> None:
    write(tmp_path, {"lib/main.py": "", "other.py": "", ".gitignore": "lib/\n"})
    with pytest.raises(
        SpecError, match=r"lib/ is left out by 'lib/' in \.gitignore: write '!lib/' into \.trimtabignore"
    ):
        names(tmp_path, "lib.main:handler")
    write(tmp_path, {".trimtabignore": "!lib/\n"})
    assert "lib/main.py" in names(tmp_path, "lib.main:handler")


def test_a_folder_whose_only_module_is_ignored_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "", ".gitignore": "*\n"})
    with pytest.raises(SpecError, match=r"main\.py is left out by '\*' in \.gitignore: write '!main\.py' into"):
        names(tmp_path, "")


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "", "shared/a.py": "1"})
    (tmp_path / "b.py").symlink_to("shared/a.py")
    (tmp_path / "again").symlink_to("shared")
    code = read_source(Source(path=str(tmp_path)), Build(), "main")
    assert list(code.files) == ["again/a.py", "b.py", "main.py", "shared/a.py"]
    assert isinstance(path := code.files["b.py"], Path)
    assert path.read_text() == "1"


@pytest.mark.parametrize("to", ["/etc/passwd", "../secret", "inner/../../secret"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, to: str) -> None:
    (tmp_path / "secret").write_text("x")
    folder = write(tmp_path / "f", {"main.py": "", "inner/x": ""})
    (folder / "leak").symlink_to(to)
    with pytest.raises(SpecError) as caught:
        names(folder)
    assert f"leak, a link to {to}, outside the folder" in str(caught.value)
    assert "list it in .trimtabignore" in str(caught.value)
    write(folder, {".trimtabignore": "leak\n"})
    assert "leak" not in names(folder)


def test_absolute_links(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", {"main.py": ""})
    (folder / "etc").symlink_to("/etc")
    with pytest.raises(SpecError, match=r"etc, a link to /etc, outside the folder"):
        names(folder)


def test_links_that_go_round_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", {"main.py": "", "sub/x": ""})
    (folder / "sub" / "up").symlink_to("..")
    with pytest.raises(SpecError, match=r"sub/up, a link to .*, which it lies in: it has no end"):
        names(folder)
    (folder / "sub" / "up").unlink()
    (folder / "self").symlink_to("self")
    with pytest.raises(SpecError, match=r"self, a link to self, which leads back to itself"):
        names(folder)


def test_links_to_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": ""})
    (tmp_path / ".#main.py").symlink_to("nobody@nowhere")
    assert names(tmp_path) == ["main.py"]
    assert notes(tmp_path) == [".#main.py is left out: it is a link to nobody@nowhere, which is missing"]


def test_sockets(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": ""})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(tmp_path / "sock"))
    with pytest.raises(SpecError, match=r"sock, which is a socket', allowed: files, folders and links, or a line in "):
        names(tmp_path)
    write(tmp_path, {".trimtabignore": "sock\n"})
    assert "sock" not in names(tmp_path)


def test_pipes(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": ""})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match=r"pipe, which is a pipe', allowed: files, folders and links"):
        names(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": ""})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(SpecError, match=r"caf\\\\udce9\.txt, whose name is not UTF-8"):
        names(tmp_path)


def test_umlauts_and_spaces_are_names_like_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "Größe 1", {"main.py": "", "Maß stab/ä.py": ""})
    assert names(folder) == ["Maß stab/ä.py", "main.py"]


def test_a_file_alone_says_what_it_leaves_behind(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "", "requirements.txt": "six\n"})
    code = read_source(Source(path=str(tmp_path / "main.py")), Build(), "main")
    assert (list(code.files), code.handler, code.requirements.lines) == (["main.py"], "main", [])
    assert code.notes == [
        (
            "requirements.txt lies beside main.py and is not read: a file is taken alone. Name it (--requirements "
            "requirements.txt), or deploy the folder"
        )
    ]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("x.txt", "a .py file, an .ipynb notebook or a folder"), ("nothing", "a file or folder that exists")],
)
def test_what_is_no_source_is_refused(tmp_path: Path, path: str, allowed: str) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(SpecError) as caught:
        names(tmp_path / path)
    assert str(caught.value) == f"spec.source.path: found {str(tmp_path / path)!r}, allowed: {allowed}"


def test_the_module_is_found_where_none_is_named(tmp_path: Path) -> None:
    def handler(given: str = "") -> str:
        return read_source(Source(path=str(tmp_path)), Build(), given).handler

    write(tmp_path, {"only.py": "", "sub/other.py": ""})
    assert handler() == "only"
    assert handler(":run") == "only:run"
    write(tmp_path, {"second.py": ""})
    with pytest.raises(SpecError, match=r"allowed: module:name, with module one of only, second$"):
        handler()
    write(tmp_path, {"handler.py": ""})
    assert handler() == "handler"
