"""A job: trains a classifier on scikit-learn's breast cancer data and reports how good it is."""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score


def train(context, trees: int = 50, depth: int | None = None):
    data = load_breast_cancer()
    context.logger.info_with("training", rows=len(data.target), trees=trees)
    scores = cross_val_score(
        RandomForestClassifier(trees, max_depth=depth, random_state=0), data.data, data.target, cv=3
    )
    context.log_result("accuracy", round(float(scores.mean()), 4))
    context.log_result("spread", round(float(scores.std()), 4))
