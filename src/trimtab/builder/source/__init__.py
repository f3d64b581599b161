"""Sources: a file, a folder, a notebook, a git reference or a module's text, each read into the same `Code`."""

from trimtab.builder.source.apply import applied
from trimtab.builder.source.function import read_function
from trimtab.builder.source.read import read_source

__all__ = ["applied", "read_function", "read_source"]
