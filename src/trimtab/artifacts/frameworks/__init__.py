"""Adapters for the ways in which models are kept in files. A new one is a class, and a line in the table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from trimtab.artifacts.frameworks.abc import Framework
from trimtab.errors import SpecError

__all__ = ["Framework", "by_file", "by_name", "by_object", "framework_of"]

_HERE = "trimtab.artifacts.frameworks"
_PLACES = {
    "onnx": f"{_HERE}.onnx:Onnx",
    "mlflow": f"{_HERE}.mlflow:MLflow",
    "joblib": f"{_HERE}.pickles:Joblib",
    "pickle": f"{_HERE}.pickles:Pickle",
}
"""In the order in which they are asked for an object; the last one takes any."""


def by_name(name: str) -> Framework | None:
    """Give the adapter of a format."""
    if name not in _PLACES:
        return None
    module, _, attribute = _PLACES[name].partition(":")
    made: Framework = getattr(import_module(module), attribute)()
    return made


def by_file(path: str | Path) -> Framework | None:
    """Give the adapter that reads a file of that name; None where none does."""
    adapters = filter(None, map(by_name, _PLACES))
    return next((each for each in adapters if each.reads(Path(path).name)), None)


def by_object(model: object, file: str = "") -> Framework:
    """Give the adapter that writes an object, under that file name if it is given. Errors: SpecError."""
    if file:
        adapter = by_file(file)
        if adapter is None or not adapter.takes(model):
            raise SpecError("model_file", file, f"a name for a {framework_of(model)} model: .pkl, .joblib or .onnx")
        return adapter
    adapters = filter(None, map(by_name, _PLACES))
    return next(each for each in adapters if each.chosen(model))


def framework_of(model: object) -> str:
    """Name the library that an object's class comes from."""
    return type(model).__module__.partition(".")[0]
