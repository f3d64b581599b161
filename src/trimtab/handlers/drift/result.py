"""What a comparison of two samples says: one answer for the table, and one for each of its features."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["FeatureResult", "Result", "State", "state_of"]

State = Literal["none", "possible", "detected", "unknown"]
"""`unknown`: there was not enough data for a verdict."""


class FeatureResult(Struct, kw_only=True, omit_defaults=True):
    """One feature's answer."""

    name: str
    statistic: float | None
    """The method's statistic; None where it cannot be computed, and `message` says why."""
    p_value: float | None = None
    """The probability of such a statistic, or a larger one, without drift, before any correction for the number of features."""
    threshold: float | None = None
    """What `p_value` has to be below or, where there is no p-value, what `statistic` has to exceed."""
    drifted: bool | None = None
    """None: not enough data for a verdict."""
    effect: float | None = None
    """How far the distribution has moved, 0 to 1: the share of rows in other bins, above what chance alone moves."""
    n_reference: int = 0
    """Values that were compared: without the missing ones."""
    n_current: int = 0
    missing_reference: int = 0
    missing_current: int = 0
    state: State | None = None
    message: str = ""
    """What a reader should know: values left out, or why there is no verdict."""

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = state_of(self.drifted, self.p_value, self.threshold)


class Result(Struct, kw_only=True, omit_defaults=True):
    """The answer for a whole table.

    `p_value` is already corrected for the number of features (Holm 1979), so that `p_value < threshold` holds its level.
    Where a method has no p-value, `statistic > threshold` decides.
    """

    method: str
    statistic: float | None
    p_value: float | None = None
    threshold: float | None = None
    drifted: bool | None = None
    """None: not enough data for a verdict. That is never "no drift"."""
    per_feature: dict[str, FeatureResult] = {}
    n_reference: int = 0
    """Rows."""
    n_current: int = 0
    state: State | None = None
    """Three states and `unknown`, from the same p-value; see `state_of`."""
    message: str = ""

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = state_of(self.drifted, self.p_value, self.threshold)

    @property
    def drifted_features(self) -> list[str]:
        """The names of the features that drifted, the clearest first."""
        found = [feature for feature in self.per_feature.values() if feature.drifted]
        return [feature.name for feature in sorted(found, key=_clearest)]


def state_of(drifted: bool | None, p_value: float | None, threshold: float | None) -> State:
    """Grade an answer: detected where it drifted, possible where p is below the square root of the threshold."""
    if drifted is None:
        return "unknown"
    if drifted:
        return "detected"
    near = p_value is not None and threshold is not None and p_value < threshold**0.5
    return "possible" if near else "none"


def _clearest(feature: FeatureResult) -> tuple[float, float]:
    p_value = 1.0 if feature.p_value is None else feature.p_value
    return p_value, -(feature.statistic or 0.0)
