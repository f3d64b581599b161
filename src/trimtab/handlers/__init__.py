"""Functions that Trimtab brings along: the model server, and what watches models in service and keeps them good."""
