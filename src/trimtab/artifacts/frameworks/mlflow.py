"""MLflow models: folders with an `MLmodel` file, which any flavour can be read from as a Python function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.artifacts import environment
from trimtab.artifacts.frameworks.abc import Framework

if TYPE_CHECKING:
    from trimtab.artifacts.artifact import Artifact


class MLflow(Framework):
    """`mlflow.pyfunc.PythonModel` in, `mlflow.pyfunc.PyFuncModel` out; folders of any flavour are taken as they are."""

    name = "mlflow"
    default = "MLmodel"
    suffixes: ClassVar[tuple[str, ...]] = ("mlmodel",)

    def takes(self, model: object) -> bool:
        """See Framework."""
        return any(
            each.__name__ == "PythonModel" and each.__module__.startswith("mlflow") for each in type(model).__mro__
        )

    def dump(self, model: Any, path: Path) -> None:
        """See Framework."""
        import mlflow.pyfunc

        packages = environment.record(self.name).packages  # MLflow would start another process to find them out
        requirements = [f"{name}=={version}" for name, version in packages.items()]
        mlflow.pyfunc.save_model(path.parent, python_model=model, pip_requirements=requirements)

    def load(self, artifact: Artifact) -> Any:
        """See Framework."""
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(artifact.folder()))
