"""Trimtab: autoscaling serverless functions in Python."""

from trimtab._version import __version__

__all__ = ["__version__"]
