"""The answer of a test that judges all features at once, and what is asked of its samples and parameters beforehand."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult, Result

__all__ = ["MOST_ROWS", "answer", "check_level", "check_rows", "too_few"]

MOST_ROWS = 2000
"""Rows of a side that tests of quadratic cost compare, unless they are told otherwise: 4,000 x 4,000 distances, 128 MB."""


def answer(
    method: str,
    frames: tuple[Frame, Frame],
    statistic: float,
    p_value: float,
    alpha: float,
    *,
    per_feature: Mapping[str, FeatureResult] | None = None,
    message: str = "",
) -> Result:
    """Say that the table has drifted when `p_value < alpha`."""
    reference, current = frames
    return Result(
        method=method,
        statistic=float(statistic),
        p_value=float(p_value),
        threshold=alpha,
        drifted=bool(p_value < alpha),
        per_feature=dict(per_feature or {}),
        n_reference=reference.rows,
        n_current=current.rows,
        message=message,
    )


def too_few(method: str, frames: tuple[Frame, Frame], alpha: float, min_rows: int) -> Result | None:
    """Check the level, and give the answer for samples that are too small for one; None where they are not."""
    check_level(method, alpha)
    check_rows(method, "min_rows", min_rows, 4)
    reference, current = frames
    least = min(reference.rows, current.rows)
    if least >= min_rows:
        return None
    role = "current" if current.rows == least else "reference"
    return Result(
        method=method,
        statistic=None,
        threshold=alpha,
        n_reference=reference.rows,
        n_current=current.rows,
        message=f"not enough data: {least} rows in {role}, {min_rows} are needed (min_rows)",
    )


def check_level(method: str, alpha: float) -> None:
    """Refuse an impossible level."""
    if not 0 < alpha < 1:
        raise SpecError(f"{method}.alpha", alpha, "a number between 0 and 1")


def check_rows(method: str, name: str, rows: int | None, least: int) -> None:
    """Refuse an impossible number of rows; None is no bound."""
    if rows is not None and rows < least:
        raise SpecError(f"{method}.{name}", rows, f"{least} or more")
