"""`from trimtab import drift`: the public name of `trimtab.handlers.drift`."""

from __future__ import annotations

from trimtab.handlers.drift import (
    METHODS,
    ONLINE,
    Detector,
    FeatureResult,
    Frame,
    Result,
    Rule,
    Verdict,
    check,
    detect,
    fit,
    method,
    online,
    persistent,
)

__all__ = [
    "METHODS",
    "ONLINE",
    "Detector",
    "FeatureResult",
    "Frame",
    "Result",
    "Rule",
    "Verdict",
    "check",
    "detect",
    "fit",
    "method",
    "online",
    "persistent",
]
