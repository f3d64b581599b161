"""From the features' p-values to an answer: who is judged at all, the table's alarm, and the list of features."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.multiple import benjamini_hochberg, holm
from trimtab.handlers.drift.result import FeatureResult, Result, state_of

__all__ = ["LEAST_ROWS", "judged", "listed"]

LEAST_ROWS = 30
"""Values that a feature needs on both sides for a verdict, unless the caller says another number."""
_GAP = 0.01  # difference of the shares of missing values that is worth a word where they are left out


def judged(
    method: str,
    features: Iterable[FeatureResult],
    frames: tuple[Frame, Frame],
    *,
    alpha: float,
    min_rows: int = LEAST_ROWS,
    large: Container[str] | None = None,
) -> Result:
    """Judge features by their p-values.

    The table has drifted when Holm's adjusted smallest p-value is below `alpha`; then the features that Benjamini and
    Hochberg's procedure finds at `alpha` are those that drifted. `large` names the features that have moved far enough to
    be drifted at all, whatever their p-value (without: all). A feature with fewer than `min_rows` values on either side
    gets no verdict; when its rows are there and their values are not, the table gets none either, unless another one drifted.
    """
    if not 0 < alpha < 1:
        raise SpecError(f"{method}.alpha", alpha, "a number between 0 and 1")
    if min_rows < 1:
        raise SpecError(f"{method}.min_rows", min_rows, "1 or more")
    found = {feature.name: feature for feature in features}
    able = [feature for feature in found.values() if _enough(feature, min_rows)]
    gaps = [feature for feature in found.values() if _gap(feature, frames)]
    gone = [feature for feature in gaps if feature.p_value is None and min(frame.rows for frame in frames) >= min_rows]
    moved = [feature for feature in able if large is None or feature.name in large]
    adjusted = dict(zip([feature.name for feature in able], holm([_p(feature) for feature in able]), strict=True))
    alarm = any(adjusted[feature.name] < alpha for feature in moved)
    listed(able, alpha, alarm=alarm, moved=moved)
    first = min(moved or able, key=_p, default=None)
    p_value = None if first is None else adjusted[first.name]
    known = bool(able) and (alarm or not gone)
    return Result(
        method=method,
        statistic=None if first is None else first.statistic,
        p_value=p_value,
        threshold=alpha,
        drifted=alarm if known else None,
        state=state_of(alarm, p_value if moved else None, alpha) if known else "unknown",
        per_feature=found,
        n_reference=frames[0].rows,
        n_current=frames[1].rows,
        message="; ".join(filter(None, (_message(list(found.values()), able), _told(gaps, able)))),
    )


def _p(feature: FeatureResult) -> float:
    assert feature.p_value is not None
    return feature.p_value


def _enough(feature: FeatureResult, min_rows: int) -> bool:
    """Whether a feature can be judged; where not, its message says what is missing."""
    least = min(feature.n_reference, feature.n_current)
    if feature.p_value is not None and least >= min_rows:
        return True
    if feature.p_value is not None or not feature.message:
        side = "current" if feature.n_current == least else "reference"
        missing = feature.missing_current if side == "current" else feature.missing_reference
        told = f"not enough data: {least} values in {side}, {min_rows} are needed (min_rows)"
        told += f", {missing} are missing" if missing else ""
        feature.message = "; ".join(text for text in (told, feature.message) if text)
    return False


def _gap(feature: FeatureResult, frames: tuple[Frame, Frame]) -> bool:
    """Whether other shares of both sides are missing and were left out; then the feature's message says so."""
    sides = ((feature.n_reference, feature.missing_reference), (feature.n_current, feature.missing_current))
    if any(n + missing > frame.rows for (n, missing), frame in zip(sides, frames, strict=True)):
        return False  # they were compared as well
    before, now = (missing / max(frame.rows, 1) for (_, missing), frame in zip(sides, frames, strict=True))
    if abs(now - before) < _GAP:
        return False
    if feature.p_value is None:
        return True  # and why, it says already
    told = f"missing values left out: {before:.2%} in the reference, {now:.2%} in current ('default' compares them)"
    feature.message = "; ".join(text for text in (feature.message, told) if text)
    return True


def listed(
    able: Sequence[FeatureResult], alpha: float, *, alarm: bool, moved: Sequence[FeatureResult] | None = None
) -> None:
    """Write each feature's verdict: those that Benjamini and Hochberg's procedure lists, where the table has drifted.

    `moved` are those that have moved far enough (without: all).
    """
    shares = benjamini_hochberg([_p(feature) for feature in able])
    count = sum(share < alpha for share in shares)
    names = {feature.name for feature in (able if moved is None else moved)}
    threshold = alpha * max(count, 1) / max(len(able), 1)
    for feature, share in zip(able, shares, strict=True):
        large = feature.name in names
        feature.threshold = threshold
        feature.drifted = alarm and large and share < alpha
        feature.state = state_of(feature.drifted, feature.p_value if large else None, alpha / len(able))


def _message(found: Sequence[FeatureResult], able: Sequence[FeatureResult]) -> str:
    names = {feature.name for feature in able}
    lost = [feature for feature in found if feature.name not in names]
    if not lost:
        return ""
    if not able:
        return f"no verdict: {lost[0].name!r}: {lost[0].message}" + (" (and the others)" if len(lost) > 1 else "")
    told = "; ".join(f"{feature.name!r}: {feature.message}" for feature in lost[:4])
    return f"no verdict for {len(lost)} of {len(found)} features: {told}" + ("; ..." if len(lost) > 4 else "")


def _told(gaps: Sequence[FeatureResult], able: Sequence[FeatureResult]) -> str:
    names = {feature.name for feature in able}
    found = [feature for feature in gaps if feature.name in names]
    return f"{found[0].name!r}: {found[0].message}" + (" (and others)" if len(found) > 1 else "") if found else ""
