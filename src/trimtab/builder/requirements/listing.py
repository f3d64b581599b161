"""Requirements files, as pip reads them: comments, continued lines, other files, options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from trimtab.builder.abc import Declared
from trimtab.errors import SpecError

_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_HASH = re.compile(r"\s+--hash[= ]\S+")
_KEPT = {"-i": "--index-url", "--index-url": "", "--extra-index-url": "", "-f": "--find-links", "--find-links": ""}
_OTHER_FILES = {"-r": "requirement", "--requirement": "requirement", "-c": "constraint", "--constraint": "constraint"}
_VARIABLE = re.compile(r"\$\{\w+\}")

Read = Callable[[str], str]
"""Gives the text of a file of the source by its name. Errors: SpecError."""


def entries(text: str) -> Iterator[tuple[str, int]]:
    """Yield each logical line without its comment and hashes, and the number of its first line."""
    pending, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        if line.rstrip().endswith("\\") and not line.lstrip().startswith("#"):
            pending += line.rstrip()[:-1] + " "
            continue
        whole = _HASH.sub("", _COMMENT.sub("", pending + line)).strip()
        if whole:
            yield whole, first
        pending, first = "", 0
    if pending.strip():
        yield _HASH.sub("", pending).strip(), first


def read(name: str, text_of: Read, notes: list[str]) -> Declared:
    """Read a requirements file and those it includes. Errors: SpecError naming file, line and what to do."""
    lines: list[str] = []
    constraints: list[str] = []
    texts = _read(name, text_of, lines, constraints, notes, ())
    requirements = [line for line in lines if not line.startswith("--")]
    hashed = bool(requirements) and sum(text.count("--hash") > 0 for text in texts) == len(texts)
    lock = "\n".join(texts).encode() if hashed and _all_hashed(texts) else None
    return Declared(lines=lines, constraints=constraints, where=name, lock=lock)


def _all_hashed(texts: list[str]) -> bool:
    joined = "\n".join(texts).replace("\\\n", " ")
    stated = [line for line in joined.split("\n") if re.match(r"\s*[A-Za-z0-9]", line)]
    return all("--hash" in line for line in stated)


def _read(
    name: str, text_of: Read, lines: list[str], constraints: list[str], notes: list[str], within: tuple[str, ...]
) -> list[str]:
    if name in within:
        raise SpecError(" -> ".join((*within, name)), "a file that includes itself", "files that end")
    text = text_of(name)
    texts = [text]
    for line, number in entries(text):
        place = f"{name}, line {number}"
        if not line.startswith("-"):
            lines.append(line)
            continue
        option, value = _option(line)
        if option in _OTHER_FILES:
            into = lines if _OTHER_FILES[option] == "requirement" else constraints
            included = _beside(name, value, place)
            texts += _read(included, text_of, into, constraints, notes, (*within, name))
        elif option in _KEPT:
            lines.append(f"{_KEPT[option] or option} {refuse_credentials(value, place)}")
        elif option == "--no-index":
            lines.append(option)
        elif option in {"-e", "--editable"}:
            raise SpecError(
                place,
                line,
                "packages with a version",
                hint="-e installs from a folder that may change: name a released version, or a wheel (./wheels/name.whl)",
            )
        else:
            notes.append(f"{place}: {option} is not carried over")
    return texts


def _option(line: str) -> tuple[str, str]:
    """Split `-r x`, `-rx`, `--requirement x` and `--requirement=x`."""
    option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("--") else (line[:2], "", line[2:])
    words = shlex.split(value, comments=True)
    return option, words[0] if words else ""


def _beside(name: str, other: str, place: str) -> str:
    """Name an included file as the source names it. Errors: SpecError when it lies outside the source."""
    allowed = "a file of the same source, by its relative path"
    if "://" in other or other.startswith("/") or not other:
        raise SpecError(place, redacted(other), allowed)
    parts: list[str] = []
    for part in (PurePosixPath(name).parent / other).parts:
        if part == "..":
            if not parts:
                raise SpecError(place, other, allowed)
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def refuse_credentials(url: str, place: str) -> str:
    """Give the URL back. Errors: SpecError, without them, where it holds a user or a password."""
    literal = _VARIABLE.sub("", urlsplit(url).netloc.rpartition("@")[0])
    if literal.strip(":"):
        raise SpecError(
            place,
            redacted(url),
            "an index without credentials",
            hint="Put them into ~/.netrc, or give the whole URL in the variable UV_INDEX_URL: they must not travel with the code",
        )
    return url


def redacted(url: str) -> str:
    """Give a URL, or any text with URLs in it, without user and password."""
    return re.sub(r"(?<=://)[^/\s'\"]+@", "***@", url)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
