from __future__ import annotations

from pathlib import Path

from trimtab.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_in_the_repository_is_the_one_that_is_generated() -> None:
    written = PAGE.read_text()
    assert written.rstrip("\n") == reference().rstrip("\n"), "run: python -m trimtab.cli.reference > docs/cli.md"


def test_nested_commands_have_their_own_part() -> None:
    page = reference()
    assert "### `trimtab trigger fire`" in page
    assert "\b" not in page
