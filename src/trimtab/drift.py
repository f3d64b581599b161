"""`from trimtab import drift`: the public name of `trimtab.handlers.drift`."""

from __future__ import annotations

from trimtab.handlers.drift import METHODS, FeatureResult, Frame, Result, detect, fit, method

__all__ = ["METHODS", "FeatureResult", "Frame", "Result", "detect", "fit", "method"]
