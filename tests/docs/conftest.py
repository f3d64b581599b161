"""Pages as sessions: their commands are run in order in one home, on a terminal, and must print what the page shows.

A page's fenced blocks are told apart by the first word behind the fence:

- `console`: lines that begin with `$ ` are commands, the others what they print. `skip="reason"` says why one is not run.
- `python file=NAME`, `yaml file=NAME`: the file is written, and must be valid. Without `file`, Python is run as a script
  (a block `output` behind it shows what it prints) and YAML must be a function's description.
- `json` must be JSON. `text` is a picture.

What differs from run to run (ports, ids, times) may differ. A port or id that a command has shown is put into the
commands behind it, as a reader would do. A line `...` stands for any lines, `...` in a line for any text.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from trimtab.config import settings
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import TrimtabError

ROOT = Path(__file__).parents[2]
GENERATED = ("spec.md", "cli.md", "benchmarks.md")

_FENCE = re.compile(r"^```(\w*)[ ]*(.*)$")
_OPTION = re.compile(r'(\w+)=("[^"]*"|\S+)')
_MARK = "--- the command ended with"
_WITHIN = 60.0
_LOOK_FOR = 30.0
_READERS = re.compile(
    r"trimtab (get|ls|logs|status|events|runs|trigger (ls|history)|dead (ls|show))\b(?!.*-f\b)|(cat|head|tail|grep|curl -s) "
)
_FAILS = re.compile(r"^(error:|run \w+ (failed|cancelled)) ", re.MULTILINE)
"""What the page shows of a command that ends with another exit code than 0."""


class Block(Struct, frozen=True):
    """One fenced block."""

    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class Command(Struct, frozen=True):
    """One command of a console block and what the page shows below it."""

    line: int
    text: str
    shown: str


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if opened is None and (match := _FENCE.match(line)):
            opened, lines = (number, match[1], match[2]), []
        elif opened is not None and line == "```":
            options = {name: value.strip('"') for name, value in _OPTION.findall(opened[2])}
            found.append(Block(page.name, opened[0], opened[1], options, "\n".join(lines) + "\n"))
            opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page.name}:{opened[0]}: a fence is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """Split a console block; a command goes on in lines that begin with `> `."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        else:
            assert found, f"{block.page}:{number}: output without a command"
            goes_on = line.startswith("> ") and not found[-1][2]
            (found[-1][1] if goes_on else found[-1][2]).append(line[2:] if goes_on else line)
    return [Command(line, "\n".join(text), "\n".join(shown)) for line, text, shown in found]


