"""Reads handwritten digits: rows of 64 grey values in, digits out. Learns from scikit-learn's bundled data at start."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


def init_context(context):
    digits = load_digits()
    model = LogisticRegression(max_iter=300)
    context.user_data.model = model.fit(digits.data[:1200] / 16, digits.target[:1200])
    context.logger.info_with("model is ready", rows=1200, classes=len(model.classes_))


def handler(context, event):
    rows = np.asarray(event.body["rows"], dtype=float)
    if rows.ndim != 2 or rows.shape[1] != 64:
        return 400, {"error": f"rows of 64 grey values are wanted, found shape {list(rows.shape)}"}
    return {"digits": context.user_data.model.predict(rows / 16).tolist()}
