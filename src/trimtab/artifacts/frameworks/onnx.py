"""ONNX models: graphs that onnxruntime computes, whatever library trained them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.artifacts.frameworks.abc import Framework

if TYPE_CHECKING:
    from trimtab.artifacts.artifact import Artifact


class Onnx(Framework):
    """`onnx.ModelProto` in, OnnxModel out."""

    name = "onnx"
    default = "model.onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def takes(self, model: object) -> bool:
        """See Framework."""
        return type(model).__name__ == "ModelProto" and type(model).__module__.startswith("onnx")

    def dump(self, model: Any, path: Path) -> None:
        """See Framework."""
        path.write_bytes(model.SerializeToString())

    def load(self, artifact: Artifact) -> OnnxModel:
        """See Framework."""
        return OnnxModel(artifact.read())


class OnnxModel:
    """An ONNX graph with scikit-learn's methods. `session` is onnxruntime's own object."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(data, providers=onnxruntime.get_available_providers())
        self._inputs = self.session.get_inputs()
        self._outputs = [output.name for output in self.session.get_outputs()]

    def run(self, rows: Any) -> list[Any]:
        """Give all outputs for a table: whole to a graph with one input, by columns to a graph with one for each."""
        import numpy as np

        if len(self._inputs) == 1:
            table = np.asarray(rows, _dtype(self._inputs[0].type))
            return list(self.session.run(self._outputs, {self._inputs[0].name: table}))
        columns = np.asarray(rows, object).T
        fed = {
            each.name: np.asarray(column, _dtype(each.type)).reshape(-1, 1)
            for each, column in zip(self._inputs, columns, strict=True)
        }
        return list(self.session.run(self._outputs, fed))

    def predict(self, rows: Any) -> Any:
        """Give the first output: a classifier's labels, a regressor's values (one number for each row)."""
        found = self.run(rows)[0]
        return found[:, 0] if getattr(found, "ndim", 1) == 2 and found.shape[1] == 1 else found

    def predict_proba(self, rows: Any) -> Any:
        """Give a classifier's probabilities, one column for each class. Errors: AttributeError, for a regressor."""
        import numpy as np

        if len(self._outputs) < 2:
            raise AttributeError("this ONNX model has no output for probabilities")
        found = self.run(rows)[1]
        return np.array([list(row.values()) for row in found]) if isinstance(found, list) else found


def _dtype(type: str) -> Any:
    """Give numpy's type for `tensor(float)` and its like."""
    import numpy as np

    names = {"float": np.float32, "double": np.float64, "int64": np.int64, "int32": np.int32, "bool": np.bool_}
    return names.get(type.removeprefix("tensor(").removesuffix(")"), np.object_)
