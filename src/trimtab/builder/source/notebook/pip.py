"""What `pip install` of a notebook requires, whatever it is written as: %pip, !pip, !python -m pip, %uv pip, %nuclio cmd pip."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from trimtab.builder.requirements import listing
from trimtab.errors import SpecError

_INSTALL = re.compile(
    r"(?:(?:\{?sys\.executable\}?|\S*python[\d.]*)\s+-m\s+)?(?:uv\s+)?pip[\d.]*\s+install\s+(?P<rest>.*)", re.DOTALL
)
_SHELL = re.compile(r"\d*[<>]|[|&;]+$")
_COMMENT = re.compile(r"(?:^|\s)#.*$", re.MULTILINE)
_WITH_VALUE = {"-t", "--target", "--prefix", "--root", "--platform", "--python-version", "--proxy", "--timeout"}
_INDEX = {"-i": "--index-url", "--index-url": "--index-url", "--extra-index-url": "--extra-index-url"}
_LINKS = {"-f": "--find-links", "--find-links": "--find-links"}

Read = Callable[[str], str]


def arguments(command: str) -> str | None:
    """Give what a command installs, if it is a `pip install`."""
    match = _INSTALL.fullmatch(command.strip())
    return match["rest"] if match else None


def install(rest: str, place: str, text_of: Read, notes: list[str]) -> list[str]:
    """Give the lines of a requirements file that say what the arguments of `pip install` say.

    What cannot be said there goes to `notes`. Errors: SpecError for credentials, and for files that are not there.
    """
    lines: list[str] = []
    words = iter(_words(rest, place, notes))
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            _requirement(word, place, lines, notes)
        elif option in {"-r", "--requirement"}:
            lines += listing.read(value if equals else next(words, ""), text_of, notes).lines
        elif option in _INDEX | _LINKS:
            url = value if equals else next(words, "")
            listing.refuse_credentials(url, place)
            lines.append(f"{(_INDEX | _LINKS)[option]} {url}")
        elif option in {"-e", "--editable"}:
            notes.append(f"{place}: -e {next(words, '')} is not carried over: name a released version")
        elif option in {"-c", "--constraint"}:
            notes.append(f"{place}: {option} {value if equals else next(words, '')} is not carried over")
        elif option in _WITH_VALUE and not equals:
            next(words, "")
    return lines


def _words(rest: str, place: str, notes: list[str]) -> list[str]:
    lexer = shlex.shlex(_COMMENT.sub("", rest.replace("\\\n", " ")), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise SpecError(place, rest, "the arguments of pip install", hint=str(error)) from error
    end = next((n for n, word in enumerate(words) if _SHELL.match(word)), len(words))
    if {";", "&&", "||"} & set(words[end:]):
        notes.append(f"{place}: what follows pip install is left out: {' '.join(words[end:])}")
    return words[:end]


def _requirement(word: str, place: str, lines: list[str], notes: list[str]) -> None:
    if re.search(r"[{}$]", word):
        notes.append(f"{place}: {word!r} is not carried over: its value is only known in the notebook")
    elif word.startswith((".", "/", "~")) and not word.endswith(".whl"):
        notes.append(f"{place}: {word!r} is not carried over: it is a path of this machine")
    else:
        lines.append(word)
