"""Pickles: of the standard library, of cloudpickle (which the standard library reads), and of joblib."""

from __future__ import annotations

import pickle
import pickletools
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.artifacts.frameworks.abc import Framework

if TYPE_CHECKING:
    from trimtab.artifacts.artifact import Artifact


_LOOKED_AT = 10_000
"""Operations among which the first class is looked for: a large pickle without any would take minutes."""

_PLUMBING = {"copy_reg", "copyreg", "builtins", "__builtin__", "cloudpickle", "functools"}
"""Modules that pickles name before the model's own."""


class Pickle(Framework):
    """Written by cloudpickle where it is installed: that takes classes of notebooks and scripts along, too."""

    name = "pickle"
    default = "model.pkl"
    suffixes: ClassVar[tuple[str, ...]] = (".pkl", ".pickle", ".cloudpickle")

    def takes(self, model: object) -> bool:
        """See Framework."""
        return True

    def dump(self, model: Any, path: Path) -> None:
        """See Framework."""
        try:
            from cloudpickle import dump
        except ImportError:
            from pickle import dump
        with path.open("wb") as target:
            dump(model, target, protocol=pickle.HIGHEST_PROTOCOL)

    def load(self, artifact: Artifact) -> Any:
        """See Framework."""
        with artifact.open() as stream:
            return pickle.load(stream)  # noqa: S301 - what models are; its hash is that of what was logged

    def peek(self, path: Path) -> tuple[str, str]:
        """See Framework: the first class that the pickle names."""
        texts: list[str] = []
        try:
            with path.open("rb") as stream:
                for operation, argument, _ in islice(pickletools.genops(stream), _LOOKED_AT):
                    if operation.name == "GLOBAL":
                        texts = str(argument).split(" ")
                    if operation.name in ("GLOBAL", "STACK_GLOBAL"):
                        module, name = texts[-2:]
                        root = module.partition(".")[0]
                        if root not in _PLUMBING:
                            return root, name
                    if isinstance(argument, str):
                        texts.append(argument)
        except ValueError:  # compressed, or no pickle: loading it will say so
            pass
        return "", ""


class Joblib(Pickle):
    """Joblib's own files, which keep large arrays beside the pickle and may be compressed."""

    name = "joblib"
    default = "model.joblib"
    suffixes: ClassVar[tuple[str, ...]] = (".joblib",)

    def chosen(self, model: object) -> bool:
        """See Framework: a plain pickle does as well, and more can read it."""
        return False

    def dump(self, model: Any, path: Path) -> None:
        """See Framework."""
        import joblib

        joblib.dump(model, path)

    def load(self, artifact: Artifact) -> Any:
        """See Framework."""
        import joblib

        with artifact.open() as stream:
            return joblib.load(stream)
