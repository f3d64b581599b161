"""Requirements: where a source says what it needs, what its imports need, the lock for a target, and its installation."""

from trimtab.builder.requirements.install import install
from trimtab.builder.requirements.lock import resolve

__all__ = ["install", "resolve"]
