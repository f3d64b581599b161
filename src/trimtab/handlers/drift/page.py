"""Reports as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from trimtab.handlers.drift import svg
from trimtab.handlers.drift.report import DriftReport, FeatureReport, Summary
from trimtab.handlers.drift.text import headline, number

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --quiet: #66727f; --line: #d5dbe1; --paper: #fbfcfd; --card: #fff;
  --expected: #8fa9c9; --seen: #c2560c; --none: #4c8c5e; --possible: #c99a1b; --detected: #c23b31; --unknown: #8a939c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --quiet: #9aa6b2; --line: #37414b; --paper: #14191f;
  --card: #1c232b; --expected: #54708f; --seen: #f0954f; --none: #6db480; --possible: #e0b64a; --detected: #ef6f64; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 0; }
.badge { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; color: #fff; font-size: .82rem; }
.badge.none { background: var(--none); } .badge.possible { background: var(--possible); color: #222; }
.badge.detected { background: var(--detected); } .badge.unknown { background: var(--unknown); }
.quiet { color: var(--quiet); margin: .2rem 0; } .cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
.card { background: var(--card); overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.card header { display: flex; justify-content: space-between; gap: .5rem; align-items: center; }
.card h3 { overflow-wrap: anywhere; } .card svg { width: 100%; margin: .4rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .12rem .4rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--quiet); }
.card table { font-size: .74rem; } .card th, .card td { padding: .1rem .18rem; }
.wide { overflow-x: auto; } .time { width: 100%; }
svg text { font: 11px system-ui, sans-serif; fill: var(--quiet); } svg .name, svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .axis, svg .stem { stroke: var(--line); } svg .limit { stroke: var(--detected); stroke-dasharray: 4 3; }
svg .expected { fill: var(--expected); opacity: .75; } svg .seen { fill: var(--seen); fill-opacity: .18; stroke: var(--seen); stroke-width: 1.4; }
svg .none { fill: var(--none); } svg .possible { fill: var(--possible); } svg .detected { fill: var(--detected); } svg .unknown { fill: var(--unknown); }
.key span { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .8rem; vertical-align: -1px; }
.key .expected { background: var(--expected); } .key .seen { border: 2px solid var(--seen); }
"""
_MEASURES = ("tvd", "hellinger", "kld", "js", "psi", "wasserstein")
_WORDS = {"none": "no drift", "possible": "possible drift", "detected": "drift", "unknown": "not enough data"}


def page(reports: Sequence[DriftReport]) -> str:
    """Write the last report, and what all of them (the oldest first, one at least) show over time."""
    last = reports[-1]
    title = f"Drift: {last.endpoint}" if last.endpoint else "Drift"
    parts = [
        f"<h1>{escape(title)} {_badge(last.severity)}</h1>",
        *(f'<p class="quiet">{escape(line)}</p>' for line in headline(last).splitlines()),
    ]
    if len(reports) > 1:
        parts.append("<h2>Over time</h2>")
        parts.append(
            f'<p class="quiet">{len(reports)} windows; below, each feature by window: the stronger, the larger its effect.</p>'
        )
        parts.append(svg.over_time(reports))
    key = '<p class="quiet key"><span class="expected"></span>expected<span class="seen"></span>seen</p>'
    parts.append(f"<h2>Expected against seen</h2>{key}")
    parts.append(f'<div class="cards">{"".join(map(_card, last.features))}</div>')
    parts.append(f'<h2>All figures</h2><div class="wide">{_table(last)}</div>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _card(feature: FeatureReport) -> str:
    told = f"effect {number(feature.effect)}, p {number(feature.p_value)}"
    note = f'<p class="quiet">{escape(feature.message)}</p>' if feature.message else ""
    return (
        f'<section class="card"><header><h3>{escape(feature.name)}</h3>{_badge(feature.state)}</header>'
        f'<p class="quiet">{told}</p>{svg.histogram(feature.histogram, feature.name)}{_sides(feature)}{note}</section>'
    )


def _sides(feature: FeatureReport) -> str:
    moments = ("mean", "std", "min", "max") if feature.kind == "numeric" else ()
    heads = "".join(f"<th>{head}</th>" for head in ("", *(moments or ("rows",)), "missing"))
    rows = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in _cells(side, moments))}</tr>"
        for name, side in (("expected", feature.expected), ("seen", feature.seen))
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _cells(side: Summary, moments: Sequence[str]) -> list[str]:
    rows = side.n + side.missing
    return [
        *(number(getattr(side, name)) for name in moments),
        *(() if moments else (f"{rows:,}",)),
        f"{side.missing / rows:.1%}" if rows else "-",
    ]


def _table(report: DriftReport) -> str:
    heads = ("feature", "state", "p", "threshold", "effect", *_MEASURES)
    rows = "".join(
        f"<tr><td>{escape(feature.name)}</td><td>{_badge(feature.state)}</td>"
        + "".join(
            f"<td>{number(value)}</td>"
            for value in (
                feature.p_value,
                feature.threshold,
                feature.effect,
                *(feature.distances.get(name) for name in _MEASURES),
            )
        )
        + "</tr>"
        for feature in report.features
    )
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"


def _badge(state: str) -> str:
    return f'<span class="badge {state}">{_WORDS[state]}</span>'
