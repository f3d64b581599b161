"""`from trimtab import drift`: the public name of `trimtab.handlers.drift`."""

from __future__ import annotations

from trimtab.handlers.drift import METHODS, ONLINE, Detector, FeatureResult, Frame, Result, detect, fit, method, online

__all__ = ["METHODS", "ONLINE", "Detector", "FeatureResult", "Frame", "Result", "detect", "fit", "method", "online"]
