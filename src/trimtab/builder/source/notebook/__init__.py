"""Notebooks: exported by cells, with what their magics say, and with a map from each line to its cell."""

from trimtab.builder.source.notebook.read import module_name, read

__all__ = ["module_name", "read"]
