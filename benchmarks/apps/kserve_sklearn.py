"""KServe's scikit-learn server, as its own image has it, on the port that the environment names: a model and two calls."""

from __future__ import annotations

import logging
import os
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class SKLearn(Model):
    """A model in a file."""

    def load(self) -> bool:
        """Read it."""
        self.model = joblib.load(os.environ["MODEL"])
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answer a request."""
        return get_predict_response(payload, self.model.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    logging.disable(logging.INFO)  # it would write several lines about each request
    model = SKLearn("m")
    model.load()
    ModelServer(http_port=int(os.environ["PORT"]), enable_grpc=False, enable_latency_logging=False, workers=1).start(
        [model]
    )
