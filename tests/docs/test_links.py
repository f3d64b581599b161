"""Every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WRITTEN_LATER = {ROOT / "docs" / "benchmarks.md"}
"""What `make bench` writes; a checkout may be without it."""
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """The page without its fenced blocks and code, where brackets are no links."""
    return re.sub(
        r"`[^`\n]*`", "`code`", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    )


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    found: set[str] = set()
    plain = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ +(.+?) *$", plain, flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        number = 1
        while (unique := name if number == 1 else f"{name}-{number - 1}") in found:
            number += 1
        found.add(unique)
    return found


def test_every_link_leads_to_a_file_and_a_heading(pages: Any) -> None:
    wrong, count = [], 0
    for page in [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for link in _LINK.findall(text_of(page)):
            if link.startswith("https://"):
                continue
            count += 1
            place, _, anchor = link.partition("#")
            target = (page.parent / place).resolve() if place else page
            if target in WRITTEN_LATER and not target.exists():
                continue
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append(f"{page.name}: {link}")
    assert not wrong
    assert count > 30


def test_every_page_is_reached_from_the_index(pages: Any) -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(text_of(index))}
    missing = [page.name for page in pages() if page.parent == index.parent and page != index and page not in linked]
    assert not missing
