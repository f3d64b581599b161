"""Detectors that take one row at a time: `update(x)`, then read `drifted`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.streaming.detector import Detector

__all__ = ["ONLINE", "Detector", "online"]

ONLINE = {
    "cvm": "trimtab.handlers.drift.streaming.cvm:CramerVonMises",
    "fisher": "trimtab.handlers.drift.streaming.fisher:Fisher",
    "lsdd": "trimtab.handlers.drift.streaming.lsdd:OnlineLSDD",
    "mmd": "trimtab.handlers.drift.streaming.mmd:OnlineMMD",
}
"""Where each online method is, as `module:class`."""


def online(
    method: str,
    reference: Any,
    *,
    ert: float,
    window: int | Sequence[int],
    columns: Sequence[str] | None = None,
    seed: int = 0,
    **params: Any,
) -> Detector:
    """Make a detector that is given rows one at a time and raises one false alarm in `ert` rows on average.

    `reference` is any table that `detect` takes. `window` is the number of latest rows that are compared with it: a
    short one sees large drift soon, a long one small drift; `cvm` and `fisher` take several. Thresholds are found by
    simulation when the detector is made (the methods' docstrings say how), such that without drift every row has the
    same chance of an alarm.

    Raises `SpecError` for impossible parameters, `DataError` for a reference that cannot be used.
    """
    if method not in ONLINE:
        raise SpecError("method", method, ", ".join(ONLINE))
    frame = Frame.of(reference, role="reference")
    if columns is not None:
        frame = frame.select(columns, role="reference")
    module, _, name = ONLINE[method].partition(":")
    kind: type[Detector] = getattr(import_module(module), name)
    known = list(inspect.signature(kind).parameters)[1:]
    for key, value in params.items():
        if key not in known:
            raise SpecError(f"{method}.{key}", value, f"the parameters {', '.join(known)}")
    return kind(frame, ert=ert, window=window, seed=seed, **params)  # type: ignore[call-arg,arg-type]
