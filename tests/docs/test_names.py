"""Names that the pages mention are there: commands, options, settings, tests, files, and what handlers see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from trimtab.cli.app import app
from trimtab.config import Settings
from trimtab.runtime.context import Context
from trimtab.runtime.event import Event
from trimtab.runtime.response import Response
from trimtab.runtime.run_context import RunContext
from trimtab.spec import Scale

ROOT = Path(__file__).parents[2]


def spans(page: Path) -> list[str]:
    """All code of a page: spans and lines of console blocks."""
    text = page.read_text("utf-8")
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", plain) + re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)


def find(words: list[str]) -> click.Command | None:
    """The command that words name, as deep as groups go."""
    command: click.Command | None = app
    context = click.Context(app)
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        command = command.get_command(context, word)
    return command


def test_every_command_and_option_in_the_pages_exists(pages: Any) -> None:
    wrong, seen = [], set()
    for page in pages(generated=False):
        for span in spans(page):
            for text in re.findall(r"(?:^|[(;&|] ?)trimtab ((?:[a-z-]+|-h|--help|--version)(?: [^;&|)]*)?)", span):
                words = text.split()
                command = find(words)
                if command is None:
                    wrong.append(f"{page.name}: trimtab {text}")
                    continue
                seen.add(words[0])
                known = {
                    option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
                }
                known |= {"--help", "-h"}
                unknown = [w for w in words if re.fullmatch(r"--[a-z-]+|-[a-zA-Z]", w) and w not in known]
                wrong += [f"{page.name}: trimtab {text}: {option}" for option in unknown]
    assert not wrong
    unnamed = set(app.list_commands(click.Context(app))) - seen
    assert not unnamed, "commands that no page mentions"


def test_every_setting_of_the_machine_is_explained() -> None:
    text = (ROOT / "docs" / "local-target.md").read_text("utf-8")
    for field in Settings.__struct_fields__:
        assert f"`TRIMTAB_{field.upper()}`" in text, field


def test_the_defaults_of_the_autoscaler_in_the_page_are_those_of_the_spec() -> None:
    text = (ROOT / "docs" / "local-target.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `scale\.(\w+)` \| `?([^`|]+?)`? \|", text, flags=re.MULTILINE))
    written = {name: getattr(Scale(), re.sub(r"([A-Z])", r"_\1", name).lower()) for name in rows}
    assert {name: str(value) for name, value in written.items() if value is not None} == {
        name: rows[name] for name, value in written.items() if value is not None
    }
    assert {re.sub(r"([A-Z])", r"_\1", name).lower() for name in rows} == set(Scale.__struct_fields__)


@pytest.mark.parametrize("kind", [Event, Context, Response, RunContext])
def test_every_public_name_of_a_handlers_world_is_in_the_guide(kind: Any) -> None:
    text = (ROOT / "docs" / "handlers.md").read_text("utf-8")
    made: Any = kind(**({"config": _Config()} if kind is Context else {})) if kind is not RunContext else None
    names = {*vars(kind), *(vars(made) if made is not None else ())}
    public = {name for name in names if not name.startswith("_")} - {"of", "adopt", "emitter", "scope"}
    missing = [name for name in sorted(public) if not re.search(rf"`[^`]*\b{name}\b[^`]*`", text)]
    assert not missing


class _Config:
    function = revision = "f"


def test_every_test_that_the_pages_name_exists(pages: Any) -> None:
    sources = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    named = {name for page in pages(generated=False) for name in re.findall(r"`(test_\w+)`", page.read_text("utf-8"))}
    assert len(named) > 10
    for name in named:
        found = any(f"def {name}(" in text for text in sources.values())
        assert found or any(path.stem == name for path in sources), name


def test_every_path_that_the_pages_name_exists(pages: Any) -> None:
    pattern = re.compile(r"`((?:src|tests|examples|benchmarks|scripts)/[\w./-]+)`")
    for page in pages(generated=False):
        for path in pattern.findall(page.read_text("utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
