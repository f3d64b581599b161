"""The table as it is printed, and the page `docs/benchmarks.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.row import COLUMNS, Row

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`, or section by section by `python -m benchmarks --write NAME...`; each says when it was measured. Every
figure stands beside a peer or a limit that was measured in the same run; the rounds of both
sides alternate, and what is given is the median; in brackets the lowest and the highest round, or the middle half of the
rounds where there are eight or more. The ratio is ours over theirs, round by round. A figure without "must reach" is there
for orientation. The load generator is a process on the same machine. Start times are measured with compiled modules on disk
(`PYTHONDONTWRITEBYTECODE` is unset), as they are everywhere after the first start.
"""


def table(rows: Sequence[Row]) -> list[str]:
    """Lay rows out as a table in Markdown, padded so that it reads well on a terminal too."""
    cells = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def missed(rows: Sequence[Row]) -> list[str]:
    """Say of each missed figure what its profile says."""
    return [
        f"- **{row.what}, beside {row.beside}**: {row.why or 'no profile yet'}" for row in rows if row.reached is False
    ]


def page(
    before: str, sections: Mapping[str, tuple[str, list[Row]]], facts: Mapping[str, str], order: Sequence[str]
) -> str:
    """Write sections (a benchmark's docstring and its rows) into a page; what else it holds stays as it is.

    `order` are the names of all benchmarks; a section that is none of them is dropped.
    """
    known = dict(_section.findall(before))
    new = {name: _written(words, rows, facts) for name, (words, rows) in sections.items()}
    texts = {name: text for name in order if (text := new.get(name) or known.get(name))}
    counts = [(int(reached), int(asked)) for reached, asked in _measured.findall("\n".join(texts.values()))]
    parts = [
        _INTRODUCTION,
        f"{sum(reached for reached, _ in counts)} of {sum(asked for _, asked in counts)} figures are reached.\n",
        "The machine and the versions of the last run:\n",
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]) + "\n",
        *(f"## {name}\n\n{text.strip()}\n" for name, text in texts.items()),
    ]
    return "\n".join(parts)


_section = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_measured = re.compile(r"^Measured .* (\d+) of (\d+) figures are reached\.$", re.MULTILINE)


def _written(words: str, rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    asked = [row for row in rows if row.reached is not None]
    reached = f" {sum(row.reached is True for row in asked)} of {len(asked)} figures are reached." if asked else ""
    load = facts.get("load average before", "unknown")
    told = f"Measured {facts.get('date', '')} at a load average of {load}.{reached}"
    late = missed(rows)
    return "\n\n".join(
        [words.strip(), told, *(["Missed:\n\n" + "\n".join(late)] if late else []), "\n".join(table(rows))]
    )
