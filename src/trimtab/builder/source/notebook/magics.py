"""What IPython's lines of a notebook mean for a function: requirements, commands, variables, files; the rest is left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from trimtab.builder.source.notebook import pip
from trimtab.errors import SpecError

_RUNS_ITS_BODY = {"time", "capture", "prun"}
"""Cell magics whose body is the notebook's own Python."""
_WRITES = {"writefile", "file"}
_FLAGS = re.compile(r"\s*(?:(?P<local>-l|--local-only)|-c|--config-only)\b")
_SETTING = re.compile(r"(?P<key>[A-Za-z_][\w.]*)\s*(?P<op>\+?=)\s*(?P<value>.+)", re.DOTALL)
_ROOTS = ("spec", "metadata")
_LONGEST = 60


class Magics:
    """Collects what the magics of one notebook say; `text_of` reads a file beside it."""

    def __init__(self, text_of: Callable[[str], str]) -> None:
        self.requirements: list[str] = []
        self.commands: list[str] = []
        self.env: dict[str, str] = {}
        self.config: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self.notes: list[str] = []
        self._text_of = text_of

    def line(self, text: str, cell: int, place: str) -> None:
        """Take in one line magic or shell line. Errors: SpecError for one of ours that cannot be read."""
        command = re.sub(r"\A(?:!!|!|%(?=pip|uv|nuclio))\s*", "", text.strip())
        rest = pip.arguments(command)
        if rest is not None:
            self.requirements += pip.install(rest, place, self._text_of, self.notes)
        elif re.match(r"nuclio\b", command) and text.strip().startswith("%"):
            self._nuclio(command.removeprefix("nuclio"), "", cell, place)
        else:
            self._drop(text.strip(), cell)

    def cell(self, first: str, body: str, cell: int, place: str) -> str:
        """Take in a cell magic; say what becomes of the cell: its `body` runs, it is a `handler`, or it is left `out`."""
        name, _, rest = first.removeprefix("%%").strip().partition(" ")
        if name in _RUNS_ITS_BODY:
            self._drop(first, cell)
            return "body"
        if name == "nuclio":
            return self._nuclio(rest, body, cell, place)
        if name in _WRITES:
            self._write(rest.split(), body, cell, place)
        elif name in {"pip", "uv"}:
            self.line(f"%{name} {rest}", cell, place)
        else:
            self._drop(first, cell)
        return "out"

    def _drop(self, text: str, cell: int) -> None:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
        self.dropped.append(f"`{shown}` (cell {cell})")

    def _nuclio(self, rest: str, body: str, cell: int, place: str) -> str:
        name, _, said = rest.strip().partition(" ")
        lines = [line.strip() for line in [said, *body.split("\n")]]
        lines = [line for line in lines if line and not line.startswith("#")]
        if name == "handler":
            return "handler"
        action = {"cmd": self._command, "env": self._variable, "config": self._setting}.get(name)
        if action is None:
            self._drop(f"%nuclio{rest}".rstrip(), cell)
            return "out"
        local = False
        for number, line in enumerate(lines):
            flags = _FLAGS.match(line)
            local = local or bool(flags and flags["local"] and number == 0)
            text = line[flags.end() :].strip() if flags else line
            if text and not local and not (flags and flags["local"]):
                action(text, place)
        return "out"

    def _command(self, text: str, place: str) -> None:
        rest = pip.arguments(text)
        if rest is not None:
            self.requirements += pip.install(rest, place, self._text_of, self.notes)
        else:
            self.commands.append(text)

    def _variable(self, text: str, place: str) -> None:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
            raise SpecError(place, f"%nuclio env {name}", "NAME=VALUE")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        self.env[name.strip()] = value

    def _setting(self, text: str, place: str) -> None:
        match = _SETTING.fullmatch(text)
        if match is None:
            raise SpecError(place, f"%nuclio config {text}", "spec.FIELD = VALUE, or spec.FIELD += VALUE")
        keys = match["key"].split(".")
        *parents, last = keys if keys[0] in _ROOTS else ["spec", *keys]
        place_in: dict[str, Any] = self.config
        for name in parents:
            place_in = place_in.setdefault(name, {})
            if not isinstance(place_in, dict):
                raise SpecError(place, f"%nuclio config {text}", f"no field below {name}, which was set to a value")
        value = _literal(match["value"], place)
        if match["op"] == "=":
            place_in[last] = value
            return
        before = place_in.setdefault(last, [])
        if not isinstance(before, list):
            raise SpecError(place, f"%nuclio config {text}", f"=, because {match['key']} is no list")
        before.append(value)

    def _write(self, words: list[str], body: str, cell: int, place: str) -> None:
        name = next((word for word in words if not word.startswith("-")), "")
        parts = [part for part in name.split("/") if part != "."]
        if not name or name.startswith(("/", "~")) or ".." in parts or re.search(r"[{}$]", name):
            self.notes.append(
                f"{place}: %%writefile {name} is left out: only files of the function's own folder are taken"
            )
            return
        name = "/".join(parts)
        before = self.files.get(name, b"") if {"-a", "--append"} & set(words) else b""
        self.files[name] = before + f"{body}\n".encode()


def _literal(text: str, place: str) -> Any:
    words = {"true": True, "false": False, "null": None}
    if text.strip() in words:
        return words[text.strip()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise SpecError(place, text, 'a Python value such as 5, "debug" or ["a", "b"]') from error
