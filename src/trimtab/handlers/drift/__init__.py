"""Whether data has drifted: methods of comparison, and the rule that a monitor judges its windows by.

    >>> from trimtab import drift
    >>> drift.detect("ks", [0.1 * x for x in range(100)], [5 + 0.1 * x for x in range(100)]).drifted
    True

numpy is needed; scipy, pandas and scikit-learn are imported by the methods that use them.
"""

from __future__ import annotations

from trimtab.handlers.drift.detect import METHODS, detect, fit, method
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.rule import Rule, Verdict, check, persistent
from trimtab.handlers.drift.streaming import ONLINE, Detector, online

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
