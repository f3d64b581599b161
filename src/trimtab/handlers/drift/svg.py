"""Plots as SVG text: what was expected against what was seen, and drift over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from trimtab.handlers.drift.report import DriftReport, Histogram
from trimtab.handlers.drift.text import number, window

__all__ = ["histogram", "over_time"]

_WIDE, _HIGH, _FOOT = 320, 130, 22
_LONG, _ROW, _NAMES = 900, 18, 170
_MOST = 40  # features that the picture over time shows, the worst first
_LABEL = 12  # characters of a level's label


def histogram(shown: Histogram, name: str) -> str:
    """Draw both sides' shares over each other: expected as filled steps, seen as a line."""
    top = max([*shown.expected, *shown.seen], default=0.0)
    if not top:
        return '<p class="quiet">no values to show</p>'
    step = _WIDE / len(shown.expected)
    room = _HIGH - _FOOT - 8
    gap = 1 if shown.edges else step * 0.12

    def bar(place: int, share: float, side: str) -> str:
        height = share / top * room
        return (
            f'<rect class="{side}" x="{place * step + gap:.1f}" y="{_HIGH - _FOOT - height:.1f}" '
            f'width="{max(step - 2 * gap, 0.5):.1f}" height="{height:.1f}">'
            f"<title>{escape(_place(shown, place))}: {side} {share:.2%}</title></rect>"
        )

    parts = [
        bar(place, share, side)
        for side, shares in (("expected", shown.expected), ("seen", shown.seen))
        for place, share in enumerate(shares)
    ]
    parts.append(f'<line class="axis" x1="0" x2="{_WIDE}" y1="{_HIGH - _FOOT}" y2="{_HIGH - _FOOT}"/>')
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(name)}: expected against seen">'
        f"{''.join(parts)}{_axis(shown, step)}</svg>"
    )


def over_time(reports: Sequence[DriftReport]) -> str:
    """Draw each window's p-value against the threshold, and below it every feature's effect by window."""
    names = list(dict.fromkeys(feature.name for report in reversed(reports) for feature in report.features))[:_MOST]
    step = (_LONG - _NAMES) / len(reports)
    plot = 120
    parts = [_curve(reports, step, plot)]
    for row, name in enumerate(names):
        y = plot + 26 + row * _ROW
        parts.append(f'<text class="name" x="{_NAMES - 8}" y="{y + 12}">{escape(_short(name, 24))}</text>')
        for column, report in enumerate(reports):
            feature = next((one for one in report.features if one.name == name), None)
            if feature is not None:
                told = f"{name}, {window(report)}: {feature.state}, effect {number(feature.effect)}, p {number(feature.p_value)}"
                parts.append(
                    f'<rect class="cell {feature.state}" x="{_NAMES + column * step + 1:.1f}" y="{y}" '
                    f'width="{max(step - 2, 1):.1f}" height="{_ROW - 3}" '
                    f'fill-opacity="{_weight(feature.effect):.2f}"><title>{escape(told)}</title></rect>'
                )
    height = plot + 30 + len(names) * _ROW
    return f'<svg class="time" viewBox="0 0 {_LONG} {height}" role="img" aria-label="drift over time">{"".join(parts)}</svg>'


def _curve(reports: Sequence[DriftReport], step: float, plot: int) -> str:
    """Draw -log10 p of each window as a point in its state's colour, with the threshold as a line."""
    heights = [None if report.p_value is None else _decades(report.p_value) for report in reports]
    limits = [_decades(report.threshold) for report in reports if report.threshold]
    top = max([*(height for height in heights if height is not None), *limits, 1.0]) * 1.1

    def y(decades: float) -> float:
        return 8 + (plot - 8) * (1 - decades / top)

    parts = [f'<line class="axis" x1="{_NAMES}" x2="{_LONG}" y1="{plot}" y2="{plot}"/>']
    if limits:
        at = y(limits[-1])
        parts.append(f'<line class="limit" x1="{_NAMES}" x2="{_LONG}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="name" x="{_NAMES - 8}" y="{at + 4:.1f}">threshold {number(reports[-1].threshold)}</text>'
        )
    for column, (report, height) in enumerate(zip(reports, heights, strict=True)):
        x = _NAMES + (column + 0.5) * step
        told = f"{window(report)}: {report.severity}, p {number(report.p_value)}"
        at = y(height or 0.0)
        parts.append(f'<line class="stem" x1="{x:.1f}" x2="{x:.1f}" y1="{plot}" y2="{at:.1f}"/>')
        parts.append(
            f'<circle class="{report.severity}" cx="{x:.1f}" cy="{at:.1f}" r="4"><title>{escape(told)}</title></circle>'
        )
    first, last = window(reports[0]).partition(" to ")[0], window(reports[-1]).rpartition(" to ")[2]
    parts.append(f'<text class="tick" x="{_NAMES}" y="{plot + 16}">{escape(first)}</text>')
    parts.append(f'<text class="tick end" x="{_LONG}" y="{plot + 16}">{escape(last)}</text>')
    parts.append(f'<text class="name" x="{_NAMES - 8}" y="16">1/p, by decades</text>')
    return "".join(parts)


def _axis(shown: Histogram, step: float) -> str:
    y = _HIGH - 7
    if shown.edges:
        low, high = number(shown.edges[0]), number(shown.edges[-1])
        return f'<text class="tick" x="0" y="{y}">{low}</text><text class="tick end" x="{_WIDE}" y="{y}">{high}</text>'
    if len(shown.levels) > 6:
        return (
            f'<text class="tick" x="0" y="{y}">{len(shown.levels)} levels; each says its name under the pointer</text>'
        )
    room = max(3, int(step / 6.5))
    return "".join(
        f'<text class="tick middle" x="{(place + 0.5) * step:.1f}" y="{y}">{escape(_short(level, min(room, _LABEL)))}</text>'
        for place, level in enumerate(shown.levels)
    )


def _place(shown: Histogram, place: int) -> str:
    if shown.levels:
        return shown.levels[place]
    return f"{number(shown.edges[place])} to {number(shown.edges[place + 1])}"


def _decades(p_value: float) -> float:
    """-log10 p, up to 30: beyond, every p-value is the same to a reader."""
    return min(30.0, -math.log10(max(p_value, 1e-30)))


def _weight(effect: float | None) -> float:
    return 0.15 if effect is None else min(1.0, 0.12 + 2 * effect)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
