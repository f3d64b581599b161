"""What is printed: tables, JSON, times and colour, each decided here once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec


def colour(environ: Mapping[str, str] = os.environ) -> bool | None:
    """Say whether to colour: False where NO_COLOR or a dumb terminal forbids it, None to ask each stream."""
    return False if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" else None


def live() -> bool:
    """Tell whether somebody watches: progress goes to stderr, and only when that is a terminal."""
    return sys.stderr.isatty()


def note(message: str) -> None:
    """Say something beside the answer: on stderr, so that stdout holds the answer alone."""
    click.echo(message, err=True)


def warn(message: str) -> None:
    """Say on stderr what the caller should know although it worked."""
    click.echo(click.style("warning: ", fg="yellow") + message, err=True)


def json(value: Any) -> None:
    """Print one JSON document, indented. Times are seconds since the epoch, as in `trimtab.deploy.abc`."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))


def json_line(value: Any) -> None:
    """Print one JSON document on one line; streams are made of these."""
    click.echo(msgspec.json.encode(value, enc_hook=str))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print aligned columns; where there are no rows, say `empty` on stderr."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        note(empty)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    click.echo(click.style(_line(headings, widths), bold=True))
    for row in cells:
        click.echo(_line(row, widths))


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print one `name  value` line for each pair, aligned."""
    rows = [(name, _cell(value)) for name, value in pairs]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def ago(moment: float | None, *, now: float | None = None) -> str:
    """Say how far a moment is from now: `12s ago`, `in 3m`."""
    if moment is None:
        return ""
    distance = moment - (time.time() if now is None else now)
    return f"in {span(distance)}" if distance > 0 else f"{span(-distance)} ago"


def span(seconds: float) -> str:
    """Say a duration in its largest unit: `40ms`, `1.5s`, `12s`, `3m`, `5h`, `2d`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def compact(value: Any) -> str:
    """Write a value on one line, text as it is and everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else compact(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
