"""Notebooks: exported by cells, with what their magics say, and with a map from each line to its cell."""

from trimtab.builder.source.notebook.read import read

__all__ = ["read"]
