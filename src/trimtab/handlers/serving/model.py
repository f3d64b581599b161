"""What users derive their models from, with the names that MLRun's users know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.handlers.serving import fetch

if TYPE_CHECKING:
    from trimtab.runtime.context import Context

_REQUIRED = object()


class ModelServer:
    """One model of a model server. Derive, and write `load` and `predict`; everything else may stay as it is.

    `load` runs once in each replica, before it is ready. A request runs through `preprocess`, `validate`, `predict` (or
    `explain`) and `postprocess`, in that order, each of which may be `def` (it runs in a thread) or `async def`. A method
    `op_NAME(request)` answers `/v2/models/KEY/NAME`.

    What `validate` raises is answered with 400, for it judges the request; what the others raise with 500. Raise
    `trimtab.PermanentError(text, status=...)` anywhere to choose.
    """

    def __init__(
        self, context: Context | None = None, name: str = "", model_path: str | None = None, **params: Any
    ) -> None:
        self.context, self.name, self.model_path = context, name, model_path
        self.params = params
        self.version = name.partition(":")[2]
        self.model: Any = None
        self.metrics: dict[str, Any] = {}
        self.artifact: Any = None
        """The model's artifact, when it was loaded from a store:// URI by `get_model`."""

    # For users to write

    def load(self) -> None:
        """Load the model, usually into `self.model`, from what `get_model` gives."""

    def predict(self, request: dict[str, Any]) -> Any:
        """Answer `request["inputs"]`, a list of rows (of a msgpack body an array), with a list of as many predictions.

        A dict of lists gives several outputs by name; "probabilities", and "classes" beside it, are tracked as such.
        """
        raise NotImplementedError(f"{type(self).__name__} has no predict")

    def preprocess(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """Turn the body that came into a request with `inputs`."""
        return request

    def postprocess(self, response: Any) -> Any:
        """Turn the response, a dict with `outputs`, into the body that is sent."""
        return response

    def validate(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """Refuse a request by raising an exception, whose text the caller gets."""
        inputs = request.get("inputs")
        if operation != "explain" and not isinstance(inputs, list) and not hasattr(inputs, "__array__"):
            raise TypeError("'inputs' must be a list of rows")
        return request

    def explain(self, request: dict[str, Any]) -> Any:
        """Explain the predictions for `request["inputs"]`."""
        raise NotImplementedError(f"{type(self).__name__} has no explain")

    def logged_results(
        self, request: dict[str, Any], response: dict[str, Any], op: str
    ) -> tuple[list[Any] | None, list[Any] | None]:
        """Give the inputs and outputs to be tracked in place of those that went through; None leaves them."""
        return None, None

    # For users to call

    def get_model(self, suffix: str = "") -> tuple[str, dict[str, Any]]:
        """Give the path of the model's file on this machine, and those of the extra files by name.

        `suffix` (".pkl") chooses the file in a folder. Errors: ImportFailed (nothing there, or not what was logged).
        """
        found = fetch.fetch(self.model_path or "", suffix, self.get_param("sha256", None))
        self.artifact = found.artifact
        return str(found.path), dict(found.extra)

    def get_param(self, key: str, default: Any = _REQUIRED) -> Any:
        """Give a parameter of `add_model`, else the default. Errors: KeyError without a default."""
        if key in self.params:
            return self.params[key]
        if default is _REQUIRED:
            raise KeyError(f"model {self.name!r} has no parameter {key!r}; it has {', '.join(self.params) or 'none'}")
        return default

    def set_metric(self, name: str, value: float) -> None:
        """Set a figure of this model's: it is shown at `/v2/models/KEY/metrics` and goes into the records."""
        self.metrics[name] = value

    @property
    def logger(self) -> Any:
        """The function's logger."""
        from trimtab.runtime.context import Logger

        return self.context.logger if self.context is not None else Logger("model")


V2ModelServer = ModelServer
"""MLRun's name of it."""
