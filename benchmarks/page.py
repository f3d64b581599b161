"""The table as it is printed, and the page `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.row import COLUMNS, Row

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`. Every figure stands beside a peer or a limit that was measured in the same run; the rounds of both
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


def page(sections: Mapping[str, tuple[str, list[Row]]], facts: Mapping[str, str]) -> str:
    """Write the page; a section is a benchmark's docstring and its rows."""
    rows = [row for _, found in sections.values() for row in found]
    asked = [row for row in rows if row.reached is not None]
    late = missed(rows)
    parts = [
        _INTRODUCTION,
        f"{sum(row.reached is True for row in asked)} of {len(asked)} figures are reached.\n",
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]) + "\n",
    ]
    if late:
        parts.append("\n".join(["## Missed\n", *late]) + "\n")
    for name, (words, found) in sections.items():
        parts.append(f"## {name}\n\n{words.strip()}\n\n" + "\n".join(table(found)) + "\n")
    return "\n".join(parts)
