"""The training of a loop: gets labelled rows of the world as it is now, logs a model, and leaves the rest to the loop."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(context, dataset, label_column: str, model_name: str):
    rows = dataset.as_df()
    inputs, truth = rows.drop(columns=[label_column]), rows[label_column]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(inputs, truth)
    context.log_model(model_name, model=model, training_set=rows, label_column=label_column)
    context.log_result("rows", len(rows))
