"""A report as rows of text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from trimtab.handlers.drift.report import DriftReport, FeatureReport, Summary

__all__ = ["HEADINGS", "bars", "headline", "number", "rows"]

HEADINGS = (
    "FEATURE", "STATE", "P", "EFFECT", "TVD", "HELLINGER", "KLD", "JS", "PSI", "W1",
    "SIDE", "N", "MISSING", "MEAN", "STD", "MIN", "MAX", "HISTOGRAM",
)  # fmt: skip
_MEASURES = ("tvd", "hellinger", "kld", "js", "psi", "wasserstein")
_BARS = " ▁▂▃▄▅▆▇█"
_PLAIN = " .:-=+*#@"
_BLANK = " "  # a cell that is empty on purpose


def headline(report: DriftReport) -> str:
    """Say the verdict in one line, and what to know about it in a second one, where there is something."""
    words = {
        "none": "no drift",
        "possible": "possible drift",
        "detected": "drift",
        "unknown": "not enough data for a verdict",
    }
    told = words[report.severity]
    if report.p_value is not None:
        told += f" (p {number(report.p_value)}, threshold {number(report.threshold)})"
    named = [feature.name for feature in report.features if feature.state == "detected"]
    told += f" in {', '.join(named)}" if named else ""
    where = " ".join(text for text in (report.endpoint, report.model, window(report)) if text)
    first = f"{where}: {told}" if where else told
    second = f"{report.rows_seen} rows against {report.rows_expected} by {report.method!r}"
    second += f", {report.horizon} horizon" if report.horizon != "short" else ""
    return "\n".join(text for text in (first, second, report.message) if text)


def window(report: DriftReport) -> str:
    """Say from when to when."""
    if report.start is None or report.end is None:
        return ""
    start, end = (datetime.fromtimestamp(moment, UTC) for moment in (report.start, report.end))
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def rows(report: DriftReport, *, plain: bool = False) -> list[list[str]]:
    """Give two rows for each feature: expected and seen."""
    return [row for feature in report.features for row in _feature(feature, plain=plain)]


def bars(shares: Sequence[float], top: float, *, plain: bool = False) -> str:
    """Draw a histogram in one line; what is there at all is not blank."""
    steps = _PLAIN if plain else _BARS
    high = len(steps) - 1
    return (
        "".join(steps[min(high, max(1, round(share / top * high))) if share > 0 else 0] for share in shares)
        if top
        else ""
    )


def number(value: float | None) -> str:
    """Write a number with three digits that mean something, thousands without an exponent."""
    if value is None:
        return "-"
    short = float(f"{value:.3g}")
    return f"{short:,.0f}" if 1e3 <= abs(short) < 1e6 else f"{value:.3g}"


def _feature(feature: FeatureReport, *, plain: bool) -> list[list[str]]:
    top = max([*feature.histogram.expected, *feature.histogram.seen], default=0.0)
    measured = [number(feature.distances.get(name)) for name in _MEASURES]
    verdict = [feature.name, feature.state, number(feature.p_value), number(feature.effect), *measured]
    shown = [
        [*_side(side), _framed(bars(shares, top, plain=plain))]
        for side, shares in (
            (feature.expected, feature.histogram.expected),
            (feature.seen, feature.histogram.seen),
        )
    ]
    return [[*verdict, "expected", *shown[0]], [*[_BLANK] * len(verdict), "seen", *shown[1]]]


def _side(side: Summary) -> list[str]:
    return [str(side.n), str(side.missing), *(number(value) for value in (side.mean, side.std, side.min, side.max))]


def _framed(text: str) -> str:
    """Keep blanks at the ends: they are bins."""
    return f"|{text}|" if text else "-"
