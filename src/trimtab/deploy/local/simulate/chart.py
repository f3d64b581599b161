"""Numbers over time as columns of blocks, for a terminal or a plain text file."""

from __future__ import annotations

import math
from itertools import pairwise

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"
_LABEL = 9
"""Columns left of a chart: the scale."""


def chart(title: str, values: list[float], *, width: int, height: int, ascii_only: bool = False) -> list[str]:
    """Draw `values` as lines of at most `width` columns: the largest of the values that share a column counts.

    The first line has the title and the largest value; an all-zero series is a flat line of that height.
    """
    glyphs = _ASCII if ascii_only else _BLOCKS
    columns = squeeze(values, width - _LABEL)
    top = max(columns, default=0.0)
    levels = [_level(value, top, height * (len(glyphs) - 1)) for value in columns]
    lines = [f"{title}, at most {_short(top)}"]
    for row in reversed(range(height)):
        label = _short(top) if row == height - 1 else "0" if row == 0 else ""
        cells = (min(max(level - row * (len(glyphs) - 1), 0), len(glyphs) - 1) for level in levels)
        lines.append(
            f"{label:>{_LABEL - 2}} {'|' if ascii_only else '┤'}{''.join(glyphs[cell] for cell in cells)}".rstrip()
        )
    return lines


def axis(seconds: float, points: int, *, width: int) -> str:
    """The line under the charts: where time begins and ends."""
    columns = min(points, width - _LABEL)
    end = f"{_short(seconds)} s"
    return " " * _LABEL + "0 s" + end.rjust(max(columns - 3, len(end) + 1))


def squeeze(values: list[float], width: int) -> list[float]:
    """Reduce to at most `width` values, each the largest of its share, so that no peak is lost."""
    if len(values) <= width:
        return values
    edges = [len(values) * column // width for column in range(width + 1)]
    return [max(values[low:high]) for low, high in pairwise(edges)]


def table(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns, the first as wide as its longest cell."""
    wide = max(len(name) for name, _ in rows)
    return [f"{name:<{wide}}  {value}" for name, value in rows]


def _level(value: float, top: float, steps: int) -> int:
    # Whatever is above zero is seen.
    return math.ceil(value / top * steps - 1e-9) if top else 0


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
