"""Functions that Trimtab ships: what serves models, watches them and keeps them good."""
