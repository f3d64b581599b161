"""`detect`: one door to every method. Methods are named in a table and imported when they are asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from trimtab.errors import SpecError
from trimtab.handlers.drift.frame import Frame, paired
from trimtab.handlers.drift.result import Result

__all__ = ["METHODS", "Method", "detect", "fit", "method"]

Method = Callable[..., Result]
"""`f(reference: Frame, current: Frame, **params) -> Result`; both frames have the same columns, in the same order."""

_HERE = "trimtab.handlers.drift"

METHODS = {
    "chi2": f"{_HERE}.chi2:chi2",
    "classifier": f"{_HERE}.kernels.classifier:classifier",
    "classifier_uncertainty": f"{_HERE}.kernels.uncertainty:classifier_uncertainty",
    "context_mmd": f"{_HERE}.kernels.context:context_mmd",
    "cvm": f"{_HERE}.cvm:cvm",
    "default": f"{_HERE}.default:default",
    "fisher": f"{_HERE}.chi2:fisher",
    "hellinger": f"{_HERE}.distances:hellinger",
    "js": f"{_HERE}.distances:js",
    "kld": f"{_HERE}.distances:kld",
    "ks": f"{_HERE}.ks:ks",
    "learned_kernel_mmd": f"{_HERE}.kernels.learned:learned_kernel_mmd",
    "lsdd": f"{_HERE}.kernels.lsdd:lsdd",
    "mmd": f"{_HERE}.kernels.mmd:mmd",
    "psi": f"{_HERE}.distances:psi",
    "regressor_uncertainty": f"{_HERE}.kernels.uncertainty:regressor_uncertainty",
    "spot_the_diff": f"{_HERE}.kernels.spot:spot_the_diff",
    "tabular": f"{_HERE}.tabular:tabular",
    "tvd": f"{_HERE}.distances:tvd",
    "wasserstein": f"{_HERE}.wasserstein:wasserstein",
}
"""Where each method is, as `module:function`."""


def detect(method: str, reference: Any, current: Any, *, columns: Sequence[str] | None = None, **params: Any) -> Result:
    """Say whether `current` comes from the same distribution as `reference`.

    Both are a DataFrame, an array of shape (rows, columns), a list of rows or of numbers, a dict of columns, a `Frame`
    (see `fit`), or a sketch. `columns` names those that are compared; without it all of the reference's are. `params`
    are the method's own; each method's docstring has them, with its equation and its source.

    Raises `SpecError` for an unknown method or parameter and `DataError` for data that cannot be compared. Too little
    data is no error: `drifted` is None then, and `message` says why.
    """
    function = _function(method)
    _check(method, function, params)
    left, right, remark = paired(reference, current, columns)
    result = function(left, right, **params)
    result.message = "; ".join(text for text in (result.message, remark) if text)
    return result


def fit(reference: Any, *, columns: Sequence[str] | None = None) -> Frame:
    """Read a reference once, for many comparisons: what methods compute of it (such as its order) is kept."""
    frame = Frame.of(reference, role="reference")
    return frame if columns is None else frame.select(columns, role="reference")


def method(name: str) -> Method:
    """Give the function behind a method's name, such as for its docstring."""
    return _function(name)


def _function(name: str) -> Method:
    if name not in METHODS:
        raise SpecError("method", name, ", ".join(sorted(METHODS)))
    module, _, attribute = METHODS[name].partition(":")
    found: Method = getattr(import_module(module), attribute)
    return found


def _check(name: str, function: Method, params: dict[str, Any]) -> None:
    taken = list(inspect.signature(function).parameters)[2:]
    for key, value in params.items():
        if key not in taken:
            raise SpecError(f"{name}.{key}", value, f"the parameters {', '.join(taken)}")