# What differs from run to run. The named ones are learned: later commands of the page mean what this run showed.
_KINDS = {
    "port": (r"(?<=127\.0\.0\.1:)\d{4,5}", r"\d{4,5}", True),
    "uuid": (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", r"[0-9a-f-]{36}", True),
    "moment": (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)", r"[0-9T:.Z+-]+", False),
    "version": (r"\b\d{8}T\d{12}-[0-9a-f]{8}\b", r"\d{8}T\d{12}-[0-9a-f]{8}", True),
    "date": (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", r"[\w,: ]+ GMT", False),
    "clock": (r"\b\d\d:\d\d:\d\d\.\d{3}\b", r"\d\d:\d\d:\d\d\.\d{3}", False),
    "hex": (r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,32}\b", r"[0-9a-f]{12,32}", True),
    "span": (r"\b\d+(?:\.\d+)?(?= ?(?:ms|s|m|h|d)\b)", r"\d+(?:\.\d+)?", False),
    "any": (r"\.\.\.", r"[^\n]*", False),
}
_VOLATILE = re.compile("|".join(f"(?P<{name}>{kind[0]})" for name, kind in _KINDS.items()))
_UNIT = re.compile(r" ?(?:ms|s|m|h|d)\b")


class Session:
    """A shell on a terminal, in a folder with the examples and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder / "work"
        shutil.copytree(ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRIMTAB_", "K_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environ = {
            **kept,
            "TRIMTAB_HOME": str(self.home),
            "PATH": path,
            "NO_COLOR": "1",
            "TERM": "xterm",
            "COLUMNS": "80",
        }
        self.learned: dict[str, str] = {}
        self._script = folder / "command.sh"
        self._terminal, ours = os.openpty()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=ours,
            stderr=ours,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        )
        os.close(ours)

    def play(self, page: Path) -> None:
        """Go through the page from its top to its end."""
        printed = ""
        for block in blocks(page):
            if "skip" in block.options:
                continue
            if block.language == "console":
                for command in commands(block):
                    self.expect(block.page, command)
            elif "file" in block.options:
                (self.folder / block.options["file"]).write_text(self.put_in(block.text), "utf-8")
            elif block.language == "python":
                code, printed = self.run(f"python - <<'END OF SCRIPT'\n{block.text}END OF SCRIPT\n")
                assert code == 0, f"{block.place}: the script fails:\n{printed}"
            elif block.language == "output":
                assert self.matches(block.text, printed), f"{block.place}: shown\n{block.text}\nbut printed\n{printed}"

    def expect(self, page: str, command: Command) -> None:
        """Run a command; one that only looks is repeated for a while, for what it looks for may need a moment."""
        text = self.put_in(command.text)
        deadline = time.monotonic() + (_LOOK_FOR if _READERS.match(text) else 0)
        while True:
            code, printed = self.run(text)
            if self.matches(command.shown, printed):
                break
            if time.monotonic() > deadline:
                pytest.fail(
                    f"{page}:{command.line}: $ {text}\nis shown to print\n{command.shown}\nand printed\n{printed}"
                )
            time.sleep(0.1)
        fails = _FAILS.search(command.shown) is not None
        assert bool(code) == fails, f"{page}:{command.line}: $ {text}\nended with {code}:\n{printed}"

    def run(self, text: str) -> tuple[int, str]:
        """Run one command in the shell; give its exit code and what it printed."""
        self._script.write_text(text + "\n", "utf-8")
        assert self._shell.stdin is not None
        self._shell.stdin.write(f". {self._script} </dev/null; printf '\\n{_MARK} %d\\n' $?\n".encode())
        self._shell.stdin.flush()
        printed = b""
        deadline = time.monotonic() + _WITHIN
        while not (match := re.search(rf"\n?{_MARK} (\d+)\n", self._text(printed))):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"not within {_WITHIN:g} s: {text}\n{self._text(printed)}"
            printed += os.read(self._terminal, 65536)
        return int(match[1]), self._text(printed)[: match.start()]

    @staticmethod
    def _text(printed: bytes) -> str:
        text = printed.decode("utf-8", "replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[\d*m", "", text)

    def put_in(self, text: str) -> str:
        """Put what this run showed in the place of what the page shows."""
        for shown, here in self.learned.items():
            text = re.sub(rf"(?<![0-9a-f]){re.escape(shown)}(?![0-9a-f])", here, text)
        return text

    def matches(self, shown: str, printed: str) -> bool:
        """Compare, and learn what stands for what; nothing is learned unless all matches."""
        names: dict[str, str] = {}
        lines = [self._pattern(line, names) for line in shown.rstrip("\n").splitlines()]
        match = re.fullmatch("".join(lines), "".join(f"{_squeezed(line)}\n" for line in printed.rstrip().splitlines()))
        if match is not None:
            self.learned.update({value: match[name] for value, name in names.items()})
        return match is not None

    def _pattern(self, line: str, names: dict[str, str]) -> str:
        if line.strip() == "...":
            return r"(?:[^\n]*\n)*?"
        pattern, end = "", 0
        line = _squeezed(line)
        for found in _VOLATILE.finditer(line):
            pattern += re.escape(line[end : found.start()])
            end = found.end()
            _, wanted, learn = _KINDS[str(found.lastgroup)]
            value = found[0]
            if learn and value in self.learned:
                pattern += re.escape(self.learned[value])
            elif learn and value in names:
                pattern += f"(?P={names[value]})"
            elif learn:
                names[value] = f"n{len(names)}"
                pattern += f"(?P<{names[value]}>{wanted})"
            elif found.lastgroup == "span" and (unit := _UNIT.match(line, end)):
                pattern, end = rf"{pattern}{wanted} ?(?:ms|s|m|h|d)", unit.end()
            else:
                pattern += wanted
        return rf"{pattern}{re.escape(line[end:])}\n"

    def processes(self) -> dict[int, str]:
        """Every live process of this home, by its environment."""
        mark = f"TRIMTAB_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with contextlib.suppress(OSError):
                    ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                    if not ended and mark in (folder / "environ").read_bytes().split(b"\0"):
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def close(self) -> None:
        """End the shell and the daemon; every process of the home must end with them."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(10)
        os.close(self._terminal)
        with contextlib.suppress(TrimtabError):
            LocalTarget(settings({"TRIMTAB_HOME": str(self.home)})).down()
        deadline = time.monotonic() + 15
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not self.processes(), "the page leaves processes behind"


def _squeezed(line: str) -> str:
    return re.sub(r"[ \t]+", " ", line).strip()


def pages(*, generated: bool = True) -> list[Path]:
    found = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page for page in found if page.exists() and (generated or page.name not in GENERATED)]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    yield made
    made.close()


@pytest.fixture(name="pages")
def _pages() -> Callable[..., list[Path]]:
    return pages


@pytest.fixture(name="blocks")
def _blocks() -> Callable[[Path], list[Block]]:
    return blocks


@pytest.fixture(name="commands")
def _commands() -> Callable[[Block], list[Command]]:
    return commands
