"""What a model was made with, and whether it is loaded into the same: pickles of one version may not suit another."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from trimtab.artifacts.types import Environment, ModelSpec

_PACKAGES = {
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "joblib": "joblib",
    "cloudpickle": "cloudpickle",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "mlflow": "mlflow-skinny",
}
"""Modules whose versions are written down when they are loaded, and the distributions they come from."""


class VersionWarning(UserWarning):
    """A model is loaded into another Python, or another version of its framework, than it was made with."""


def record(framework: str) -> Environment:
    """Write down Python's version and those of what is loaded, the framework's in any case."""
    packages = {}
    for module in sorted({*_PACKAGES, framework}):
        found = _version(module) if module == framework or module in sys.modules else None
        if found is not None:
            packages[_distribution(module)] = found
    return Environment(python=platform.python_version(), packages=packages)


def differences(spec: ModelSpec) -> list[str]:
    """Say what differs here: Python's minor version, any version of the framework, the others' major versions."""
    made = spec.environment
    if made is None:
        return []
    here, said = platform.python_version(), []
    if _part(made.python, 2) != _part(here, 2):
        said.append(f"Python {made.python} (here: {here})")
    own = _distribution(spec.framework)
    for package, version in made.packages.items():
        found = _version(package)
        parts = None if package == own else 1
        if _part(version, parts) != _part(found or "", parts):
            said.append(f"{package} {version} (here: {found or 'not installed'})")
    return said


def _distribution(module: str) -> str:
    return _PACKAGES.get(module, module)


def _version(module: str) -> str | None:
    for name in (_distribution(module), module):
        try:
            return metadata.version(name) if name else None
        except metadata.PackageNotFoundError:
            continue
    return None


def _part(version: str, parts: int | None) -> list[str]:
    return version.split(".")[:parts]
